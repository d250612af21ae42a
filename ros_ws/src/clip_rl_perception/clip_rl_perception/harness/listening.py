"""How the processes that listen to the perception node spend their time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.executors import SingleThreadedExecutor

from clip_rl_perception.harness import events
from clip_rl_perception.threads.collection import working


def turns(node: Any, stopped: Callable[[], bool]) -> Iterator[float]:
    """Serve `node` until `stopped`; yields the time, s, after every message, and ten times a second without any.

    The event `ready` is told as soon as `node.ready()` says that somebody publishes what it listens to.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    announced = False
    try:
        with working(node):
            while not stopped():
                executor.spin_once(timeout_sec=0.1)
                if not announced and node.ready():
                    announced = True
                    events.emit("ready")
                yield time.monotonic()
    finally:
        executor.remove_node(node)
