"""What of a folder is data: not what operating systems and file servers put beside people's files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".mts", ".m2ts")
MASK_FOLDERS = ("masks", "labels")
"""Names of folders with ground truth."""
PREDICTIONS = "predictions.json"
"""In a folder that `clip-rl predict` wrote."""
MARK = ".clip-rl"
"""File that says what other runs have written to a folder, a name or pattern a line; hidden."""
_DRAWN = ("confidence", "overlays")
"""Folders of a prediction whose pictures no camera took."""

_NOT_DATA = (
    *("thumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found"),
    "system volume information",
)


def is_hidden(name: str) -> bool:
    """True for names of files and folders that nobody put there: ``._*`` of macOS, ``Thumbs.db``, ``@eaDir`` ..."""
    return name.startswith(".") or name.lower() in _NOT_DATA


def entries(folder: Path) -> list[Path]:
    """Files and folders directly in `folder` without hidden ones, in natural order of their names; raises `OSError`."""
    return sorted(
        (entry for entry in folder.iterdir() if not is_hidden(entry.name)), key=lambda entry: natural_key(entry.name)
    )


def below(folder: Path, pattern: str) -> list[Path]:
    """What matches a glob pattern below `folder`, sorted, without what is hidden or lies in hidden folders."""
    return sorted(path for path in folder.glob(pattern) if not any(map(is_hidden, path.relative_to(folder).parts)))


def is_image(path: Path) -> bool:
    """Whether there is an image file at `path`, by its suffix; or a link to one that is gone, for readers to tell."""
    return path.suffix.lower() in IMAGE_SUFFIXES and (path.is_file() or (path.is_symlink() and not path.exists()))


def image_files(folder: Path) -> list[Path]:
    """Image files directly in `folder` in natural order; empty where there is no such folder."""
    if not folder.is_dir():
        return []
    return [entry for entry in entries(folder) if is_image(entry)]


def videos_in(folder: Path) -> list[Path]:
    """Video files directly in `folder`, by their suffix, in natural order; empty where there is no such folder."""
    if not folder.is_dir():
        return []
    return [entry for entry in entries(folder) if entry.suffix.lower() in VIDEO_SUFFIXES and entry.is_file()]


def named(folder: Path, name: str) -> Path:
    """The place called `name` in `folder`, or the folder there whose name differs in capitals alone."""
    place = folder / name
    if place.is_dir() or not folder.is_dir():
        return place
    alike = (entry for entry in folder.iterdir() if entry.name.lower() == name and entry.is_dir())
    return min(alike, default=place)


def frames_in(folder: Path) -> list[Path]:
    """Images of a folder of frames: those in an ``images`` of its own, else those in it; natural order.

    Here as of masks, capitals do not count: some data sets have ``Images`` and ``Masks``.
    """
    return image_files(named(folder, "images")) or image_files(folder)


def image_folders(root: Path) -> list[Path]:
    """Folders below `root` with images in them, or in an ``images`` of their own; none inside another, natural order.

    Folders called ``masks`` or ``labels`` hold no frames, nor do ``instances`` beside ``images``, or overlays and
    confidence of an earlier prediction. Links to folders are not followed: they may lead back.
    """
    others = (*MASK_FOLDERS, *(_DRAWN if is_prediction(root) else ()))
    if named(root, "images").is_dir():
        others = (*others, "instances")
    found: list[Path] = []
    for folder in entries(root):
        if folder.name.lower() in others or folder.is_symlink() or not folder.is_dir():
            continue
        found += [folder] if frames_in(folder) else image_folders(folder)
    return found


def is_prediction(folder: Path) -> bool:
    """Whether `clip-rl predict` wrote the folder: its masks are no truth."""
    return (folder / PREDICTIONS).is_file()


def unused_name(name: str, taken: Collection[str], joint: str) -> str:
    """The name, or where it is taken the first with `joint` and 2, 3 and so on behind it that is not."""
    numbered = (f"{name}{joint}{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def told_twins(files: Iterable[Path]) -> str:
    """Which files are called alike but for their suffix, in words; empty where none are."""
    by_stem: dict[Path, list[str]] = {}
    for file in files:
        by_stem.setdefault(file.with_suffix(""), []).append(file.name)
    twins = [names for names in by_stem.values() if len(names) > 1]
    if not twins:
        return ""
    more = f" (and {len(twins) - 1} more such)" if len(twins) > 1 else ""
    return f"{' and '.join(twins[0])}{more} are called alike"


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that compares runs of digits as numbers: a2 < a10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]
