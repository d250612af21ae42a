"""Several inputs of which some cannot be read: the others are used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.input_paths import input_paths
from clip_rl_perception.sources.streams import InputOptions, Inputs, open_inputs


def open_each(
    options: InputOptions, space: LabelSpace, told: Callable[[str], None]
) -> list[tuple[str, tuple[Path, ...], Inputs]]:
    """Every path on its own, by the name of its sequence; `told` gets a line for each that cannot be read."""
    found, images = input_paths(options.paths)
    opened = []
    for path, name in found:
        paths = tuple(images) if path in images else (path,)
        try:
            opened.append((name, paths, open_inputs(dataclasses.replace(options, paths=paths), space)))
        except ClipRlError as error:
            told(f"{one_line(error)}; left out")
    return opened


def open_readable(options: InputOptions, space: LabelSpace) -> Inputs:
    """As `open_inputs`; what cannot be read costs the others nothing, and is told in `problems`.

    Raises:
        SourceError: none can be read; what is wrong with the first.
    """
    if len(input_paths(options.paths)[0]) < 2:
        return open_inputs(options, space)
    faults = list[str]()
    readable = [path for _, paths, _ in open_each(options, space, faults.append) for path in paths]
    if not readable:
        raise SourceError(faults[0].removesuffix("; left out"))
    opened = open_inputs(dataclasses.replace(options, paths=tuple(readable)) if faults else options, space)
    return dataclasses.replace(opened, problems=(*faults, *opened.problems))
