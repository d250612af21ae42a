"""Pictures as they come to the stereo node, of whatever transport: one eye's, or both eyes' in one."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.messages.message_types import stamp_in, stamp_of
from clip_rl_perception.messages.transports import FFMPEG, topic_of
from clip_rl_perception.nodes.packet_thread import PacketFrame
from clip_rl_perception.pictures.image_codec import decode_message
from clip_rl_perception.rig.eye_packets import EyePackets
from clip_rl_perception.ros.qos import best_effort
from clip_rl_perception.ros.transport_topics import IMAGES, transport_topic

PICTURES = best_effort(4)
"""Images wait for the tags of their stamp: a few deep, as the perception node takes its time."""


class Picture:
    """One that came: read when it is first asked for, and once, though both eyes look at it.

    Args:
        came: a serialised message, or what became of a packet of video.
        kind: the class of the message, None for a packet.
    """

    def __init__(self, came: bytes | PacketFrame, kind: type | None = None) -> None:
        self._came, self._kind = came, kind

    @property
    def stamp_ns(self) -> int:
        """Of its header, ns."""
        return stamp_of(self._came) if isinstance(self._came, PacketFrame) else stamp_in(self._came)

    @property
    def doubt(self) -> str:
        """Why it may not be what was sent; empty: nothing is known against it."""
        return self._came.doubt if isinstance(self._came, PacketFrame) else ""

    @functools.cached_property
    def rgb(self) -> ByteArray:
        """uint8 RGB (height, width, 3), perhaps a view; raises `ImageError` where there is none: why."""
        if isinstance(self._came, PacketFrame):
            return self._came.to_rgb()
        return decode_message(deserialize_message(self._came, self._kind), as_view=True)


class PictureInput:
    """A subscription of images, from its making until `close`.

    Args:
        node: gets it.
        name: of the images, relative and without a transport's ending, such as left/image.
        transport: a key of `TRANSPORTS`.

    Raises:
        PyAvMissingError, TransportMissingError: video cannot be had here.
    """

    def __init__(self, node: Node, name: str, transport: str) -> None:
        self._listeners: list[Callable[[Picture], None]] = []
        topic = transport_topic(node, topic_of(name, transport))
        self.topic = str(node.resolve_topic_name(topic))
        """After remapping."""
        self._packets: EyePackets | None = None
        if transport == FFMPEG:
            self._packets = EyePackets(node, topic, lambda frame: self._tell(Picture(frame)))
            return
        kind = IMAGES[transport]
        node.create_subscription(
            kind,
            topic,
            lambda data: self._tell(Picture(data, kind)),
            copy.copy(PICTURES),
            raw=True,  # only pictures of frames that are used are deserialised
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def listen(self, arrived: Callable[[Picture], None]) -> None:
        """Hand every picture to `arrived` too, from the executor's thread."""
        self._listeners.append(arrived)

    @property
    def alive(self) -> bool:
        """False when a thread that decodes packets has ended by itself: then no picture comes any more."""
        return self._packets is None or self._packets.alive

    def close(self) -> None:
        """Decode no more; the subscription ends with the node."""
        if self._packets is not None:
            self._packets.close()

    def _tell(self, picture: Picture) -> None:
        for arrived in self._listeners:
            arrived(picture)
