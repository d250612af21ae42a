"""Frames and truth from a rosbag2 (sqlite3 or mcap, humble to the newest) without ROS."""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.transports import COMPRESSED, RAW, TRANSPORTS, base_topic, topic_of
from clip_rl_perception.pictures.message_pictures import MessagePicture, MessagePictures
from clip_rl_perception.sources.bag_files import storage_files
from clip_rl_perception.sources.bag_reader import BagReader, Topic
from clip_rl_perception.sources.bag_truth import (
    LabelQueue,
    StoredLabels,
    StoredMessage,
    TagQueue,
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

OUTPUT_TOPICS = ("mask", "confidence", "disagreement", "instances", "overlay")
"""Last parts of topics that the perception node itself publishes: no input unless asked for by name."""


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
            rate_hz: nominal rate; None: from the usual time between two images.
            topic: image topic, with or without ``/compressed`` or ``/ffmpeg``; None: the one with most images that
                can be decoded.
            label_topic: ground truth; None: a topic whose last part is ``labels``, if there is one that belongs to the
                images (see `bag_truth.labels_beside`).
            label_coding: how labels are stored; None: ids of the bag's class list, or its colours.
            use_labels: False leaves labels alone.

        Raises:
            SourceError: not a readable bag, no such topic, no image topic; lists the topics found.
        """
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        self._run: list[LeftOut] = []
        """The last ones left out, one after the other for one reason, that no line tells of yet."""
        self._path = Path(path)
        with BagReader(self._path) as reader:
            self._topic = self._choose(reader, topic)
            self._label_topic = self._choose_labels(reader, label_topic) if use_labels else None
            size, stamps = self._scan(reader, self._topic)
            count = reader.topics[self._topic].msgcount
            self._is_video = reader.topics[self._topic].msgtype in message_types.PACKETS
            label_space = self._label_space(reader, label_coding)
            self.problems += reader.mended
            if left_out := [f"{name} ({topic.left_out})" for name, topic in reader.topics.items() if topic.left_out]:
                self.problems.append(f"{self._path}: topics left out: {', '.join(left_out)}")
        self._labels = StoredLabels(label_space, label_coding)
        self._opening_problems = tuple(self.problems)
        if rate_hz is None:
            # Not their mean: one stamp from before a clock was set, or one pause, would make it any number.
            steps = [after - before for before, after in itertools.pairwise(stamps) if after > before]
            rate_hz = 1e9 / statistics.median(steps) if steps else DEFAULT_RATE
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
        self.problems, self.left_out, self._run = list(self._opening_problems), [], []
        waiting: collections.deque[StoredMessage] = collections.deque()
        held: dict[int, StoredMessage] = {}
        """Taken, without an outcome yet: packets whose pictures come later."""
        labels = LabelQueue()
        index, last = 0, 0
        with BagReader(self._path) as reader:
            tags = TagQueue(reader, self._label_topic)
            pictures: MessagePictures[StoredMessage] = MessagePictures()
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
                        message = waiting.popleft()
                        held[message.index] = message
                        for picture in _pictures(pictures, reader, self._topic, message):
                            held.pop(picture.tag.index, None)
                            yield from self._frame(picture, labels, tags, reader)
                    oldest = min((message.time for message in held.values()), default=recorded)
                    labels.forget(min(oldest, recorded) - LABEL_WAIT_NS)
                    tags.forget(min(oldest, recorded) - LABEL_WAIT_NS)
            except SourceError as error:
                self.problems.append(
                    f"{self._path}: {self._topic}: reading ended early, after {index} images at {last / 1e9:.3f} s: "
                    f"{one_line(error)}"
                )
            while waiting:
                for picture in _pictures(pictures, reader, self._topic, waiting.popleft()):
                    yield from self._frame(picture, labels, tags, reader)
            for picture in pictures.finish():
                yield from self._frame(picture, labels, tags, reader)
            self._tell_of_run()
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

    def _frame(
        self, picture: MessagePicture[StoredMessage], labels: LabelQueue, tags: TagQueue, reader: BagReader
    ) -> Iterator[Frame]:
        """The frame; nothing where it cannot be decoded."""
        message, rgb = picture.tag, picture.rgb
        place = f"{self._path}: {self._topic} at {message.key / 1e9:.3f} s"
        label = labels.of(message.key)
        if rgb is None:
            self._leave_out(message, picture.reason)
            return
        self._tell_of_run()
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
        yield Frame(
            rgb,
            message.key,
            f"{self._topic}@{message.key}",
            truth,
            picture.encoded,
            index=message.index,
            frame_id=picture.frame_id,
            recorded_ns=message.time,
            stamped=message.stamp != 0,
            encoding=picture.encoding,
            decode_ms=picture.decode_ms,
            tags=tag_truth,
            doubt=picture.doubt,
        )

    def _leave_out(self, message: StoredMessage, reason: str) -> None:
        """A line for it, of video one for all in a row with this reason: a second without a key frame is one matter."""
        self.left_out.append(LeftOut(message.index, message.key, reason))
        if self._run and (self._run[0].reason != reason or not self._is_video):
            self._tell_of_run()
        self._run.append(self.left_out[-1])

    def _tell_of_run(self) -> None:
        if self._run:
            first, count = self._run[0], len(self._run)
            place = f"{self._path}: {self._topic} at {first.stamp_ns / 1e9:.3f} s"
            many = f" and the {count - 1} packets after it" if count > 1 else ""
            self.problems.append(f"{place}: {first.reason}; left out{many}")
            self._run = []

    def _choose(self, reader: BagReader, topic: str | None) -> str:
        if topic is not None:
            for name in (topic_of(topic, transport) for transport in TRANSPORTS):
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
        for name in (topic_of(topic, transport) for transport in (RAW, COMPRESSED)):
            if name in images:
                return name
        raise SourceError(f"{self._path}: no labels on topic {topic}; topics found: {reader.topics_found()}")

    def _scan(self, reader: BagReader, topic: str) -> tuple[tuple[int, int], list[int]]:
        """Size of the first image that decodes, and the first stamps, in order."""
        stamps: list[int] = []
        size, reason = None, "the topic is empty"
        pictures: MessagePictures[StoredMessage] = MessagePictures()
        try:
            for _, recorded, data in reader.messages(reader.topics[topic].connections):
                stamps.append(message_types.stamp_in(data) or recorded)
                if size is None:
                    for picture in _pictures(pictures, reader, topic, StoredMessage(-1, recorded, stamps[-1], data)):
                        size = size or (None if picture.rgb is None else picture.rgb.shape[:2])
                        reason = picture.reason or reason
                if size is not None and len(stamps) >= SCANNED:
                    break
        except SourceError as error:
            reason = one_line(error)
        if size is None and (late := [item.rgb.shape[:2] for item in pictures.finish() if item.rgb is not None]):
            size = late[0]
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


def _pictures(
    pictures: MessagePictures[StoredMessage], reader: BagReader, topic: str, stored: StoredMessage
) -> list[MessagePicture[StoredMessage]]:
    """What the next message of a topic leads to now."""
    try:
        return pictures.take(_deserialize(reader, topic, stored.data), stored)
    except ClipRlError as error:
        return [MessagePicture(stored, None, one_line(error))]


def _deserialize(reader: BagReader, topic: str, data: bytes) -> Any:
    return reader.deserialize(data, reader.topics[topic].connections[0].msgtype)


def _holds_images(topic: Topic) -> bool:
    pictures = (message_types.IMAGE, message_types.COMPRESSED_IMAGE, *message_types.PACKETS)
    return topic.msgtype in pictures and not topic.left_out


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


def input_topics(path: Path, problems: list[str], label_topic: str | None = None) -> list[str]:
    """Every image topic but labels that is an input, raw before compressed where both are; others go to `problems`."""
    with BagReader(path) as reader:
        found = image_topics(reader)
        listed = reader.topics_found()
    bases: dict[str, str] = {}
    for topic in found:
        base = base_topic(topic)
        if is_label_topic(topic) or base == base_topic(label_topic or ""):
            continue
        if base.rsplit("/", 1)[-1] in OUTPUT_TOPICS:
            problems.append(f"{path}: {topic} is taken for an output of perception and left out; --topic names it")
        elif base in bases:
            problems.append(f"{path}: {topic} holds the images of {bases[base]} again; left out")
        else:
            bases[base] = topic
    if not bases:
        raise SourceError(f"{path}: no image topic in this bag; topics found: {listed}")
    return list(bases.values())
