"""Frames from a video file or a folder of images; `open_source` also opens bags. See `frames` for what they share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.sources import opencv_log
from clip_rl_perception.sources.bag_files import is_bag
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

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class VideoSource:
    """Frames of a video file, decoded by OpenCV."""

    def __init__(self, path: str | Path, *, rate_hz: float | None = None) -> None:
        """Open `path` and read its first frame; `rate_hz` overrides the file's. Raises `SourceError`."""
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        self._path = Path(path)
        capture = self._open()
        done, first = capture.read()
        rate, count = float(capture.get(cv2.CAP_PROP_FPS)), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if not done:
            raise SourceError(f"{self._path}: no frame of this video can be decoded; expected one that OpenCV reads")
        if rate_hz is None:
            rate_hz = rate if 1.0 <= rate <= 1000.0 else DEFAULT_RATE
        self._info = SourceInfo("video", self._path, count if count > 0 else None, rate_hz, first.shape[:2])

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        self.problems = []
        capture = self._open()
        index = 0
        try:
            while True:
                begun = time.perf_counter()
                done, bgr = capture.read()
                if not done:
                    break
                rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8)
                stamp, decode_ms = round(index * 1e9 / self._info.rate_hz), (time.perf_counter() - begun) * 1e3
                yield Frame(rgb, stamp, f"{self._path.name}#{index}", index=index, decode_ms=decode_ms)
                index += 1
        finally:
            capture.release()
        if self._info.frames is not None and index < self._info.frames:
            self.problems.append(f"{self._path}: decoding ended after {index} of {self._info.frames} frames")

    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hash_files([self._path])

    def _open(self) -> cv2.VideoCapture:
        if not self._path.is_file():
            raise SourceError(f"{self._path}: no such video file")
        with opencv_log.quiet():
            capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"{self._path}: not a video that OpenCV can read; expected .mp4, .avi, .mkv or the like")
        return capture


class FolderSource:
    """Images of a folder (of its subfolder ``images`` if there is one) in natural order: frame2 before frame10."""

    def __init__(
        self,
        path: str | Path,
        *,
        rate_hz: float | None = None,
        labels: str | Path | None = None,
        label_space: LabelSpace | None = None,
    ) -> None:
        """Find the images.

        Args:
            path: the folder.
            rate_hz: frames per second; `DEFAULT_RATE` if None.
            labels: folder of single-channel PNGs of class ids, named as the images; None: no ground truth.
            label_space: what the ids mean; needed with `labels`.

        Raises:
            SourceError: no folder, no image in it, or none that decodes.
        """
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        root = Path(path)
        if not root.is_dir():
            raise SourceError(f"{root}: no such folder")
        files = image_files(root / "images") or image_files(root)
        if not files:
            found = sorted({entry.suffix or entry.name for entry in root.iterdir()})[:8]
            raise SourceError(
                f"{root}: no images in it; expected {', '.join(IMAGE_SUFFIXES)} here or in images/, found "
                + (", ".join(found) if found else "nothing")
            )
        if labels is not None and label_space is None:
            raise SourceError(f"{labels}: labels need a label space that says what their values mean")
        self._files = files
        self._labels = Path(labels) if labels is not None else None
        first = next((image for image in map(_read_image, files) if image is not None), None)
        if first is None:
            raise SourceError(f"{root}: none of its {len(files)} images can be decoded")
        self._info = SourceInfo(
            "folder", root, len(files), rate_hz or DEFAULT_RATE, first[0].shape[:2], label_space if labels else None
        )

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        self.problems, self.left_out = [], []
        for index, file in enumerate(self._files):
            begun = time.perf_counter()
            image = _read_image(file)
            decode_ms = (time.perf_counter() - begun) * 1e3
            stamp = round(index * 1e9 / self._info.rate_hz)
            if image is None:
                self.problems.append(f"{file}: cannot be decoded; left out")
                self.left_out.append(LeftOut(index, stamp, f"{file.name} cannot be decoded"))
                continue
            rgb, encoded = image
            yield Frame(rgb, stamp, file.name, self._read_labels(file, rgb), encoded, index, decode_ms=decode_ms)

    def sha256(self) -> str:
        """Hash over the files' names and bytes, in order."""
        return hash_files(self._files)

    def _read_labels(self, image: Path, rgb: ByteArray) -> ByteArray | None:
        if self._labels is None:
            return None
        file = self._labels / f"{image.stem}.png"
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) if file.is_file() else None
        if labels is None:
            self.problems.append(f"{file}: no labels that can be read for {image.name}")
        elif labels.ndim != 2 or labels.dtype != np.uint8 or labels.shape != rgb.shape[:2]:
            self.problems.append(
                f"{file}: labels are {labels.dtype} {labels.shape}; expected uint8 {rgb.shape[:2]} of class ids"
            )
        else:
            return np.asarray(labels, np.uint8)
        return None


def open_source(
    path: str | Path, *, rate_hz: float | None = None, topic: str | None = None, label_topic: str | None = None
) -> FrameSource:
    """Open a video file, a folder of images or a rosbag2 by what lies at `path`.

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
    return VideoSource(path, rate_hz=rate_hz)


def image_files(folder: Path) -> list[Path]:
    """Image files directly in `folder` in natural order; empty where there is no such folder."""
    if not folder.is_dir():
        return []
    files = [entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    return sorted(files, key=lambda file: natural_key(file.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that compares runs of digits as numbers: a2 < a10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _read_image(file: Path) -> tuple[ByteArray, bytes | None] | None:
    """(RGB, file bytes if JPEG or PNG), or None where it does not decode."""
    try:
        content = file.read_bytes()
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except (OSError, cv2.error):
        return None
    if bgr is None:
        return None
    sendable = file.suffix.lower() in (".png", ".jpg", ".jpeg")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8), content if sendable else None
