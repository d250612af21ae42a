"""Frames from a folder of images; `open_source` also opens videos and bags. See `frames` for what they share."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.folder_files import IMAGE_SUFFIXES, entries, frames_in, image_folders, is_image, told_twins
from clip_rl_perception.pictures.picture_files import JPEG, PNG, PictureError, decode_rgb, decode_stored, read_picture
from clip_rl_perception.sources.bag_files import foreign, is_bag
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import (
    DEFAULT_RATE,
    Frame,
    FrameSource,
    LeftOut,
    SourceError,
    SourceInfo,
    hash_files,
)
from clip_rl_perception.sources.video_source import VideoSource

_TIFF = (b"II*\0", b"MM\0*")
"""How TIFFs begin."""


class FolderSource:
    """Images of a folder (of its subfolder ``images`` if there is one) in natural order: frame2 before frame10.

    Or images by name, in the order given; frames are called by what their paths do not share.
    """

    def __init__(self, path: str | Path | Sequence[Path], *, rate_hz: float | None = None) -> None:
        """Find the images.

        Args:
            path: the folder, or the images.
            rate_hz: frames per second; `DEFAULT_RATE` if None.

        Raises:
            SourceError: no folder, no image in it, or none that decodes.
        """
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        if not isinstance(path, str | Path):
            files = [file.parent.resolve() / file.name for file in path]
            root = base = Path(os.path.commonpath([file.parent for file in files]))
        else:
            root = Path(path)
            if not root.is_dir():
                raise SourceError(f"{root}: no such folder")
            files = frames_in(root)
            base = files[0].parent if files else root
        if not files:
            found = sorted({entry.suffix or entry.name for entry in entries(root)})[:8]
            below = [folder.relative_to(root).as_posix() for folder in image_folders(root)]
            raise SourceError(
                f"{root}: no images in it; expected {', '.join(IMAGE_SUFFIXES)} here or in images/, found "
                + (", ".join(found) if found else "nothing")
                + (f"; there are images in folders below it, name one: {', '.join(below[:4])}" if below else "")
            )
        self._files = files
        size, fault = None, ""
        for file in files:
            try:
                size = _read_image(file)[0].shape[:2]
                self.problems += [f"{root}: {told}" for told in told_of_picture(file)]
                break
            except PictureError as error:
                fault = fault or f"{file.name} {error}"
        if size is None:
            what = "" if len(files) == 1 else f"none of its {len(files)} images can be decoded: "
            raise SourceError(f"{root}: {what}{fault}")
        if base == root and isinstance(path, str | Path):
            # One stray picture would else hide all of a data set.
            folders = image_folders(root)
            if sum(len(frames_in(folder)) for folder in folders) > len(files):
                told = ", ".join(folder.relative_to(root).as_posix() for folder in folders[:4])
                self.problems.append(
                    f"{root}: only the {len(files)} images in it are read, there are more in folders below it: {told}"
                )
        if twins := told_twins(files):
            self.problems.append(f"{root}: {twins}; each is taken for a frame of its own")
        self._opening_problems = tuple(self.problems)
        names = tuple(file.relative_to(base).as_posix() for file in files)
        self._info = SourceInfo("folder", root, len(files), rate_hz or DEFAULT_RATE, (size[0], size[1]), names=names)

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        self.problems, self.left_out = list(self._opening_problems), []
        for index, file in enumerate(self._files):
            begun, stamp = time.perf_counter(), round(index * 1e9 / self._info.rate_hz)
            try:
                rgb, encoded = _read_image(file)
            except PictureError as error:
                self.problems.append(f"{file} {error}; left out")
                self.left_out.append(LeftOut(index, stamp, f"{file.name} {error}"))
                continue
            decode_ms = (time.perf_counter() - begun) * 1e3
            yield Frame(rgb, stamp, self._info.names[index], encoded=encoded, index=index, decode_ms=decode_ms)

    def sha256(self) -> str:
        """Hash over the files' names and bytes, in order."""
        return hash_files(self._files)


def open_source(
    path: str | Path, *, rate_hz: float | None = None, topic: str | None = None, label_topic: str | None = None
) -> FrameSource:
    """Open a video file, an image, a folder of images or a rosbag2 by what lies at `path`.

    Args:
        path: the file or folder. A bag is a folder with metadata.yaml or a .mcap or .db3 file, or such a file itself.
        rate_hz: frames per second, instead of the source's own.
        topic: image topic of a bag; None takes the one with most images.
        label_topic: ground truth of a bag; None takes a topic whose last part is ``labels``.

    Raises:
        SourceError: nothing there, or nothing that holds frames.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder; expected a video file, a folder of images or a rosbag2")
    if is_bag(path):
        return BagSource(path, rate_hz=rate_hz, topic=topic, label_topic=label_topic)
    if path.is_dir():
        return FolderSource(path, rate_hz=rate_hz)
    if found := foreign(path):
        raise SourceError(f"{path}: it is {found}; expected a video file, a folder of images or a bag")
    if is_image(path):
        # To OpenCV frame01.png would be the beginning of a video, and the files numbered after it the rest.
        return FolderSource([path], rate_hz=rate_hz)
    return VideoSource(path, rate_hz=rate_hz)


def told_of_picture(file: Path) -> list[str]:
    """What of an image file is read otherwise than people may expect, a line each; raises `PictureError`."""
    content = read_picture(file)
    return [f"{file.name} {told}" for told in (_told_dark(content), _told_pages(content)) if told]


def _told_dark(content: bytes) -> str:
    """What is said of an image of 16 bits that uses the lower 12 alone; empty of any other."""
    if content.startswith(JPEG):
        return ""
    stored = decode_stored(content)
    most = int(stored.max()) if stored.dtype == np.uint16 else 0
    if not 0 < most < 1 << 12:
        return ""
    return (
        f"has no value above {most} of 65535, as 12 bits in 16 have: it is read nearly black; images "
        "are to use all 16 bits"
    )


def _told_pages(content: bytes) -> str:
    """What is said of a TIFF that holds several pictures of one size; empty of any other file."""
    if not content.startswith(_TIFF):
        return ""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            first = picture.size
            pages = sum(page.size == first for page in ImageSequence.Iterator(picture))
    except Exception:  # Pillow refuses more than OpenCV does, in many ways
        return ""
    return f"holds {pages} pictures, and the first is read; save each as a file" if pages > 1 else ""


def _read_image(file: Path) -> tuple[ByteArray, bytes | None]:
    """(RGB, file bytes if JPEG or PNG); raises `PictureError`."""
    content = read_picture(file)
    return decode_rgb(content), content if content.startswith((JPEG, PNG)) else None
