"""Records what the perception node publishes into a rosbag2 (mcap), without taking part in its work.

Messages are taken as the bytes that came over the wire, with the time of their arrival, and written by a thread of
their own: nothing is deserialised, so recording costs the machine little. The time of a message in the bag is when it
was received, on the same clock as header stamps. SIGINT or SIGTERM ends it; everything received is in the bag then.

    ros2 run clip_rl_perception recorder_node out/recording --ros-args -r mask:=/perception/mask
"""

from __future__ import annotations

import argparse
import functools
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from clip_rl_perception.bags.bag_writer import BagWriter, qos
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.harness import events
from clip_rl_perception.harness.listening import turns
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.transports import TRANSPORTS, topic_of
from clip_rl_perception.replay.recording import Published
from clip_rl_perception.ros.qos import best_effort, latched, reliable
from clip_rl_perception.ros.ros_types import ros_type
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.ros.spin import living
from clip_rl_perception.ros.transport_topics import transport_topic
from clip_rl_perception.threads.priority import lower_this_thread

TOPICS = {
    "mask": message_types.IMAGE,
    "instruments": message_types.INSTRUMENTS,
    "status": message_types.STATUS,
    "classes": message_types.CLASS_LIST,
}
"""Recorded by default: topic -> type. Class lists are transient local."""

CONFIDENCE = {"confidence": message_types.IMAGE}
"""Recorded when asked for: whoever subscribes to it makes the node compute it."""

MAX_WAITING_BYTES = 512 << 20
"""Most bytes that may wait for the disk; beyond it messages are lost, counted and reported."""


IMAGES = {topic_of("image", transport): kind for transport, kind in TRANSPORTS.items()}
"""The node's input, one of them."""

INPUTS = {
    **IMAGES,
    "labels": message_types.IMAGE,
    "labels/compressed": message_types.COMPRESSED_IMAGE,
    "labels/classes": message_types.CLASS_LIST,
}
"""What goes into the node, and its truth: recorded apart where there is no bag that holds them."""


class RecorderNode(Node):
    """Subscribes to the perception node's outputs and hands their bytes to a writer thread."""

    def __init__(
        self,
        path: Path,
        *,
        name: str = "recorder",
        confidence: bool = False,
        arrivals: bool = False,
        inputs: Path | None = None,
    ) -> None:
        """Create the bag at `path` and subscribe; raises `BagError`.

        Args:
            path: bag of the node's outputs.
            name: of this node.
            confidence: record the confidence too.
            arrivals: note when each image arrives here.
            inputs: bag of `INPUTS`; None: they are not recorded.
        """
        super().__init__(name)
        self.arrivals: list[Published] = []
        """Images as they arrived here, where that was asked for."""
        asked = INPUTS if inputs is not None else IMAGES if arrivals else {}
        heard = {name: kind for name, kind in asked.items() if _installed(kind)}
        # Of messages that wait, the executor takes those of the subscription made first: an image arrives before its
        # mask then, however late this process gets to run.
        self._kinds = {**heard, **TOPICS, **(CONFIDENCE if confidence else {})}
        self.counts = dict.fromkeys(self._kinds, 0)
        self.lost = 0
        self.failure: str | None = None
        self._bag = BagWriter(path, compress=True)
        self._input_bag = BagWriter(inputs) if inputs is not None else None
        self._waiting: queue.SimpleQueue[tuple[str, int, bytes] | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="writer")
        self._topics = {name: self._subscribe(name) for name in self._kinds}
        self._thread.start()

    def ready(self) -> bool:
        """True as soon as somebody publishes each topic."""
        return all(self.count_publishers(self._topics[name].topic_name) > 0 for name in TOPICS)

    def image_publishers(self) -> int:
        """Who publishes the node's input now."""
        return sum(self.count_publishers(self.resolve_topic_name(transport_topic(self, name))) for name in IMAGES)

    def close(self) -> None:
        """Write everything that has arrived, then close the bag; where the disk fails, `failure` says so."""
        self._waiting.put(None)
        self._thread.join()
        for bag in filter(None, (self._bag, self._input_bag)):
            try:
                bag.close()
            except OSError as error:  # the disk is full: told like what was not written before
                self.failure = self.failure or f"cannot finish bag {bag.path}: {error.strerror}"

    def listen(self, stopped: Callable[[], bool]) -> Iterator[float]:
        """Take what comes until `stopped` or the disk fails; twice a second tell counts and yield the time, s."""
        told = 0.0
        for now in turns(self, stopped):
            if now - told > 0.5:
                told = now
                events.emit("progress", **self.counts)
                yield now
            if self.failure is not None:
                return

    def _subscribe(self, name: str) -> Any:
        kind = self._kinds[name]
        profile = best_effort(50) if name in INPUTS else reliable(50)  # cameras may offer best effort only
        if kind == message_types.CLASS_LIST:
            profile = latched()
        received = functools.partial(self._received, name)
        return self.create_subscription(ros_type(kind), transport_topic(self, name), received, profile, raw=True)

    def _received(self, name: str, data: bytes) -> None:
        now = time.time_ns()
        if name in IMAGES:
            self.arrivals.append(Published(None, message_types.stamp_in(data), now))
            if self._input_bag is None:
                self.counts[name] += 1
                return
        with self._lock:
            if self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
                self.lost += 1
                return
            self._waiting_bytes += len(data)
        self.counts[name] += 1
        self._waiting.put((name, now, data))

    def _write(self) -> None:
        # Compressing takes far more than receiving, and can wait; when a message arrived is noted before.
        lower_this_thread()
        while (item := self._waiting.get()) is not None:
            name, now, data = item
            msgtype = self._kinds[name]
            profile = qos(transient_local=True, depth=1) if msgtype == message_types.CLASS_LIST else qos()
            if self.failure is None:
                bag = self._input_bag if name in INPUTS and self._input_bag is not None else self._bag
                try:
                    bag.write_serialized(self._topics[name].topic_name, msgtype, data, now, profile)
                except ClipRlError as error:
                    self.failure = str(error)
            with self._lock:
                self._waiting_bytes -= len(data)


def main(args: list[str] | None = None) -> None:
    """Entry point of `ros2 run clip_rl_perception recorder_node`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="rosbag2 folder to create")
    parser.add_argument(
        "--confidence", action="store_true", help="record the confidence too; the node then computes it"
    )
    arguments = parser.parse_args(remove_ros_args(args)[1:])
    stop = ShutdownSignals()
    try:
        with living(lambda: RecorderNode(arguments.path, confidence=arguments.confidence), args) as node:
            try:
                for _ in node.listen(stop.is_set):
                    pass
            finally:
                node.close()
                if node.failure is not None:
                    node.get_logger().error(node.failure)
                if node.lost:
                    node.get_logger().error(f"{node.lost} messages were lost: the disk is slower than the topics")
                events.emit("done", lost=node.lost, failure=node.failure, **node.counts)
    except ClipRlError as error:
        print(f"recorder: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if node.failure is None else 2)


if __name__ == "__main__":
    main()


def _installed(kind: str) -> bool:
    """False for messages of a package that is not here: nobody else on this machine sends them either."""
    try:
        ros_type(kind)
    except ImportError:
        return False
    return True
