"""The node's end of a bond with a lifecycle manager, nav2's or another: topic `bond`, its id the node's name.

Needs the messages of the package `bond` alone. Its Python client `bondpy` is not used: it starts a thread for every
heartbeat that it hears; told to outlive its manager, as nav2's servers are, it raises (it declares the parameter for
that anew each time); and it destroys its subscription behind the node's back, while executors wait for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node

from clip_rl_perception.nodes.bond_states import DYING_PERIOD_S, BondMachine, BondState
from clip_rl_perception.nodes.heartbeat import SteadyTimer
from clip_rl_perception.ros.late_events import ending_well
from clip_rl_perception.ros.qos import reliable

BOND_QOS = reliable(10)
"""That of bondcpp and bondpy in all but depth."""
TIMEOUT_S = 4.0
"""What nav2's servers tell of their heartbeat timeout, for people; this end has none, see bond_states.py, s."""
LAST_WORD = Duration(seconds=0.2)
"""How long a process that ends waits until its last word has left it."""


class BondClient:
    """Made once; a topic from `open` to `close`, a bond from `begin` to `end`."""

    def __init__(self, node: Node) -> None:
        """Nothing is made yet but a timer."""
        self._node = node
        self._lock = threading.Lock()
        self._timer = SteadyTimer(node, self._beat)
        self._publisher: Any = None
        self._subscription: Any = None
        self._machine: BondMachine | None = None
        self._instance, self._period_s = "", 0.0
        self._former: frozenset[str] = frozenset()

    def open(self, period_s: float) -> None:
        """Offer the topic, so that it is known before it is needed; not with a period of 0, nor without the package."""
        if not period_s:
            return
        try:
            from bond.msg import Status
        except ImportError as error:
            self._node.get_logger().info(f"no bond with a lifecycle manager: bond cannot be had ({error})")
            return
        self._period_s = period_s
        group = MutuallyExclusiveCallbackGroup()
        publisher = self._node.create_publisher(Status, "bond", BOND_QOS, callback_group=group)
        subscription = self._node.create_subscription(Status, "bond", self._on_status, BOND_QOS, callback_group=group)
        self._publisher, self._subscription = ending_well(publisher), ending_well(subscription)

    def close(self) -> None:
        """Take the topic off the node; a bond that is there ends without waiting for the other end."""
        if self._publisher is None:
            return
        self.end()
        with contextlib.suppress(Exception):  # the context may be gone before its nodes
            self._publisher.wait_for_all_acked(LAST_WORD)
        self._timer.stop()
        with self._lock:
            publisher, self._publisher, self._machine = self._publisher, None, None
        self._node.destroy_publisher(publisher)
        self._node.destroy_subscription(self._subscription)

    def begin(self) -> None:
        """The node is active: a new bond, which any lifecycle manager may take."""
        with self._lock:
            if self._publisher is None:
                return
            self._instance = str(uuid.uuid4())
            self._machine = BondMachine(time.monotonic(), self._former)
        self._beat()
        self._timer.start(self._period_s)

    def end(self) -> None:
        """The node is active no more: tell the other end."""
        with self._lock:
            machine = self._machine
            if machine is None:
                return
            self._former |= {machine.other}
            if machine.die(time.monotonic()):
                self._say(False)
            dying = machine.state is BondState.DYING
        if dying:
            self._timer.start(DYING_PERIOD_S)
        else:
            self._timer.stop()

    @property
    def told(self) -> str:
        """What diagnostics say of it; empty where there is none."""
        with self._lock:
            machine = self._machine
            if machine is None:
                return ""
            if machine.broken_by_other:
                return "ended by the lifecycle manager"
            silent = time.monotonic() - machine.heard_at
            if machine.state is BondState.ALIVE and silent > TIMEOUT_S:
                return f"the lifecycle manager has been silent for {silent:.1f} s"
            if machine.state is BondState.DEAD and not machine.other:
                return "no lifecycle manager took it"
            return machine.state.value

    def _beat(self) -> None:
        with self._lock:
            machine = self._machine
            word = machine.word(time.monotonic()) if machine is not None else None
            if word is None:
                self._timer.stop()
            else:
                self._say(word)

    def _on_status(self, message: Any) -> None:
        if message.id != self._node.get_name():
            return
        with self._lock:
            machine = self._machine
            if machine is None or message.instance_id == self._instance:
                return
            before = machine.state
            if machine.hear(message.instance_id, message.active, time.monotonic()):
                self._say(False)
            after = machine.state
        if after is not before and after is BondState.ALIVE:
            self._node.get_logger().info("bond with a lifecycle manager formed")
        elif after is not before and machine.broken_by_other:
            self._node.get_logger().warning("the lifecycle manager ended the bond; the node goes on")

    def _say(self, active: bool) -> None:
        from bond.msg import Status

        if self._publisher is None:
            return
        message = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.heartbeat_timeout, message.heartbeat_period = TIMEOUT_S, self._period_s
        self._publisher.publish(message)
