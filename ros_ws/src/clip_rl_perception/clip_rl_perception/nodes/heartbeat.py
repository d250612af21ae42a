"""What `status` promises to DDS: a deadline between two of them, and a lease within which it shows that it is alive.

A deadline missed means that no status came: no image, or a frame that takes too long. A lease lost means that nothing
of the node runs any more, or that it cannot be reached. Both are told to subscribers that ask for them, by DDS alone.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSProfile

BEATS_A_LEASE = 3
"""A busy machine may miss two of them."""
PROMISES = {"DEADLINE": "status_deadline_s", "LIVELINESS": "status_lease_s"}
"""Parameters by the policies of `status` that they set, as rclpy names these."""


def promising(profile: QoSProfile, *, deadline_s: float, lease_s: float) -> QoSProfile:
    """A copy of `profile` that offers both; 0 leaves one out. Plain subscribers, which ask for neither, take it."""
    made = copy.copy(profile)
    if deadline_s:
        made.deadline = Duration(seconds=deadline_s)
    if lease_s:
        # By topic: an automatic one is kept up by the middleware's threads, also while Python hangs.
        made.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
        made.liveliness_lease_duration = Duration(seconds=lease_s)
    return made


class SteadyTimer:
    """A timer of steady time that is made once and then started, with any period, and stopped."""

    def __init__(self, node: Node, called: Any) -> None:
        """Stopped at first; `called` has a callback group of its own."""
        self._node = node
        self._timer = node.create_timer(
            1.0,
            called,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),  # simulated time may stand still
        )
        self._timer.cancel()

    def start(self, period_s: float) -> None:
        """Call from now on, the first time after one period."""
        self._timer.timer_period_ns = round(period_s * 1e9)
        self._timer.reset()
        executor = self._node.executor
        if executor is not None:  # one that waits already has not heard of it
            executor.wake()

    def stop(self) -> None:
        """Call no more; a call that has begun may still run."""
        self._timer.cancel()


class Heartbeat:
    """Shows that a publisher is alive for as long as the node's executor serves it, whatever is published."""

    def __init__(self, node: Node) -> None:
        """Silent until `begin`."""
        self._publisher: Any = None
        self._lock = threading.Lock()
        self._timer = SteadyTimer(node, self._beat)

    def begin(self, publisher: Any, lease_s: float) -> None:
        """From now on; nothing where no lease is offered (0)."""
        if lease_s:
            with self._lock:
                self._publisher = publisher
            self._beat()
            self._timer.start(lease_s / BEATS_A_LEASE)

    def end(self) -> None:
        """Before the publisher is destroyed."""
        self._timer.stop()
        with self._lock:
            self._publisher = None

    def _beat(self) -> None:
        with self._lock:
            if self._publisher is not None:
                self._publisher.assert_liveliness()
