"""One pass over a bag: what each topic holds, and where its messages are not what they should be."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.pictures import encodings
from clip_rl_perception.pictures.compressed_format import check_compressed_message
from clip_rl_perception.pictures.packet_decoder import Outcome, PacketDecoder
from clip_rl_perception.pictures.video_packets import coding_of
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import OUTPUT_TOPICS, image_topics
from clip_rl_perception.sources.bag_truth import StoredLabels, class_list, is_label_topic
from clip_rl_perception.sources.camera_model import CAMERA_INFO
from clip_rl_perception.sources.frames import SourceError

Size = tuple[int, int]
"""(width, height), px."""


@dataclasses.dataclass
class TopicContent:
    """What one topic of a bag holds."""

    name: str
    type: str
    kind: str
    """``image``, ``labels``, ``output`` (pictures of perception itself), ``camera_info`` or ``other``."""
    left_out: str = ""
    """Why its messages cannot be deserialised; empty where they can."""
    times: list[int] = dataclasses.field(default_factory=list)
    """When each message was recorded, ns."""
    stamps: list[int] = dataclasses.field(default_factory=list)
    """Header stamps of images, labels and camera infos in the order recorded, ns; 0 where none was set."""
    encodings: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    sizes: collections.Counter[Size] = dataclasses.field(default_factory=collections.Counter)
    size_of: dict[int, Size] = dataclasses.field(default_factory=dict)
    """Size by stamp."""
    faults: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """(stamp, what is wrong with the message)."""
    doubts: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """(stamp, why the picture may not be what was sent)."""
    classes: tuple[str, ...] | None = None
    """Of labels with a class list."""


@dataclasses.dataclass
class BagContent:
    """What a bag holds."""

    topics: dict[str, TopicContent]
    broken: tuple[str, ...]
    """What cannot be read of the file, one line each."""


def read_content(reader: BagReader) -> BagContent:
    """Appearance at every message of an open bag; files in it are decoded as far as damage shows."""
    pictures = set(image_topics(reader))
    topics = {
        name: TopicContent(
            name, topic.msgtype or "several types", _kind(name, topic.msgtype or "", pictures), topic.left_out
        )
        for name, topic in reader.topics.items()
    }
    broken = list(reader.mended)
    videos: dict[str, PacketDecoder[int]] = {}
    labels = {name: _Labels(reader, topic, broken) for name, topic in topics.items() if topic.kind == "labels"}
    try:
        for connection, time, data in reader.messages(
            [connection for topic in reader.topics.values() for connection in topic.connections]
        ):
            topic = topics[connection.topic]
            topic.times.append(time)
            video = topic.kind in ("image", "output") and connection.msgtype in message_types.PACKETS
            if video and not topic.left_out:
                if topic.name not in videos:
                    videos[topic.name] = PacketDecoder()
                _look_at_packet(reader, topic, connection.msgtype, data, time, videos[topic.name])
            elif topic.kind != "other" and not topic.left_out:
                _look(reader, topic, connection.msgtype, data, time, labels.get(topic.name))
    except SourceError as error:
        broken.append(f"reading ended early: {one_line(error)}")
    for name, decoder in videos.items():
        _note_pictures(topics[name], decoder.finish())
    return BagContent(topics, tuple(broken))


def _kind(name: str, msgtype: str, pictures: set[str]) -> str:
    if msgtype == CAMERA_INFO:
        return "camera_info"
    if name not in pictures:
        return "other"
    if base_topic(name).rsplit("/", 1)[-1] in OUTPUT_TOPICS:
        return "output"
    return "labels" if is_label_topic(name) else "image"


def _look(reader: BagReader, topic: TopicContent, msgtype: str, data: bytes, time: int, labels: _Labels | None) -> None:
    stamp = message_types.stamp_in(data)
    topic.stamps.append(stamp)
    try:
        message: Any = reader.deserialize(data, msgtype)
        if topic.kind == "camera_info":
            size = (int(message.width), int(message.height))
        elif labels is not None:
            shape = labels.check(message)
            size, encoding = (shape[1], shape[0]), _encoding(message)
            topic.encodings[encoding] += 1
        else:
            topic.encodings[_encoding(message)] += 1
            size = _image_size(message)
    except ClipRlError as error:
        topic.faults.append((stamp or time, one_line(error)))
        return
    topic.sizes[size] += 1
    topic.size_of[stamp or time] = size


def _look_at_packet(
    reader: BagReader, topic: TopicContent, msgtype: str, data: bytes, time: int, decoder: PacketDecoder[int]
) -> None:
    stamp = message_types.stamp_in(data)
    topic.stamps.append(stamp)
    try:
        message: Any = reader.deserialize(data, msgtype)
    except ClipRlError as error:
        topic.faults.append((stamp or time, one_line(error)))
        return
    topic.encodings[coding_of(message)] += 1
    _note_pictures(topic, decoder.decode(message, stamp or time))


def _note_pictures(topic: TopicContent, outcomes: list[Outcome[int]]) -> None:
    for outcome in outcomes:
        if outcome.picture is None:
            topic.faults.append((outcome.tag, outcome.reason))
            continue
        if outcome.picture.doubt:
            topic.doubts.append((outcome.tag, outcome.picture.doubt))
        height, width = outcome.picture.size
        topic.sizes[width, height] += 1
        topic.size_of[outcome.tag] = (width, height)


def _encoding(message: Any) -> str:
    return str(message.encoding) if hasattr(message, "encoding") else str(message.format)


def _image_size(message: Any) -> Size:
    """Size of an image whose fields hold together and whose file is whole; raises `ImageError`."""
    if not hasattr(message, "encoding"):
        height, width = check_compressed_message(message)
        return width, height
    encodings.image_view(
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
        data=message.data,
    )
    return int(message.width), int(message.height)


class _Labels:
    """Checks labels against the classes that the bag says they have."""

    def __init__(self, reader: BagReader, topic: TopicContent, broken: list[str]) -> None:
        try:
            space = class_list(reader, topic.name)
        except SourceError as error:
            broken.append(one_line(error))
            space = None
        if space is not None:
            topic.classes = space.names
        self._stored = StoredLabels(space, None)

    def check(self, message: Any) -> tuple[int, ...]:
        """Shape of labels that can be used; raises `SourceError`, `CodingError` or `ImageError`."""
        return self._stored.decode(message, "labels").shape
