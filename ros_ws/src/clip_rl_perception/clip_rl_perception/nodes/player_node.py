"""Plays a video, a folder of images or a bag over DDS in real time, as a camera driver would.

Frames are decoded ahead in a thread and stamped at the moment they are published: the header stamp says when the
"camera" delivered the frame, so that latency is receive time minus stamp. `--stamps FILE` receives one JSON line for
each frame published: its index in the source, its new stamp and its stamp in the source.

    ros2 run clip_rl_perception player_node video.mp4 --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import argparse
import array
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.evaluation.frames import Frame, FrameSource
from clip_rl_perception.evaluation.pacing import Pace
from clip_rl_perception.evaluation.prefetch import Prefetch
from clip_rl_perception.evaluation.sources import open_source
from clip_rl_perception.nodes import events

EXIT_NOBODY = 3
"""Exit status when nobody subscribed in time."""

# Reliable and volatile suits every subscriber, best effort ones too; a small depth, as late images help nobody.
CAMERA_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)


class PlayerNode(Node):
    """Publishes the frames of a source on `image`, or as JPEG or PNG on `image/compressed`."""

    def __init__(self, source: FrameSource, *, transport: str, encoding: str, frame_id: str) -> None:
        """Create the publisher; `transport` is ``raw`` or ``compressed``, `encoding` of raw images rgb8 or bgr8."""
        super().__init__("player")
        self.source = source
        self._compressed, self._encoding, self._frame_id = transport == "compressed", encoding, frame_id
        kind, topic = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        self.image_publisher = self.create_publisher(kind, topic, CAMERA_QOS)

    def messages(self, limit: int | None) -> Iterator[tuple[int, Frame, Any]]:
        """(index, frame, message without stamp) of the first `limit` frames; made in the prefetch thread."""
        for index, frame in enumerate(self.source):
            if index == limit:
                return
            yield index, frame, self._compressed_message(frame) if self._compressed else self._raw_message(frame)

    def _raw_message(self, frame: Frame) -> Image:
        pixels = frame.rgb if self._encoding == "rgb8" else cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
        height, width, channels = pixels.shape
        message = Image(height=height, width=width, encoding=self._encoding, step=width * channels)
        message.header.frame_id = self._frame_id
        # rclpy takes array('B') as it is; every other type is copied byte by byte through Python.
        data = array.array("B")
        data.frombytes(memoryview(pixels.reshape(-1)))
        message.data = data
        return message

    def _compressed_message(self, frame: Frame) -> CompressedImage:
        content = frame.encoded
        if content is None:
            content = cv2.imencode(".jpg", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[
                1
            ]
        kind = "png" if bytes(content[:4]) == b"\x89PNG" else "jpeg"
        message = CompressedImage(format=f"bgr8; {kind} compressed bgr8")
        message.header.frame_id = self._frame_id
        data = array.array("B")
        data.frombytes(memoryview(content).cast("B"))
        message.data = data
        return message


def play(node: PlayerNode, arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Wait for a subscriber, then publish every frame at its time; returns the exit status."""
    limit = None if arguments.seconds is None else max(1, round(arguments.seconds * node.source.info.rate_hz))
    pace = Pace(node.source.info.rate_hz, speed=arguments.speed, fixed=arguments.rate is not None)
    sent, late, worst_ms = 0, 0, 0.0
    with (
        Prefetch(
            node.messages(limit), limit_bytes=arguments.buffer_mb << 20, size=lambda item: len(item[2].data)
        ) as frames,
        open(arguments.stamps or "/dev/null", "w", encoding="utf-8") as stamps,  # noqa: PTH123
    ):
        if not _wait_for_subscribers(node, arguments, stop):
            return 0 if stop.is_set() else EXIT_NOBODY
        frames.wait_filled(arguments.fill_seconds)
        stop.wait(arguments.settle_seconds)
        events.emit("started", topic=node.image_publisher.topic_name)
        start = time.monotonic()
        for index, frame, message in frames:
            due = start + pace.due(frame.stamp_ns)
            if stop.wait(max(0.0, due - time.monotonic())):
                break
            behind = time.monotonic() - due
            if behind > pace.period_s:
                # Decoded late, or held up. The rest is played later, rather than in a burst that no camera would send.
                start += behind
                late += 1
                worst_ms = max(worst_ms, behind * 1e3)
            now = node.get_clock().now()
            message.header.stamp = now.to_msg()
            node.image_publisher.publish(message)
            sent += 1
            stamps.write(
                json.dumps(
                    {
                        "index": index,
                        "stamp_ns": now.nanoseconds,
                        "source_stamp_ns": frame.stamp_ns,
                        "name": frame.name,
                    }
                )
                + "\n"
            )
            stamps.flush()
            if sent % 10 == 0:
                events.emit("progress", sent=sent)
        node.image_publisher.wait_for_all_acked(Duration(seconds=1.0))
        stop.wait(arguments.settle_seconds)
    for problem in node.source.problems:
        node.get_logger().warning(problem)
    if late:
        node.get_logger().warning(
            f"{late} of {sent} frames were played late, by up to {worst_ms:.0f} ms: this machine is too busy"
        )
    events.emit("done", sent=sent, late=late, problems=node.source.problems)
    return 0


