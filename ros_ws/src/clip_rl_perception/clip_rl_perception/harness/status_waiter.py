"""Waits for what the perception node says of a frame, so that a recording can be played without dropping any."""

from __future__ import annotations

import threading

from clip_rl_interfaces.msg import SceneStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from clip_rl_perception.messages import message_types
from clip_rl_perception.ros.qos import reliable
from clip_rl_perception.ros.shutdown import ShutdownSignals


class StatusWaiter:
    """Listens to `status`, which comes once for every frame that the node takes up; spins `node` on a thread."""

    def __init__(self, node: Node) -> None:
        """Subscribe."""
        profile = reliable(50)
        self._node = node
        self._changed = threading.Condition()
        self._stamp: int | None = None
        self._subscription = node.create_subscription(SceneStatus, "status", self._received, profile, raw=True)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, name="answers", daemon=True)
        self._thread.start()

    def connected(self) -> bool:
        """True as soon as somebody publishes `status`."""
        return bool(self._node.count_publishers(self._subscription.topic_name) > 0)

    def expect(self) -> None:
        """Forget earlier answers; call it before publishing."""
        with self._changed:
            self._stamp = None

    def wait(self, stamp_ns: int, stop: ShutdownSignals, seconds: float) -> bool:
        """Wait for the status of the frame with this stamp; False when `seconds` passed or `stop` was set."""
        with self._changed:
            for _ in range(max(1, round(seconds / 0.1))):
                if self._changed.wait_for(lambda: self._stamp == stamp_ns, 0.1):
                    return True
                if stop.is_set():
                    return False
        return False

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)

    def _received(self, data: bytes) -> None:
        with self._changed:
            self._stamp = message_types.stamp_in(data)
            self._changed.notify_all()
