"""Plays a video, a folder of images or a bag over DDS in real time, as a camera driver would.

Frames are decoded ahead in a thread and stamped at the moment they are published: the header stamp says when the
"camera" delivered the frame, so that latency is receive time minus stamp. With `--keep-stamps` a bag's messages go out
byte for byte instead, with their own stamps and simulated time, as `ros2 bag play --clock` would send them. `--stamps
FILE` receives one JSON line for each frame published: its index in the source, stamp, time of publishing.

    ros2 run clip_rl_perception player_node video.mp4 --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image

from clip_rl_perception.bags.bag_make import START_NS
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.harness import events
from clip_rl_perception.harness.pacing import Pace
from clip_rl_perception.harness.player_messages import Outgoing, as_recorded, made_of, type_of
from clip_rl_perception.harness.sim_clock import SimClock
from clip_rl_perception.harness.status_waiter import StatusWaiter
from clip_rl_perception.messages.transports import COMPRESSED, FFMPEG, RAW, TRANSPORTS, topic_of
from clip_rl_perception.ros.qos import reliable
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.ros.spin import living
from clip_rl_perception.ros.transport_topics import transport_topic
from clip_rl_perception.sources.frames import FrameSource, SourceError
from clip_rl_perception.sources.media_source import open_source
from clip_rl_perception.threads.collection import working
from clip_rl_perception.threads.prefetch import Prefetch

LEAD_S = 0.005
"""A frame's time is on /clock so long before the frame is published, s: else its stamp would be in the future."""

EXIT_NOBODY = 3
"""Exit status when nobody subscribed in time."""

# Reliable and volatile suits every subscriber, best effort ones too; a small depth, as late images help nobody.
CAMERA_QOS = reliable(5)
# Of video every packet is needed.
PACKET_QOS = reliable(60)


class PlayerNode(Node):
    """Publishes on `image`, `image/compressed` or `image/ffmpeg`."""

    def __init__(self, source: FrameSource, outgoing: Iterable[Outgoing], kind: type) -> None:
        """Create the publisher.

        Args:
            source: what is played.
            outgoing: its frames as they are sent; made in the prefetch thread.
            kind: Image, CompressedImage or FFMPEGPacket of rclpy.
        """
        super().__init__("player")
        self.source, self.outgoing = source, outgoing
        transport = {Image: RAW, CompressedImage: COMPRESSED}.get(kind, FFMPEG)
        self.video = transport == FFMPEG
        """Packets are sent, in the order of coding."""
        profile = PACKET_QOS if self.video else CAMERA_QOS
        self.image_publisher = self.create_publisher(kind, transport_topic(self, topic_of("image", transport)), profile)


def play(node: PlayerNode, arguments: argparse.Namespace, stop: ShutdownSignals) -> int:
    """Wait for a subscriber, then publish every frame at its time; returns the exit status."""
    limit = None if arguments.seconds is None else max(1, round(arguments.seconds * node.source.info.rate_hz))
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(
            Prefetch(
                itertools.islice(node.outgoing, limit),
                limit_bytes=arguments.buffer_mb << 20,
                size=lambda item: item.size,
            )
        )
        stamps = stack.enter_context(open(arguments.stamps or "/dev/null", "w", encoding="utf-8"))  # noqa: PTH123
        answers = stack.enter_context(contextlib.closing(StatusWaiter(node))) if arguments.lockstep else None
        clock = None
        if arguments.keep_stamps:
            clock = stack.enter_context(contextlib.closing(SimClock(node, speed=arguments.speed)))
        if not _wait_for_subscribers(node, answers, arguments, stop):
            return 0 if stop.is_set() else EXIT_NOBODY
        frames.wait_filled(arguments.fill_seconds)
        stack.enter_context(working(node))
        stop.wait(arguments.settle_seconds)
        events.emit("started", topic=node.image_publisher.topic_name)
        sent, late, worst_ms, unanswered = _publish(node, frames, stamps, arguments, clock, answers, stop)
        node.image_publisher.wait_for_all_acked(Duration(seconds=1.0))
        stop.wait(arguments.settle_seconds)
    for problem in node.source.problems:
        node.get_logger().warning(problem)
    if late:
        node.get_logger().warning(
            f"{late} of {sent} frames were played late, by up to {worst_ms:.0f} ms: this machine is too busy"
        )
    if unanswered:
        node.get_logger().warning(f"{unanswered} of {sent} frames were not answered in {arguments.answer_seconds:g} s")
    events.emit("done", sent=sent, late=late, unanswered=unanswered, problems=node.source.problems)
    return 0


def _publish(
    node: PlayerNode,
    frames: Iterator[Outgoing],
    stamps: TextIO,
    arguments: argparse.Namespace,
    clock: SimClock | None,
    answers: StatusWaiter | None,
    stop: ShutdownSignals,
) -> tuple[int, int, float, int]:
    """Returns frames sent, how many of them late, by how much at worst (ms), and how many were not answered."""
    pace = Pace(node.source.info.rate_hz, speed=arguments.speed, fixed=arguments.rate is not None, video=node.video)
    sent, late, worst_ms, unanswered = 0, 0, 0.0, 0
    start = time.monotonic() + LEAD_S
    for frame in frames:
        stamp = frame.stamp_ns + (START_NS if arguments.keep_stamps and not isinstance(frame.message, bytes) else 0)
        if clock is not None:
            clock.until(stamp)
        due = start + pace.due(frame.stamp_ns)
        if clock is not None:
            stop.wait(max(0.0, due - LEAD_S - time.monotonic()))
            clock.show(stamp)
        if stop.wait(max(LEAD_S if clock is not None else 0.0, due - time.monotonic())):
            break
        behind = time.monotonic() - due
        if behind > pace.period_s:
            # Decoded late, or held up. The rest is played later, rather than in a burst that no camera would send.
            start += behind
            if answers is None:  # who waits for answers is never late
                late += 1
                worst_ms = max(worst_ms, behind * 1e3)
        if clock is None:
            stamp = node.get_clock().now().nanoseconds
        if not isinstance(frame.message, bytes):
            frame.message.header.stamp.sec, frame.message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        if answers is not None:
            answers.expect()
        published = time.time_ns()
        node.image_publisher.publish(frame.message)
        sent += 1
        row = {
            "index": frame.index,
            "source_index": frame.source_index,
            "stamp_ns": stamp,
            "published_ns": published,
            "source_stamp_ns": frame.stamp_ns,
            "name": frame.name,
        }
        stamps.write(json.dumps(row) + "\n")
        stamps.flush()
        # Stamps are the source's where packets are played, else this frame's own.
        answer = frame.answer_ns if isinstance(frame.message, bytes) else stamp
        if answers is not None and answer is not None and not answers.wait(answer, stop, arguments.answer_seconds):
            unanswered += 1
        if sent % 10 == 0:
            events.emit("progress", sent=sent)
    return sent, late, worst_ms, unanswered


