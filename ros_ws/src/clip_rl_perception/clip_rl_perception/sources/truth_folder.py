"""Ground truth from a folder of masks, for any source of frames."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.folder_files import MASK_FOLDERS, image_files, named, told_twins
from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.pictures.picture_files import PictureError
from clip_rl_perception.sources.frames import Frame, SourceError, SourceInfo
from clip_rl_perception.sources.mask_coding import CodingError, MaskCoding
from clip_rl_perception.sources.mask_files import read_mask
from clip_rl_perception.sources.truth_label_map import binary_label_map

_STAMP_DIGITS = 16
"""A file name of so many digits or more is a stamp in ns."""
_LOSSY = (".jpg", ".jpeg", ".webp")
VIDEO_TICK_NS = 1_000_000
"""How far a video's time may be from that of its mask, ns: MKV and WebM round to it."""


LOOKED_AT = 16
"""Masks by which `hold_0_and_255` judges a folder, spread over it."""


def mask_files(folder: Path) -> list[Path]:
    """Masks in a folder, or in ``labels`` or ``masks`` below it, in natural order."""
    return image_files(folder) or image_files(named(folder, "labels")) or image_files(named(folder, "masks"))


def masks_beside(images: Path) -> list[Path]:
    """Folders of masks that belong to a folder of images: ``masks`` and ``labels`` in it, or beside ``images``.

    To ``images/VIDEO`` belongs ``masks/VIDEO``.
    """
    place = images.resolve()
    root = images.parent if place.name.lower() == "images" else images
    found = [folder for folder in (named(root, name) for name in MASK_FOLDERS) if image_files(folder)]
    if not found and place.parent.name.lower() == "images":
        of_video = [named(place.parent.parent, name) / place.name for name in MASK_FOLDERS]
        found = [folder for folder in of_video if image_files(folder)]
    return found


def mask_folders(
    sources: Sequence[tuple[str, Path, SourceInfo]], labels: Path | None, *, look: bool
) -> tuple[list[Path | None], list[str]]:
    """Which folder of masks is the truth of which source.

    Args:
        sources: name among the inputs, path and info of each.
        labels: as the user named it: the masks, or with several sources a folder of masks for each, called as it is;
            of several topics of one bag called by the part of the topic that tells them apart, ``left`` and ``right``.
        look: without `labels`, look beside images, if all sources are images.

    Returns:
        A folder or None for each source, and what is unclear about them, a line each.

    Raises:
        SourceError: `labels` has no folder for a source, or one that may be of another.
    """
    if labels is not None:
        return _folders_in(labels, sources), []
    if not look or any(info.kind != "folder" for *_, info in sources):
        return [None] * len(sources), []
    found = [masks_beside(info.path) for *_, info in sources]
    problems = []
    for (_, path, _), each in zip(sources, found, strict=True):
        if len(each) > 1:
            problems.append(f"{path}: has masks/ and labels/, neither is taken; say with --labels which is the truth")
        elif any(found) and not each:
            problems.append(f"{path}: no masks/ beside its images; it is replayed without truth")
    return [each[0] if len(each) == 1 else None for each in found], problems


def _folders_in(labels: Path, sources: Sequence[tuple[str, Path, SourceInfo]]) -> list[Path | None]:
    topics: dict[str, list[str]] = {}
    paths: dict[str, Path] = {}
    for name, path, info in sources:  # both eyes of one picture are one topic
        paths[name] = path
        topics[name] = list(dict.fromkeys((*topics.get(name, ()), info.topic)))
    folders = {name: _called_as(name, paths, labels) if len(paths) > 1 else labels for name in paths}
    found: list[Path | None] = []
    for name, path, info in sources:
        folder, several = folders[name], topics[name]
        if len(several) > 1:
            folder = folder / _told_apart(several)[several.index(info.topic)]
            if not folder.is_dir():
                raise SourceError(
                    f"{folder}: no such folder; several topics of {path} need one folder of masks each, or name one "
                    "with --topic"
                )
        found.append(folder)
    return found


def _called_as(name: str, paths: Mapping[str, Path], labels: Path) -> Path:
    """The folder of a source among several: called as it is told apart from the others, or as it alone is called."""
    short = {other: {other.removesuffix(path.suffix), path.name, path.stem} for other, path in paths.items()}
    others = set(paths).union(*(names for other, names in short.items() if other != name)) - {name}
    path = paths[name]
    for called in (name, name.removesuffix(path.suffix), path.name, path.stem):
        if (called == name or called not in others) and (labels / called).is_dir():
            return labels / called
    raise SourceError(f"{labels}: no folder {name} in it; several inputs need one folder of masks each")


def _told_apart(topics: Sequence[str]) -> list[str]:
    """The topics without the parts in which they all begin and all end."""
    parts = [base_topic(topic).strip("/").split("/") for topic in topics]
    for end in (0, -1):
        while min(map(len, parts)) > 1 and len({each[end] for each in parts}) == 1:
            for each in parts:
                del each[end]
    return ["/".join(each) for each in parts]


