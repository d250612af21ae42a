"""Paths as people name them: trees of image folders become their folders, and every sequence gets a name of its own."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from clip_rl_perception.folder_files import MARK, MASK_FOLDERS, entries, frames_in, image_folders, is_image, videos_in
from clip_rl_perception.sources.bag_files import is_bag
from clip_rl_perception.sources.frames import SourceError

Named = TypeVar("Named")


class InputPath(NamedTuple):
    """One sequence, or a bag of several."""

    path: Path
    name: str
    """Of the sequence: of a folder in a tree its way from there, parts joined by /."""


def check_paths(paths: Sequence[Path]) -> None:
    """Raise `SourceError` for the first path where nothing is."""
    for path in paths:
        if not path.exists():
            raise SourceError(
                f"{path}: no such file or folder; expected a rosbag2, a video, an image or a folder of images"
            )


def input_paths(paths: Sequence[Path]) -> tuple[list[InputPath], list[Path]]:
    """What is to be opened, and the images among `paths`, which are one sequence in the place of the first.

    What is named twice, however it is spelled, is opened once. A folder without images, of which folders below it have
    some, stands for these; one without any for the videos and bags in it and below it.
    """
    given = _once(paths, paths)
    images = [path for path in given if is_image(path)]
    opened = [path for path in given if path not in images[1:]]
    found: list[InputPath] = []
    for path, name in zip(opened, short_names(opened), strict=True):
        below = [] if path.is_file() or is_bag(path) or frames_in(path) else image_folders(path) or _recordings(path)
        prefix = f"{name}/" if len(opened) > 1 else ""
        found += [InputPath(folder, f"{prefix}{folder.relative_to(path).as_posix()}") for folder in below]
        if not below:
            found.append(InputPath(path, name))
    return _once(found, [path for path, _ in found]), images


def told_unread(paths: Sequence[Path]) -> list[str]:
    """A line for each folder that stands for the images in it, while there are videos or bags in it too."""
    lines = []
    for path in paths:
        if path.is_file() or is_bag(path) or not (frames_in(path) or image_folders(path)):
            continue
        if others := _recordings(path):
            told = ", ".join(other.relative_to(path).as_posix() for other in others[:4])
            more = f" and {len(others) - 4} more" if len(others) > 4 else ""
            lines.append(f"{path}: its images are read, and these are not: {told}{more}; name them to have them read")
    return lines


def _recordings(folder: Path) -> list[Path]:
    """Videos and folders of bags in a folder and below it, natural order; links to folders are not followed."""
    found = videos_in(folder)
    for child in entries(folder):
        if child.name.lower() in MASK_FOLDERS or child.is_symlink() or not child.is_dir():
            continue
        if not (child / MARK).is_file():  # a replay's videos and bag are no recordings
            found += [child] if is_bag(child) else _recordings(child)
    return found


def _once(items: Sequence[Named], paths: Sequence[Path]) -> list[Named]:
    """The first item of each place; links to images are frames of their own."""
    first: dict[Path, Named] = {}
    for item, path in zip(items, paths, strict=True):
        first.setdefault(path.parent.resolve() / path.name if is_image(path) else path.resolve(), item)
    return list(first.values())


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, and as many parts before it as tell those apart that end alike."""
    parts = [path.absolute().parts[1:] or (path.name,) for path in paths]
    taken = [1] * len(parts)
    while True:
        names = ["/".join(each[-count:]) for each, count in zip(parts, taken, strict=True)]
        often = collections.Counter(names)
        longer = [index for index, name in enumerate(names) if often[name] > 1 and taken[index] < len(parts[index])]
        if not longer:
            return names
        for index in longer:
            taken[index] += 1
