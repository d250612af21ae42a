"""The camera of `clip-rl soak`: films by `soak_frames`, whatever subscribes, and notes every frame before it is sent.

Raw and compressed are offered; what nobody subscribes to is not sent. The log has a JSON line for each frame: its
header's ``frame`` (unique in the whole soak) and ``stamp``, and which picture it shows or what is wrong with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from clip_rl_perception.harness import events
from clip_rl_perception.harness.player_node import CAMERA_QOS
from clip_rl_perception.harness.soak_frames import Pictures, film
from clip_rl_perception.messages.message_types import header
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.ros.spin import living

LATE_S = 1.0
"""A camera that is so far behind its times goes on from now, s."""


class SoakCamera(Node):
    """Two publishers, one for each transport."""

    def __init__(self, folder: Path) -> None:
        """Make the publishers and the messages of the pictures in `folder`."""
        super().__init__("camera")
        self.pictures = Pictures(folder)
        self.offered = {
            False: self.create_publisher(Image, "image", CAMERA_QOS),
            True: self.create_publisher(CompressedImage, "image/compressed", CAMERA_QOS),
        }
        """By whether it is compressed."""


def play(node: SoakCamera, arguments: argparse.Namespace, stop: ShutdownSignals) -> None:
    """Film at the rate until a signal comes."""
    period, due, last_ns = 1.0 / arguments.rate, time.monotonic(), 0
    # A line at a time: what was sent is in the log, even when this process is killed next.
    with arguments.log.open("w", encoding="utf-8", buffering=1) as log:
        for number, shot in enumerate(film(arguments.seed, arguments.life, len(node.pictures))):
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due, time.monotonic() - LATE_S) + period
            stamp_ns = {"zero": 0, "repeated": last_ns}.get(shot.stamp, time.time_ns() + shot.shift_ns)
            last_ns = stamp_ns or last_ns
            for compressed, publisher in node.offered.items():
                if publisher.get_subscription_count() == 0:
                    continue
                message, bad = node.pictures.message(shot, compressed=compressed)
                message.header = header(stamp_ns, f"{arguments.life}/{number}/{int(compressed)}", ROS_TYPES)
                line = {"frame": message.header.frame_id, "stamp": stamp_ns, "size": shot.size}
                line |= {"bad": bad} if bad else {"picture": shot.picture, "shifted": shot.shift_ns != 0}
                log.write(json.dumps(line) + "\n")
                publisher.publish(message)


def main(args: list[str] | None = None) -> None:
    """Entry point: PICTURES --life 0 --seed 1 --rate 30 --log FILE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--life", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args(remove_ros_args(args)[1:])
    stop = ShutdownSignals()
    with living(lambda: SoakCamera(arguments.pictures), args) as node:
        events.emit("started")
        play(node, arguments, stop)
    sys.exit(0)


if __name__ == "__main__":
    main()
