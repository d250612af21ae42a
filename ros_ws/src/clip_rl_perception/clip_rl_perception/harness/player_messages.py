"""What a player sends: messages made of frames, or those of a bag byte for byte."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.image_messages import compressed_image, image, jpeg
from clip_rl_perception.pictures.compressed_format import mosaic_in
from clip_rl_perception.pictures.packet_decoder import PacketDecoder
from clip_rl_perception.ros.ros_types import ROS_TYPES, ros_type
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import Frame, FrameSource, SourceError


@dataclasses.dataclass(frozen=True)
class Outgoing:
    """One image on its way to the node."""

    index: int
    """Place among the frames that can be read."""
    source_index: int
    """Place among all images of the topic, folder or video."""
    stamp_ns: int
    """In the source, ns."""
    name: str
    message: Any
    """A message whose stamp is still to be set, or bytes that are sent as they are."""
    size: int
    """Bytes."""
    answer_ns: int | None = None
    """Stamp of what a node answers when it has this message, ns; None: nothing, its picture comes with a later one."""


def made_of(source: FrameSource, *, compressed: bool, encoding: str, frame_id: str) -> Iterator[Outgoing]:
    """Messages of a source's frames.

    Args:
        source: any.
        compressed: JPEG or PNG instead of raw images.
        encoding: of raw images, rgb8 or bgr8.
        frame_id: of their headers.
    """
    for index, frame in enumerate(source):
        header = message_types.header(0, frame_id, ROS_TYPES)
        message = compressed_message(header, frame) if compressed else raw_message(header, frame, encoding)
        place = frame.index if frame.index >= 0 else index
        yield Outgoing(index, place, frame.stamp_ns, frame.name, message, len(message.data), frame.stamp_ns)


def as_recorded(path: Path, topic: str, problems: list[str], *, answers: bool = False) -> Iterator[Outgoing]:
    """The messages of a bag's image topic, undecoded: damaged ones too, as a camera would have sent them.

    A header stamp of zero is replaced by the time in the bag, as offline replay does; nothing else is touched. Where
    the bag ends early a line is added to `problems`. With `answers`, video is decoded to know what a node will answer.
    """
    with BagReader(path) as reader:
        connections = reader.topics[topic].connections
        decoder: PacketDecoder[int] | None = None
        if answers and reader.topics[topic].msgtype == message_types.FFMPEG_PACKET:
            decoder = PacketDecoder()
        index = 0
        try:
            for index, (_, recorded, data) in enumerate(reader.messages(connections)):
                stamp = message_types.stamp_in(data)
                if not stamp:
                    data, stamp = _stamped(data, recorded), recorded
                answer: int | None = stamp
                if decoder is not None:
                    outcomes = decoder.decode(reader.deserialize(data, message_types.FFMPEG_PACKET), stamp)
                    answer = outcomes[-1].tag if outcomes else None  # of several, the node takes up the newest
                yield Outgoing(index, index, stamp, f"{topic}@{stamp}", bytes(data), len(data), answer)
        except SourceError as error:
            problems.append(f"{path}: {topic}: reading ended early, after image {index}: {error}")


def type_of(path: Path, topic: str) -> Any:
    """The rclpy type of an image topic in a bag; raises `SourceError`."""
    with BagReader(path) as reader:
        msgtype = reader.topics[topic].msgtype
    if msgtype not in (message_types.IMAGE, message_types.COMPRESSED_IMAGE, message_types.FFMPEG_PACKET):
        raise SourceError(f"{path}: {topic} has messages of type {msgtype}; expected images")
    try:
        return ros_type(msgtype)
    except ImportError as error:
        package = msgtype.partition("/")[0]
        raise SourceError(f"{path}: {topic} is of {msgtype}; {package} cannot be had here: {error}") from None


def raw_message(header: Any, frame: Frame, encoding: str) -> Any:
    """The frame as sensor_msgs/Image."""
    pixels = frame.rgb if encoding == "rgb8" else np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), np.uint8)
    return image(header, pixels, encoding, ROS_TYPES)


def compressed_message(header: Any, frame: Frame) -> Any:
    """The frame as sensor_msgs/CompressedImage: its own file's bytes, else JPEG."""
    if frame.encoded is None:
        return jpeg(header, frame.rgb, ROS_TYPES)
    kind = "png" if bytes(frame.encoded[:4]) == b"\x89PNG" else "jpeg"
    return compressed_image(header, frame.encoded, kind, ROS_TYPES, pixel_format=mosaic_in(frame.encoding) or "bgr8")


def _stamped(data: bytes, stamp_ns: int) -> bytes:
    """A CDR message that begins with a header, with another stamp."""
    stamped = bytearray(data)
    struct.pack_into("<iI" if data[1] & 1 else ">iI", stamped, 4, *divmod(stamp_ns, 1_000_000_000))
    return bytes(stamped)
