"""Frames and truth from a rosbag2 (sqlite3 or mcap, humble to the newest) without ROS."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.highlevel import AnyReader, AnyReaderError

from clip_rl_perception.evaluation import message_types
from clip_rl_perception.evaluation.frames import BAG_SUFFIXES, DEFAULT_RATE, Frame, SourceError, SourceInfo, hash_files
from clip_rl_perception.labels import LabelError, LabelSpace
from clip_rl_perception.scene import encodings

ByteArray = npt.NDArray[np.uint8]

LABEL_WAIT_NS = 1_000_000_000
"""How far behind its image, in bag time, a label may be stored and still be found, ns."""

SCANNED = 100
"""Images whose stamps give the nominal rate."""


class BagSource:
    """Images of one topic of a bag; labels of another are matched by header stamp.

    Images carry their header stamp; where that is zero, the time they were recorded at.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        rate_hz: float | None = None,
        topic: str | None = None,
        label_topic: str | None = None,
    ) -> None:
        """Open the bag and choose topics.

        Args:
            path: bag folder or storage file.
            rate_hz: nominal rate; None: from the number of images and the time they span.
            topic: image topic, with or without ``/compressed``; None: the one with most images that can be decoded.
            label_topic: ground truth; None: a topic whose last part is ``labels``, if there is one.

        Raises:
            SourceError: not a readable bag, no such topic, no image topic; lists the topics found.
        """
        self.problems: list[str] = []
        self._path = Path(path)
        with self._reader() as reader:
            listed = ", ".join(f"{name} ({topic.msgtype})" for name, topic in reader.topics.items()) or "none at all"
            images = image_topics(reader)
            labels = [name for name in images if base_topic(name).rsplit("/", 1)[-1] == "labels"]
            self._topic = self._choose(reader, [name for name in images if name not in labels], topic, listed)
            self._label_topic = self._choose_labels(images, labels, label_topic, listed)
            size, stamps = self._scan(reader, self._topic)
            count = reader.topics[self._topic].msgcount
            label_space = self._label_space(reader)
        if rate_hz is None:
            span = (stamps[-1] - stamps[0]) / 1e9
            rate_hz = (len(stamps) - 1) / span if len(stamps) > 1 and span > 0 else DEFAULT_RATE
        self._info = SourceInfo("bag", self._path, count, rate_hz, size, label_space, self._topic)

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        self.problems = []
        waiting: collections.deque[_Message] = collections.deque()
        labels: dict[
            int, tuple[int, bytes]
        ] = {}  # by stamp: time in the bag, message; only what may still be asked for
        with self._reader() as reader:
            wanted = [item for item in reader.connections if item.topic in (self._topic, self._label_topic)]
            kinds = {item.topic: item.msgtype for item in wanted}
            deserialize = _Deserialize(reader, kinds)
            try:
                for connection, time, data in reader.messages(wanted):
                    message = _Message(time, message_types.stamp_in(data) or time, data)
                    if connection.topic == self._label_topic:
                        labels[message.stamp] = (time, data)
                    else:
                        waiting.append(message)
                    while waiting and self._ready(waiting[0], labels, time):
                        yield from self._frame(waiting.popleft(), labels, deserialize)
                    for stamp in [key for key, (stored, _) in labels.items() if stored < time - LABEL_WAIT_NS]:
                        del labels[stamp]
            except AnyReaderError as error:
                self.problems.append(f"{self._path}: reading ended early: {error}")
            while waiting:
                yield from self._frame(waiting.popleft(), labels, deserialize)

    def sha256(self) -> str:
        """Hash of the storage files; metadata.yaml, which tools rewrite, does not count."""
        if self._path.is_file():
            return hash_files([self._path])
        return hash_files(sorted(file for file in self._path.iterdir() if file.suffix in (*BAG_SUFFIXES, ".zstd")))

    def _ready(self, image: _Message, labels: dict[int, tuple[int, bytes]], now: int) -> bool:
        return self._label_topic is None or image.stamp in labels or now - image.time > LABEL_WAIT_NS

    def _frame(
        self, message: _Message, labels: dict[int, tuple[int, bytes]], deserialize: _Deserialize
    ) -> Iterator[Frame]:
        place = f"{self._path}: {self._topic} at {message.stamp / 1e9:.3f} s"
        try:
            image = deserialize(self._topic, message.data)
            rgb = decode_image(image)
        except (encodings.ImageError, AnyReaderError) as error:
            self.problems.append(f"{place}: {error}; left out")
            return
        truth = None
        if (label := labels.get(message.stamp)) is not None and self._label_topic is not None:
            try:
                truth = decode_labels(deserialize(self._label_topic, label[1]))
                if truth.shape != rgb.shape[:2]:
                    raise SourceError(f"labels are {truth.shape} but the image is {rgb.shape[:2]}")
            except (encodings.ImageError, AnyReaderError, SourceError) as error:
                truth = None
                self.problems.append(f"{place}: labels: {error}; evaluated without")
        encoded = None if hasattr(image, "encoding") else image.data.tobytes()
        yield Frame(rgb, message.stamp, f"{self._topic}@{message.stamp}", truth, encoded)

    def _reader(self) -> BagReader:
        return BagReader(self._path)

    def _choose(self, reader: AnyReader, names: list[str], topic: str | None, listed: str) -> str:
        if topic is not None:
            for name in (topic, f"{topic}/compressed"):
                if name in reader.topics and reader.topics[name].msgtype in _IMAGE_TYPES:
                    return name
            raise SourceError(f"{self._path}: no images on topic {topic}; topics found: {listed}")
        if not names:
            raise SourceError(f"{self._path}: no image topic in this bag; topics found: {listed}")
        return max(names, key=lambda name: (reader.topics[name].msgcount, -names.index(name)))

    def _choose_labels(self, images: list[str], labels: list[str], topic: str | None, listed: str) -> str | None:
        if topic is None:
            return labels[0] if labels else None
        for name in (topic, f"{topic}/compressed"):
            if name in images:
                return name
        raise SourceError(f"{self._path}: no labels on topic {topic}; topics found: {listed}")

    def _scan(self, reader: AnyReader, topic: str) -> tuple[tuple[int, int], list[int]]:
        """Size of the first image that decodes, and the first stamps, in order."""
        stamps: list[int] = []
        size, reason = None, "the topic is empty"
        for connection, time, data in reader.messages(reader.topics[topic].connections):
            stamps.append(message_types.stamp_in(data) or time)
            if size is None:
                try:
                    size = decode_image(reader.deserialize(data, connection.msgtype)).shape[:2]
                except (encodings.ImageError, AnyReaderError) as error:
                    reason = str(error)
            if size is not None and len(stamps) >= SCANNED:
                break
        if size is None:
            raise SourceError(f"{self._path}: none of the {len(stamps)} images on {topic} can be decoded: {reason}")
        return (size[0], size[1]), sorted(stamps)

    def _label_space(self, reader: AnyReader) -> LabelSpace | None:
        if self._label_topic is None:
            return None
        name = f"{base_topic(self._label_topic)}/classes"
        if name in reader.topics and reader.topics[name].msgtype == message_types.CLASS_LIST:
            for connection, _, data in reader.messages(reader.topics[name].connections):
                try:
                    return message_types.label_space_of(reader.deserialize(data, connection.msgtype))
                except LabelError as error:
                    raise SourceError(f"{self._path}: {name}: {error}") from error
        self.problems.append(f"{self._path}: {self._label_topic} has no class list on {name}; labels are not used")
        self._label_topic = None
        return None


