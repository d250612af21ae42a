"""Cameras for measuring: publish the same frames again and again at a fixed rate, all cameras with the same stamp.

Messages are made before the first one is sent, so that the camera costs the machine no more than its driver would.
Frames are an array in a .npy file, uint8 BGR (N, height, width, 3), played back and forth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.harness import events
from clip_rl_perception.harness.player_node import CAMERA_QOS
from clip_rl_perception.messages.image_messages import image, jpeg
from clip_rl_perception.messages.message_types import header
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.ros.spin import living
from clip_rl_perception.threads.collection import working


class BenchCameras(Node):
    """One publisher for each namespace."""

    def __init__(self, frames: ByteArray, namespaces: list[str], transport: str) -> None:
        """Make the publishers and every message."""
        super().__init__("bench_cameras")
        kind, topic = (CompressedImage, "image/compressed") if transport == "compressed" else (Image, "image")
        self.image_publishers = [self.create_publisher(kind, f"{name}/{topic}", CAMERA_QOS) for name in namespaces]
        self._messages = [self._message(frame, transport) for frame in frames]

    def _message(self, bgr: ByteArray, transport: str) -> Any:
        head = header(0, "bench", ROS_TYPES)
        if transport == "compressed":
            return jpeg(head, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), ROS_TYPES)
        return image(head, bgr, "bgr8", ROS_TYPES)

    def film(self) -> Iterator[Any]:
        """Messages without end, without a jump between two."""
        return itertools.cycle(self._messages + self._messages[-2:0:-1])

    def subscribed(self) -> bool:
        """True when every camera has a subscriber."""
        return all(publisher.get_subscription_count() > 0 for publisher in self.image_publishers)


def play(node: BenchCameras, arguments: argparse.Namespace, stop: ShutdownSignals) -> int:
    """Publish at the rate for the time asked for; writes the stamps; returns the exit status."""
    deadline = time.monotonic() + arguments.wait_seconds
    while not node.subscribed():
        if stop.wait(0.05) or time.monotonic() > deadline:
            print("bench_camera: nobody subscribed in time", file=sys.stderr)
            return 3
    stop.wait(arguments.settle_seconds)
    events.emit("started")
    stamps, late = [], 0
    period = 1.0 / arguments.rate
    start = time.monotonic()
    for index, message in zip(range(max(1, round(arguments.seconds * arguments.rate))), node.film(), strict=False):
        due = start + index * period
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        late += time.monotonic() - due > period
        now = node.get_clock().now()
        message.header.stamp = now.to_msg()
        for publisher in node.image_publishers:
            publisher.publish(message)
        stamps.append(now.nanoseconds)
    stop.wait(arguments.settle_seconds)
    arguments.stamps.write_text(json.dumps({"stamps_ns": stamps, "late": late}), encoding="utf-8")
    events.emit("done", sent=len(stamps), late=late)
    return 0


def main(args: list[str] | None = None) -> None:
    """Entry point: FRAMES.npy --namespaces /a /b --rate 30 --seconds 5 --stamps FILE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--namespaces", nargs="+", required=True)
    parser.add_argument("--transport", choices=("raw", "compressed"), default="raw")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--stamps", type=Path, required=True)
    parser.add_argument("--settle-seconds", type=float, default=0.5)
    parser.add_argument("--wait-seconds", type=float, default=60.0)
    arguments = parser.parse_args(remove_ros_args(args)[1:])
    stop = ShutdownSignals()
    frames = np.load(arguments.frames)
    with living(lambda: BenchCameras(frames, arguments.namespaces, arguments.transport), args) as node, working(node):
        status = play(node, arguments, stop)
    sys.exit(status)


if __name__ == "__main__":
    main()
