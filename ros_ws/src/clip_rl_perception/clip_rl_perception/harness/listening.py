"""How the processes that listen to the perception node spend their time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from rclpy.executors import SingleThreadedExecutor

from clip_rl_perception.harness import events
from clip_rl_perception.ros.shutdown import Stop


class Listener(Protocol):
    """For annotations: an rclpy node that knows whether somebody publishes what it listens to."""

    def ready(self) -> bool:
        """True as soon as somebody publishes each topic."""
        ...


def turns(node: Listener, stop: Stop) -> Iterator[float]:
    """Serve `node` until `stop` is set; yields the time, s, after every message, and ten times a second without any.

    The event `ready` is told as soon as the node is.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    announced = False
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
            if not announced and node.ready():
                announced = True
                events.emit("ready")
            yield time.monotonic()
    finally:
        executor.remove_node(node)
