"""What a frame is, and what everything that yields frames has in common.

A source can be iterated more than once; every pass yields the same frames. What cannot be read is left out and listed
in `problems`, so that one damaged image does not end an evaluation. Nothing readable at all is a `SourceError`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.tag_measures import Numbers, TagTruth
from clip_rl_perception.pictures.stereo_frames import EYES, eye_of

DEFAULT_RATE = 25.0
"""Frames per second of an image folder, which knows none; Hz."""


class SourceError(ClipRlError):
    """A source does not exist or has no frames; the message names it and what was found instead."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a source."""

    rgb: ByteArray
    """uint8 (H, W, 3), RGB; may be read-only."""
    stamp_ns: int
    """When it was taken, ns: the header stamp of a bag, the time since the start for videos and folders."""
    name: str
    """File name, or topic and stamp."""
    labels: ByteArray | None = None
    """Ground truth, uint8 (H, W) class ids of the source's label space; 255 is not counted."""
    encoded: bytes | None = None
    """The JPEG or PNG file that `rgb` was decoded from, where there is one: it can be sent on as it is."""
    index: int = -1
    """Place among the images of its topic, folder or video, from 0, those that were left out counted."""
    frame_id: str = ""
    """Of the header; empty for videos and folders."""
    recorded_ns: int | None = None
    """Time in the bag, ns; None for videos and folders."""
    stamped: bool = True
    """False where the header stamp was zero and `stamp_ns` is the time in the bag."""
    encoding: str = ""
    """As the message says; empty for videos and folders."""
    decode_ms: float = 0.0
    """From the stored bytes to `rgb`, ms."""
    tags: TagTruth | None = None
    """Which instruments it truly shows, where that is known; of the size of `rgb`."""
    doubt: str = ""
    """Why it may not be what was sent; empty: nothing is known against it."""


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """One image that could not be read."""

    index: int
    """As in `Frame`."""
    stamp_ns: int
    """As in `Frame`."""
    reason: str
    """One line, without the place."""


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known about a source before its frames are read."""

    kind: str
    """``video``, ``folder`` or ``bag``."""
    path: Path
    frames: int | None
    """Number of frames, as far as the container says; None if it does not."""
    rate_hz: float
    """Nominal frame rate."""
    size: tuple[int, int]
    """(height, width) of the first frame."""
    label_space: LabelSpace | None = None
    """What `Frame.labels` means; None where there is no ground truth."""
    topic: str = ""
    """Image topic read from a bag."""
    names: tuple[str, ...] = ()
    """Of a folder's images, by `Frame.index`."""


def one_eye(frame: Frame, layout: str, eye: str) -> Frame:
    """One eye's half of a frame that holds both, with its half of the truth; for both see `stereo_frames`.

    Raises:
        ImageError: it cannot be halved.
    """
    if layout == "single":
        return frame
    rgb, labels, tags = eye_of(frame.rgb, layout, eye), frame.labels, frame.tags
    if labels is not None:
        labels = eye_of(labels, layout, eye)
    if tags is not None:
        height, width = rgb.shape[:2]
        second = eye == EYES[1]
        left, top = width * (second and layout == "side_by_side"), height * (second and layout == "top_bottom")
        known = {}
        for number, instrument in tags.instruments.items():
            points = {name: (x - left, y - top) for name, (x, y) in instrument.points.items()}
            there = {name: (x, y) for name, (x, y) in points.items() if 0 <= x < width and 0 <= y < height}
            known[number] = dataclasses.replace(instrument, points=there)
        ignored = tags.ignored
        ignored = eye_of(ignored, layout, eye) if ignored is not None else None
        numbers = cast(Numbers, eye_of(cast("npt.NDArray[Any]", tags.instances), layout, eye))
        tags = TagTruth(numbers, known, ignored)
    return dataclasses.replace(frame, rgb=rgb, labels=labels, tags=tags, encoded=None)


class FrameSource(Protocol):
    """Frames in order of time."""

    problems: list[str]
    """One line for everything left out in the last pass."""
    left_out: list[LeftOut]
    """The images left out in the last pass, in the order met."""

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame; raises `SourceError` when none can be read."""
        ...

    def sha256(self) -> str:
        """Hash of the input files, 64 hex digits: equal input, equal hash, wherever it lies."""
        ...


def hash_files(files: list[Path]) -> str:
    """SHA-256 of one file's bytes; of several, over each one's name, size and bytes in the given order.

    Of a link that leads nowhere the name counts alone.
    """
    digest = hashlib.sha256()
    for file in files:
        if len(files) > 1:
            digest.update(os.fsencode(file.name) + b"\0")
            if not file.exists():
                continue
            digest.update(f"{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
