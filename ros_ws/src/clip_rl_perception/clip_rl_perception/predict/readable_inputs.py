"""Several inputs of which some cannot be read: the others are used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.input_paths import input_paths, told_unread
from clip_rl_perception.sources.streams import InputOptions, Inputs, open_inputs


def open_readable(options: InputOptions, space: LabelSpace) -> Inputs:
    """As `open_inputs`, each path on its own: what cannot be read costs the others nothing, and is told in `problems`.

    Raises:
        SourceError: none can be read; what is wrong with the first.
    """
    found, images = input_paths(options.paths)
    if len(found) < 2:
        return open_inputs(options, space)
    readable, faults = list[Path](), list[str]()
    for path, _ in found:
        paths = tuple(images) if path in images else (path,)
        try:
            open_inputs(dataclasses.replace(options, paths=paths), space)
        except ClipRlError as error:
            faults.append(f"{one_line(error)}; left out")
        else:
            readable += paths
    if not readable:
        raise SourceError(faults[0].removesuffix("; left out"))
    if not faults:
        return open_inputs(options, space)
    opened = open_inputs(dataclasses.replace(options, paths=tuple(readable)), space)
    problems = dict.fromkeys((*faults, *told_unread(options.paths), *opened.problems))
    return dataclasses.replace(opened, problems=tuple(problems))
