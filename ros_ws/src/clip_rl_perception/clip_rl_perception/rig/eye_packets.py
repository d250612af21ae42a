"""The packets of video of one eye: decoded on a thread of their own, handed on from the executor's."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from clip_rl_perception.messages.transports import FFMPEG
from clip_rl_perception.nodes.image_subscription import PACKET_QOS, message_class
from clip_rl_perception.nodes.packet_thread import PacketFrame, PacketThread

AFTER_LOSS = "wait"
"""No smeared pictures: distances measured in them would be of what nobody saw."""


class EyePackets:
    """A subscription of packets, from its making until `close`.

    Args:
        node: gets the subscription.
        topic: of the packets.
        arrived: gets what became of each packet, in the order of display, from the executor's thread.

    Raises:
        PyAvMissingError: PyAV is not installed.
        TransportMissingError: the messages of the packets are not.
    """

    def __init__(self, node: Node, topic: str, arrived: Callable[[PacketFrame], None]) -> None:
        kind = message_class(FFMPEG)
        self._arrived = arrived
        self._decoded: collections.deque[PacketFrame] = collections.deque()
        # Everything else of the node is done on the executor's thread: it needs no lock.
        self._waiting = node.create_guard_condition(self._hand_on)
        self._packets = PacketThread(AFTER_LOSS, self._take)
        node.create_subscription(
            kind,
            topic,
            self._packets.put,
            copy.copy(PACKET_QOS),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    @property
    def alive(self) -> bool:
        """False when the thread that decodes has ended though nobody stopped it."""
        return self._packets.alive

    def close(self) -> None:
        """Decode no more."""
        self._packets.stop()

    def _take(self, frame: PacketFrame) -> None:
        self._decoded.append(frame)
        self._waiting.trigger()

    def _hand_on(self) -> None:
        while self._decoded:  # one call may stand for several triggers
            self._arrived(self._decoded.popleft())
