"""Frames and truth from a rosbag2 (sqlite3 or mcap, humble to the newest) without ROS."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import message_types
from clip_rl_perception.pictures import encodings
from clip_rl_perception.pictures.compressed_format import compressed_message_to_rgb
from clip_rl_perception.sources.bag_files import storage_files
from clip_rl_perception.sources.bag_reader import BagReader, Topic
from clip_rl_perception.sources.bag_truth import (
    LabelQueue,
    StoredLabels,
    StoredMessage,
    TagQueue,
    base_topic,
    class_list,
    holds_instances,
    is_label_topic,
    labels_beside,
)
from clip_rl_perception.sources.frames import (
    DEFAULT_RATE,
    Frame,
    LeftOut,
    SourceError,
    SourceInfo,
    hash_files,
)
from clip_rl_perception.sources.mask_coding import MaskCoding

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
        label_coding: MaskCoding | None = None,
        use_labels: bool = True,
    ) -> None:
        """Open the bag and choose topics.

        Args:
            path: bag folder or storage file.
            rate_hz: nominal rate; None: from the number of images and the time they span.
            topic: image topic, with or without ``/compressed``; None: the one with most images that can be decoded.
            label_topic: ground truth; None: a topic whose last part is ``labels``, if there is one that belongs to the
                images (see `bag_truth.labels_beside`).
            label_coding: how labels are stored; None: ids of the bag's class list, or its colours.
            use_labels: False leaves labels alone.

        Raises:
            SourceError: not a readable bag, no such topic, no image topic; lists the topics found.
        """
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        self._path = Path(path)
        with BagReader(self._path) as reader:
            self._topic = self._choose(reader, topic)
            self._label_topic = self._choose_labels(reader, label_topic) if use_labels else None
            size, stamps = self._scan(reader, self._topic)
            count = reader.topics[self._topic].msgcount
            label_space = self._label_space(reader, label_coding)
            self.problems += reader.mended
            if left_out := [f"{name} ({topic.left_out})" for name, topic in reader.topics.items() if topic.left_out]:
                self.problems.append(f"{self._path}: topics left out: {', '.join(left_out)}")
        self._labels = StoredLabels(label_space, label_coding)
        self._opening_problems = tuple(self.problems)
        if rate_hz is None:
            span = (stamps[-1] - stamps[0]) / 1e9
            rate_hz = (len(stamps) - 1) / span if len(stamps) > 1 and span > 0 else DEFAULT_RATE
        self._info = SourceInfo("bag", self._path, count, rate_hz, size, label_space, self._topic)

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    @property
    def has_labels(self) -> bool:
        """True where a topic with ground truth belongs to the images."""
        return self._label_topic is not None

    def __iter__(self) -> Iterator[Frame]:
        self.problems, self.left_out = list(self._opening_problems), []
        waiting: collections.deque[StoredMessage] = collections.deque()
        labels = LabelQueue()
        index, last = 0, 0
        with BagReader(self._path) as reader:
            tags = TagQueue(reader, self._label_topic)
            names = (self._topic, self._label_topic, *tags.topics)
            wanted = [item for item in reader.connections if item.topic in names]
            try:
                for connection, recorded, data in reader.messages(wanted):
                    last = recorded
                    if connection.topic in tags.topics:
                        self._take_tags(tags, reader, connection.topic, recorded, data)
                        continue
                    stamp = message_types.stamp_in(data)
                    if connection.topic == self._label_topic:
                        labels.add(StoredMessage(-1, recorded, stamp, data))
                    else:
                        waiting.append(StoredMessage(index, recorded, stamp, data))
                        index += 1
                    while waiting and self._ready(waiting[0], labels, tags, recorded):
                        yield from self._frame(waiting.popleft(), labels, tags, reader)
                    labels.forget(recorded - LABEL_WAIT_NS)
                    tags.forget(recorded - LABEL_WAIT_NS)
            except SourceError as error:
                self.problems.append(
                    f"{self._path}: {self._topic}: reading ended early, after {index} images at {last / 1e9:.3f} s: "
                    f"{one_line(error)}"
                )
            while waiting:
                yield from self._frame(waiting.popleft(), labels, tags, reader)
        if self._label_topic is not None and (unpaired := labels.unpaired(index)):
            self.problems.append(f"{self._path}: {self._label_topic}: {unpaired}")

    def sha256(self) -> str:
        """Hash of the storage files; metadata.yaml, which tools rewrite, does not count."""
        return hash_files([file for file in storage_files(self._path) if file.is_file()])

    def _take_tags(self, tags: TagQueue, reader: BagReader, topic: str, recorded: int, data: bytes) -> None:
        try:
            tags.add(topic, recorded, _deserialize(reader, topic, data))
        except ClipRlError as error:
            place = f"{self._path}: {topic} at {recorded / 1e9:.3f} s"
            self.problems.append(f"{place}: {one_line(error)}; tags are judged without")

    def _ready(self, image: StoredMessage, labels: LabelQueue, tags: TagQueue, now: int) -> bool:
        there = labels.has(image.key) and tags.has(image.key)
        return self._label_topic is None or there or now - image.time > LABEL_WAIT_NS

    def _frame(self, message: StoredMessage, labels: LabelQueue, tags: TagQueue, reader: BagReader) -> Iterator[Frame]:
        """The frame; nothing where it cannot be decoded."""
        place = f"{self._path}: {self._topic} at {message.key / 1e9:.3f} s"
        label = labels.of(message.key)
        begun = time.perf_counter()
        try:
            image = _deserialize(reader, self._topic, message.data)
            rgb = decode_image(image)
        except ClipRlError as error:
            self.problems.append(f"{place}: {one_line(error)}; left out")
            self.left_out.append(LeftOut(message.index, message.key, one_line(error)))
            return
        decode_ms = (time.perf_counter() - begun) * 1e3
        truth = None
        if label is not None and self._label_topic is not None:
            try:
                truth = self._labels.decode(_deserialize(reader, self._label_topic, label.data), "labels")
                if truth.shape != rgb.shape[:2]:
                    raise SourceError(f"labels are {truth.shape} but the image is {rgb.shape[:2]}")
            except ClipRlError as error:
                truth = None
                text = one_line(error)
                self.problems.append(
                    f"{place}: {text if text.startswith('labels') else f'labels: {text}'}; evaluated without"
                )
        try:
            tag_truth = tags.of(message.key, rgb.shape)
        except SourceError as error:
            tag_truth = None
            self.problems.append(f"{place}: {error}; tags are judged without")
        raw = hasattr(image, "encoding")
        yield Frame(
            rgb,
            message.key,
            f"{self._topic}@{message.key}",
            truth,
            None if raw else image.data.tobytes(),
            index=message.index,
            frame_id=image.header.frame_id,
            recorded_ns=message.time,
            stamped=message.stamp != 0,
            encoding=str(image.encoding if raw else image.format),
            decode_ms=decode_ms,
            tags=tag_truth,
        )

    def _choose(self, reader: BagReader, topic: str | None) -> str:
        if topic is not None:
            for name in (topic, f"{topic}/compressed"):
                if name in reader.topics and _holds_images(reader.topics[name]):
                    return name
            raise SourceError(f"{self._path}: no images on topic {topic}; topics found: {reader.topics_found()}")
        names = [name for name in image_topics(reader) if not is_label_topic(name)]
        if not names:
            raise SourceError(f"{self._path}: no image topic in this bag; topics found: {reader.topics_found()}")
        return max(names, key=lambda name: (reader.topics[name].msgcount, -names.index(name)))

    def _choose_labels(self, reader: BagReader, topic: str | None) -> str | None:
        images = image_topics(reader)
        if topic is None:
            labels = [name for name in images if is_label_topic(name)]
            found = labels_beside(self._topic, labels, [name for name in images if not is_label_topic(name)])
            if labels and found is None:
                self.problems.append(
                    f"{self._path}: no labels topic beside {self._topic}; it is evaluated without truth. "
                    f"Labels found: {', '.join(labels)}"
                )
            return found
        for name in (topic, f"{topic}/compressed"):
            if name in images:
                return name
        raise SourceError(f"{self._path}: no labels on topic {topic}; topics found: {reader.topics_found()}")

    def _scan(self, reader: BagReader, topic: str) -> tuple[tuple[int, int], list[int]]:
        """Size of the first image that decodes, and the first stamps, in order."""
        stamps: list[int] = []
        size, reason = None, "the topic is empty"
        try:
            for connection, recorded, data in reader.messages(reader.topics[topic].connections):
                stamps.append(message_types.stamp_in(data) or recorded)
                if size is None:
                    try:
                        size = decode_image(reader.deserialize(data, connection.msgtype)).shape[:2]
                    except ClipRlError as error:
                        reason = one_line(error)
                if size is not None and len(stamps) >= SCANNED:
                    break
        except SourceError as error:
            reason = one_line(error)
        if size is None:
            raise SourceError(f"{self._path}: none of the {len(stamps)} images on {topic} can be decoded: {reason}")
        return (size[0], size[1]), sorted(stamps)

    def _label_space(self, reader: BagReader, coding: MaskCoding | None) -> LabelSpace | None:
        if self._label_topic is None or coding is not None:
            return None
        try:
            space = class_list(reader, self._label_topic)
        except SourceError as error:
            raise SourceError(f"{self._path}: {error}") from error
        if space is None:
            name = f"{base_topic(self._label_topic)}/classes"
            self.problems.append(
                f"{self._path}: {self._label_topic} has no class list on {name}; labels are not used. "
                "A label map would tell what they mean"
            )
            self._label_topic = None
        return space


def _deserialize(reader: BagReader, topic: str, data: bytes) -> Any:
    return reader.deserialize(data, reader.topics[topic].connections[0].msgtype)


def _holds_images(topic: Topic) -> bool:
    return topic.msgtype in (message_types.IMAGE, message_types.COMPRESSED_IMAGE) and not topic.left_out


def image_topics(reader: BagReader) -> list[str]:
    """Topics with at least one image that may be a picture (compressed depth and instances are not), sorted."""
    return sorted(
        name
        for name, topic in reader.topics.items()
        if _holds_images(topic)
        and topic.msgcount
        and not name.endswith("/compressedDepth")
        and not holds_instances(name)
    )


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
    return compressed_message_to_rgb(message)
