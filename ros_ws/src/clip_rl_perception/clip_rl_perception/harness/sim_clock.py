"""Simulated time while a recording is played: /clock says where in the recording we are."""

from __future__ import annotations

import threading
import time

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from clip_rl_perception.ros.qos import reliable

PERIOD_S = 0.01
"""How often /clock is published, s of wall time. Ages on simulated time are as coarse as this times the speed."""

# What time sources subscribe with (best effort, depth 1) takes it, and so does a recorder that wants every tick.
CLOCK_QOS = reliable(1)


class SimClock:
    """Runs at `speed` times wall time from the stamp of one frame to that of the next, where it waits.

    So it never passes a frame that is late, and a frame's stamp is never in the future of a node that has heard it.
    """

    def __init__(self, node: Node, *, speed: float) -> None:
        """Publish on /clock of `node`'s context; stands still until `show`."""
        self._publisher = node.create_publisher(Clock, "/clock", CLOCK_QOS)
        self._speed = speed
        self._lock = threading.Lock()
        self._base_ns: int | None = None
        self._base_s = 0.0
        self._limit_ns = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def until(self, stamp_ns: int) -> None:
        """The next frame has this stamp, ns: time may run on to it."""
        with self._lock:
            self._limit_ns = max(self._limit_ns, stamp_ns)

    def show(self, stamp_ns: int) -> None:
        """A frame of this stamp is about to be published: publish that time. Older stamps do not turn it back."""
        with self._lock:
            self._base_ns = max(stamp_ns, self._now_ns() or stamp_ns)
            self._base_s = time.monotonic()
            self._limit_ns = max(self._limit_ns, self._base_ns)
            self._publish(self._base_ns)

    def close(self) -> None:
        """Stop publishing."""
        self._stop.set()
        self._thread.join()

    def _now_ns(self) -> int | None:
        if self._base_ns is None:
            return None
        return min(self._base_ns + round((time.monotonic() - self._base_s) * self._speed * 1e9), self._limit_ns)

    def _publish(self, now_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, 1_000_000_000)
        self._publisher.publish(message)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            with self._lock:
                now = self._now_ns()
                if now is not None:
                    self._publish(now)