@dataclasses.dataclass(frozen=True)
class _Message:
    time: int
    """In the bag, ns."""
    stamp: int
    """Header stamp, or `time` where that is zero, ns."""
    data: bytes


class BagReader(AnyReader):
    """AnyReader whose errors name the bag, and that does without metadata.yaml where there is one storage file."""

    def __init__(self, path: Path) -> None:
        """Find the bag at `path`; raises `SourceError`."""
        # A folder that lost its metadata.yaml is still readable through its only storage file.
        if path.is_dir() and not (path / "metadata.yaml").is_file():
            stored = sorted(file for suffix in BAG_SUFFIXES for file in path.glob(f"*{suffix}"))
            if len(stored) != 1:
                raise SourceError(
                    f"{path}: no metadata.yaml and {len(stored)} storage files; expected a rosbag2 folder"
                )
            path = stored[0]
        try:
            super().__init__([path], default_typestore=message_types.typestore())
        except (AnyReaderError, OSError, ValueError) as error:
            raise SourceError(f"{path}: not a readable rosbag2: {error}") from error

    def open(self) -> None:
        """Open; raises `SourceError`."""
        try:
            super().open()
        except (AnyReaderError, OSError, ValueError, AssertionError, TypeError) as error:
            raise SourceError(f"{self.paths[0]}: not a readable rosbag2: {error}") from error


class _Deserialize:
    """Messages of a topic from their bytes."""

    def __init__(self, reader: AnyReader, kinds: dict[str, str]) -> None:
        self._reader, self._kinds = reader, kinds

    def __call__(self, topic: str, data: bytes) -> Any:
        return self._reader.deserialize(data, self._kinds[topic])


_IMAGE_TYPES = (message_types.IMAGE, message_types.COMPRESSED_IMAGE)


def image_topics(reader: AnyReader) -> list[str]:
    """Topics with at least one image that may be a picture (compressed depth is not), sorted."""
    return sorted(
        name
        for name, topic in reader.topics.items()
        if topic.msgtype in _IMAGE_TYPES and topic.msgcount and not name.endswith("/compressedDepth")
    )


def base_topic(topic: str) -> str:
    """`topic` without image_transport's ``/compressed``."""
    return topic.removesuffix("/compressed")


def decode_image(message: Any) -> ByteArray:
    """uint8 RGB (H, W, 3) of an Image or CompressedImage message; raises `encodings.ImageError`."""
    if hasattr(message, "encoding"):
        return encodings.image_to_rgb(
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            is_bigendian=bool(message.is_bigendian),
            data=message.data,
        )
    return encodings.compressed_to_rgb(message.data)


def decode_labels(message: Any) -> ByteArray:
    """uint8 (H, W) class ids of a mono8 Image or a single-channel PNG; raises `SourceError` or `ImageError`."""
    if hasattr(message, "encoding"):
        if message.encoding != "mono8":
            raise SourceError(f"encoding is {message.encoding}; expected mono8 class ids")
        view = encodings.image_view(
            height=message.height,
            width=message.width,
            encoding="mono8",
            step=message.step,
            is_bigendian=False,
            data=message.data,
        )
        return np.asarray(view, np.uint8)
    labels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
        raise SourceError("not a PNG of one 8-bit channel")
    return np.asarray(labels, np.uint8)
