"""A light stand-in for perception_node: mask, tags and status at 30 Hz, among them what a control node must not act on.

What belongs to a stamp is a function of the stamp alone, so that a witness knows of a command which frame it rests on.
SIGUSR1 takes the publishers away, as a cut cable would; SIGUSR2 brings them back. Stamps are of the node's clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from typing import Any

import rclpy
from clip_rl_interfaces.msg import InstrumentTag, InstrumentTagArray, SceneStatus
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.time import Time
from sensor_msgs.msg import Image

PERIOD_S = 1 / 30
FRAME_ID = "endoscope_optical"
TRAPS = {7: "not ok", 8: "no tags", 9: "other tags", 10: "no status", 11: "old", 12: "future", 13: "other camera"}
"""What is wrong with a frame, by its number modulo 14; the others are good."""
ODD_S = 10.0
"""How old, or how far ahead, stamps of two traps are."""


@dataclasses.dataclass(frozen=True)
class Content:
    """What is seen at a stamp."""

    number: int
    trap: str
    tip: tuple[float, float]
    size: tuple[int, int]
    """(width, height), another one than that of the frames beside it."""

    @classmethod
    def of(cls, stamp_ns: int) -> Content:
        number = stamp_ns // 1_000_000
        tip = (float(1 + number % 29), float(1 + number % 23))
        return cls(number, TRAPS.get(number % 14, ""), tip, (32 + 8 * (number % 11), 24 + 8 * (number % 13)))


def messages(stamp_ns: int) -> list[tuple[str, Any]]:
    """Topics and messages of a frame, in an order that changes."""
    content = Content.of(stamp_ns)
    shift = {"old": -ODD_S, "future": ODD_S}.get(content.trap, 0.0)
    mask, tags, status = Image(), InstrumentTagArray(), SceneStatus(validity=SceneStatus.OK)
    for message in (mask, tags, status):
        message.header.stamp = Time(nanoseconds=stamp_ns + round(shift * 1e9)).to_msg()
        message.header.frame_id = FRAME_ID
    mask.width, mask.height = mask.step, _ = content.size
    mask.encoding, mask.data = "mono8", bytes(mask.width * mask.height)
    tag = InstrumentTag(confirmed=True, track_id=1)
    tag.tip.x, tag.tip.y = content.tip
    tags.instruments.append(tag)
    if content.trap == "not ok":
        status.validity = 1 + content.number % 5
    elif content.trap == "other tags":
        tags.header.stamp = Time(nanoseconds=stamp_ns + 1).to_msg()
    elif content.trap == "other camera":
        tags.header.frame_id = "other"
    parts = [("mask", mask), ("instruments", tags), ("status", status)]
    parts = [part for part in parts if content.trap != f"no {'tags' if part[0] == 'instruments' else part[0]}"]
    turn = content.number % 3
    return parts[turn:] + parts[:turn]


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("stand_in")
    kinds = {"mask": Image, "instruments": InstrumentTagArray, "status": SceneStatus}
    publishers: dict[str, Any] = {}
    wanted = [True]
    signal.signal(signal.SIGUSR1, lambda *_: wanted.__setitem__(0, False))
    signal.signal(signal.SIGUSR2, lambda *_: wanted.__setitem__(0, True))

    def publish() -> None:
        if wanted[0] and not publishers:
            publishers.update({topic: node.create_publisher(kind, topic, 5) for topic, kind in kinds.items()})
        while publishers and not wanted[0]:
            node.destroy_publisher(publishers.popitem()[1])
        if publishers:
            for topic, message in messages(node.get_clock().now().nanoseconds):
                publishers[topic].publish(message)

    node.create_timer(PERIOD_S, publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