def _wait_for_subscribers(
    node: PlayerNode, answers: StatusWaiter | None, arguments: argparse.Namespace, stop: ShutdownSignals
) -> bool:
    events.emit("waiting", topic=node.image_publisher.topic_name)
    deadline = time.monotonic() + arguments.wait_seconds
    while (
        node.image_publisher.get_subscription_count() < arguments.subscribers
        or (answers is not None and not (answers.connected() and _node_listens(node)))
        or (arguments.listeners and not _node_listens(node))
        or node.count_subscribers(node.resolve_topic_name("mask")) < arguments.listeners
    ):
        if stop.wait(0.05):
            return False
        if time.monotonic() > deadline:
            node.get_logger().error(
                f"{node.image_publisher.get_subscription_count()} of {arguments.subscribers} subscribers on "
                f"{node.image_publisher.topic_name} after {arguments.wait_seconds:g} s; is the perception node active?"
            )
            return False
    return True


def _node_listens(node: PlayerNode) -> bool:
    """True as soon as the node that publishes `status` subscribes to the image: viewers do not count."""
    status = node.get_publishers_info_by_topic(node.resolve_topic_name("status"))
    answering = {(info.node_namespace, info.node_name) for info in status}
    listening = node.get_subscriptions_info_by_topic(node.image_publisher.topic_name)
    return any((info.node_namespace, info.node_name) in answering for info in listening)


def parser() -> argparse.ArgumentParser:
    """The command line, without ROS arguments."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("source", type=Path, help="video file, folder of images, or rosbag2")
    result.add_argument("--topic", help="image topic of a bag (the one with most images)")
    result.add_argument("--transport", choices=tuple(TRANSPORTS), default=RAW)
    result.add_argument("--encoding", choices=("bgr8", "rgb8"), default="bgr8", help="of raw images")
    result.add_argument("--frame-id", default="endoscope_optical")
    result.add_argument("--rate", type=float, help="frames per second instead of the source's own")
    result.add_argument("--speed", type=float, default=1.0, help="times the source's own rate")
    result.add_argument("--seconds", type=float, help="play only so much of the source")
    result.add_argument(
        "--keep-stamps",
        action="store_true",
        help="publish a bag's messages byte for byte with their own stamps, and simulated time on /clock",
    )
    result.add_argument("--lockstep", action="store_true", help="publish a frame when the node has answered the last")
    result.add_argument("--answer-seconds", type=float, default=10.0, help="how long to wait for an answer")
    result.add_argument("--stamps", type=Path, help="file for one JSON line per published frame")
    result.add_argument("--buffer-mb", type=int, default=512, help="memory for frames that are decoded ahead")
    result.add_argument("--fill-seconds", type=float, default=10.0, help="most time to decode ahead before the start")
    result.add_argument(
        "--settle-seconds", type=float, default=0.5, help="pause before the first and after the last frame"
    )
    result.add_argument("--subscribers", type=int, default=1, help="subscribers to wait for")
    result.add_argument(
        "--listeners", type=int, default=0, help="subscribers of `mask`, and the perception node, to wait for"
    )
    result.add_argument("--wait-seconds", type=float, default=60.0, help="how long to wait for them")
    return result


def _outgoing(source: FrameSource, arguments: argparse.Namespace) -> tuple[Iterable[Outgoing], type]:
    """What to send, and as which type."""
    if arguments.keep_stamps and source.info.kind == "bag":
        topic = source.info.topic
        sent = as_recorded(arguments.source, topic, source.problems, answers=arguments.lockstep)
        return sent, type_of(arguments.source, topic)
    if arguments.transport == FFMPEG:
        raise SourceError("video packets are only played of a bag, with --keep-stamps; others are raw or compressed")
    compressed = arguments.transport == COMPRESSED
    made = made_of(source, compressed=compressed, encoding=arguments.encoding, frame_id=arguments.frame_id)
    return made, CompressedImage if compressed else Image


def main(args: list[str] | None = None) -> None:
    """Entry point of `ros2 run clip_rl_perception player_node`."""
    arguments = parser().parse_args(remove_ros_args(args)[1:])
    stop = ShutdownSignals()
    try:
        source = open_source(arguments.source, rate_hz=arguments.rate, topic=arguments.topic)
        outgoing, kind = _outgoing(source, arguments)
    except ClipRlError as error:
        print(f"player: {error}", file=sys.stderr)
        sys.exit(2)
    with living(lambda: PlayerNode(source, outgoing, kind), args) as node:
        try:
            status = play(node, arguments, stop)
        except ClipRlError as error:
            node.get_logger().error(str(error))
            status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