def _wait_for_subscribers(node: PlayerNode, arguments: argparse.Namespace, stop: threading.Event) -> bool:
    events.emit("waiting", topic=node.image_publisher.topic_name)
    deadline = time.monotonic() + arguments.wait_seconds
    while node.image_publisher.get_subscription_count() < arguments.subscribers:
        if stop.wait(0.05):
            return False
        if time.monotonic() > deadline:
            node.get_logger().error(
                f"{node.image_publisher.get_subscription_count()} of {arguments.subscribers} subscribers on "
                f"{node.image_publisher.topic_name} after {arguments.wait_seconds:g} s; is the perception node active?"
            )
            return False
    return True


def parser() -> argparse.ArgumentParser:
    """The command line, without ROS arguments."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("source", type=Path, help="video file, folder of images, or rosbag2")
    result.add_argument("--topic", help="image topic of a bag (the one with most images)")
    result.add_argument("--transport", choices=("raw", "compressed"), default="raw")
    result.add_argument("--encoding", choices=("bgr8", "rgb8"), default="bgr8", help="of raw images")
    result.add_argument("--frame-id", default="endoscope_optical")
    result.add_argument("--rate", type=float, help="frames per second instead of the source's own")
    result.add_argument("--speed", type=float, default=1.0, help="times the source's own rate")
    result.add_argument("--seconds", type=float, help="play only so much of the source")
    result.add_argument("--stamps", type=Path, help="file for one JSON line per published frame")
    result.add_argument("--buffer-mb", type=int, default=512, help="memory for frames that are decoded ahead")
    result.add_argument("--fill-seconds", type=float, default=10.0, help="most time to decode ahead before the start")
    result.add_argument(
        "--settle-seconds", type=float, default=0.5, help="pause before the first and after the last frame"
    )
    result.add_argument("--subscribers", type=int, default=1, help="subscribers to wait for")
    result.add_argument("--wait-seconds", type=float, default=60.0, help="how long to wait for them")
    return result


def main(args: list[str] | None = None) -> None:
    """Entry point of `ros2 run clip_rl_perception player_node`."""
    given = sys.argv if args is None else args
    arguments = parser().parse_args(remove_ros_args(given)[1:])
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        source = open_source(arguments.source, rate_hz=arguments.rate, topic=arguments.topic)
    except ClipRlError as error:
        print(f"player: {error}", file=sys.stderr)
        sys.exit(2)
    rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
    node = PlayerNode(source, transport=arguments.transport, encoding=arguments.encoding, frame_id=arguments.frame_id)
    try:
        status = play(node, arguments, stop)
    except ClipRlError as error:
        node.get_logger().error(str(error))
        status = 2
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(status)


if __name__ == "__main__":
    main()