def hold_0_and_255(folders: Iterable[Path]) -> bool:
    """Whether the masks of folders hold 0 and 255 and nothing else, so that 255 stands for something."""
    coding, found = binary_label_map().coding, False
    spread = (files[:: -(-len(files) // LOOKED_AT) or 1] for files in map(mask_files, folders))
    for file in itertools.chain.from_iterable(spread):
        try:
            found |= bool(coding.decode(read_mask(file), str(file)).any())
        except CodingError:
            return False
        except PictureError:
            continue  # told where its frame is read
    return found


class TruthFolder:
    """Masks of a folder, matched to frames by file name, by stamp, or by place.

    | source | mask of a frame |
    |---|---|
    | folder of images | the file of the same name, whatever its suffix |
    | bag or video, files named by stamps in ns | the file named by the frame's stamp; of a video to a ms |
    | bag or video, any other names | the file at the frame's place in natural order; the counts must be equal |
    """

    def __init__(self, folder: Path, coding: MaskCoding, info: SourceInfo) -> None:
        """Appearance at the folder.

        Args:
            folder: the masks, or a folder that has them in ``labels`` or ``masks``.
            coding: how they are stored.
            info: of the frames.

        Raises:
            SourceError: no folder, no masks in it, or not as many as there are frames.
        """
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; expected one mask image per frame")
        files = mask_files(folder)
        if not files:
            raise SourceError(f"{folder}: no mask images in it; expected one per frame, PNG")
        self.files = files
        """All masks, in natural order."""
        self._folder, self._coding = folder, coding
        twins = told_twins(files)
        self.problem = f"{folder}: {twins}; of such masks the one without loss is taken" if twins else ""
        called = collections.Counter(path.name for path in {Path(name).with_suffix("") for name in info.names})
        self._ambiguous = {stem for stem, count in called.items() if count > 1}
        """Names of images that several folders have."""
        if self._ambiguous:
            self.problem = (
                f"{folder}: images of several folders are called {min(self._ambiguous)}: whose mask that is is not "
                "known; name a folder at a time"
            )
        """What is unclear about the masks, or ''."""
        # The last one stays.
        self._by_stem = {file.stem: file for file in sorted(files, key=lambda file: file.suffix.lower() not in _LOSSY)}
        self._in_order: list[Path] | None = None
        stems = [file.stem for file in files]
        stamped = info.kind != "folder" and all(stem.isdecimal() and len(stem) >= _STAMP_DIGITS for stem in stems)
        self._by_stamp = dict(sorted((int(file.stem), file) for file in files)) if stamped else {}
        self._stamps = list(self._by_stamp)
        self._tolerance_ns = VIDEO_TICK_NS if info.kind == "video" else 0
        if info.kind != "folder" and not self._by_stamp:
            if info.frames is not None and info.frames != len(files):
                raise SourceError(
                    f"{folder}: {len(files)} masks for {info.frames} frames of {info.path.name}; name them by the "
                    "frames' stamps in nanoseconds, or give one per frame"
                )
            self._in_order = files

    def truth_of(self, frame: Frame) -> ByteArray | None:
        """Class ids in the coding's classes, uint8 (H, W); None where the folder has no mask for the frame.

        Raises:
            SourceError: cannot be read, or another size than the frame. CodingError: values without a class.
        """
        file = self._file_of(frame)
        if file is None:
            return None
        try:
            truth = self._coding.decode(read_mask(file), str(file))
        except PictureError as error:
            raise SourceError(f"{file} {error}") from error
        if truth.shape != frame.rgb.shape[:2]:
            raise SourceError(f"{file}: labels are {truth.shape} but the image is {frame.rgb.shape[:2]}")
        return truth

    def labelled(self, frame: Frame, path: Path) -> tuple[Frame, tuple[str, ...]]:
        """The frame with its truth, and a line where it has none; `path`: what it is of."""
        try:
            truth, told = self.truth_of(frame), f"{path}: no mask for {frame.name}"
        except ClipRlError as error:
            truth, told = None, f"{path}: {frame.name}: {error}"
        said = () if truth is not None else (f"{told}; evaluated without",)
        return dataclasses.replace(frame, labels=truth), said

    def _file_of(self, frame: Frame) -> Path | None:
        if self._in_order is not None:
            return self._in_order[frame.index] if 0 <= frame.index < len(self._in_order) else None
        if not self._by_stamp:
            stem = Path(frame.name).stem
            return self._by_stem.get(stem) if stem not in self._ambiguous else None
        stamps = self._stamps
        at = bisect.bisect_left(stamps, frame.stamp_ns)
        nearest = min(stamps[max(0, at - 1) : at + 1], key=lambda stamp: abs(stamp - frame.stamp_ns))
        return self._by_stamp[nearest] if abs(nearest - frame.stamp_ns) <= self._tolerance_ns else None

    def unmatched(self, frames: int) -> str:
        """Called at the end: what is wrong with pairing by place where there were other than so many masks, or ''."""
        if self._in_order is None or frames == len(self._in_order):
            return ""
        return f"{self._folder}: {len(self._in_order)} masks for {frames} frames, paired in order from the first"
