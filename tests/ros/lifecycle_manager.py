"""A stand-in for nav2's lifecycle_manager and bondcpp, which cannot be had here: what they do, in their order.

`ManagerBond` is bondcpp's end: the table of bond/BondSM.sm, its timeouts, its quality of service. `LifecycleManager`
configures and activates its node, waits half of `bond_timeout` for the bond, looks every 200 ms whether it is broken,
then takes the node down as far as it can be reached, and brings it up again when it is back (nav2 1.3, jazzy).
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

from bond.msg import Status
from harness import Tester
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import QoSProfile

TABLE = {
    ("WaitingForSister", "SisterAlive"): "Alive",
    ("WaitingForSister", "SisterDead"): "Dead",
    ("WaitingForSister", "ConnectTimeout"): "Dead",
    ("WaitingForSister", "Die"): "Dead",
    ("Alive", "SisterDead"): "Dead",
    ("Alive", "HeartbeatTimeout"): "Dead",
    ("Alive", "Die"): "AwaitSisterDeath",
    ("AwaitSisterDeath", "SisterDead"): "Dead",
    ("AwaitSisterDeath", "DisconnectTimeout"): "Dead",
}
"""State and event to the next state; no other changes anything."""
TRANSITIONS = {
    "configure": (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
    "activate": (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
    "deactivate": (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
    "cleanup": (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
}


class ManagerBond:
    """One bond; its thread says that the manager lives, and looks at the clock."""

    def __init__(self, tester: Tester, topic: str, name: str, *, period_s: float, timeout_s: float) -> None:
        self.state, self.heard, self.instance = "WaitingForSister", [], str(uuid.uuid4())
        self._tester, self._name, self._period_s, self._timeout_s = tester, name, period_s, timeout_s
        self._lock, self._over = threading.RLock(), threading.Event()
        self._since = self._last = time.monotonic()
        group = MutuallyExclusiveCallbackGroup()
        self._publisher = tester.node.create_publisher(Status, topic, QoSProfile(depth=5), callback_group=group)
        self._subscription = tester.node.create_subscription(
            Status, topic, self._on_status, QoSProfile(depth=100), callback_group=group
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def event(self, name: str) -> None:
        with self._lock:
            after = TABLE.get((self.state, name), self.state)
            if after != self.state:
                self.state, self._since = after, time.monotonic()

    def break_bond(self) -> None:
        with self._lock:
            if self.state != "Dead":
                self.event("Die")
                self._say(False)

    def close(self, *, quietly: bool = False) -> None:
        """As ~Bond does; quietly: as a manager that is killed."""
        if not quietly:
            self.break_bond()
            self._tester.wait(lambda: self.state == "Dead", "the end of the bond")
        self._over.set()
        self._thread.join()
        self._tester.node.destroy_subscription(self._subscription)
        self._tester.node.destroy_publisher(self._publisher)

    def _say(self, active: bool) -> None:
        message = Status(id=self._name, instance_id=self.instance, active=active)
        message.heartbeat_timeout, message.heartbeat_period = self._timeout_s, self._period_s
        self._publisher.publish(message)

    def _on_status(self, message: Any) -> None:
        if message.id != self._name or message.instance_id == self.instance:
            return
        with self._lock:
            self.heard.append(message)
            self._last = time.monotonic()
            before = self.state
            self.event("SisterAlive" if message.active else "SisterDead")
            if not message.active and before in ("WaitingForSister", "Alive"):
                self._say(False)

    def _run(self) -> None:
        while not self._over.wait(0.05 if self.state == "AwaitSisterDeath" else self._period_s):
            with self._lock:
                now = time.monotonic()
                if now - self._since > 10.0:
                    self.event("ConnectTimeout")
                if now - self._last > self._timeout_s:
                    self.event("HeartbeatTimeout")
                if now - self._since > 2.0:
                    self.event("DisconnectTimeout")
                if self.state != "Dead":
                    self._say(self.state != "AwaitSisterDeath")


class LifecycleManager:
    """Of one node; its watch runs on a thread, as nav2's on its callback group."""

    def __init__(self, tester: Tester, namespace: str, name: str, *, bond_timeout_s: float, period_s: float) -> None:
        self.active, self.failures = False, 0
        self.bond: ManagerBond | None = None
        self._tester, self._root, self._name = tester, f"/{namespace}", name
        self._timeout_s, self._period_s = bond_timeout_s, period_s
        self._clients: dict[str, Any] = {}
        self._over, self._lock = threading.Event(), threading.RLock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def startup(self) -> bool:
        with self._lock:
            self.active = self._change("configure") and self._change("activate")
            return self.active

    def pause(self) -> bool:
        with self._lock:
            self.active = False
            return self._change("deactivate")

    def resume(self) -> bool:
        with self._lock:
            self.active = self._change("activate")
            return self.active

    def close(self, *, quietly: bool = False) -> None:
        self._over.set()
        self._thread.join()
        if self.bond is not None:
            self.bond.close(quietly=quietly)
            self.bond = None

    def reachable(self) -> bool:
        return self._tester.node.count_publishers(f"{self._root}/{self._name}/transition_event") > 0

    def _ask(self, kind: Any, name: str, request: Any) -> Any | None:
        """A service's answer; None from one that is gone before it answers."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self._tester.node.create_client(kind, f"{self._root}/{self._name}/{name}")
        self._tester.wait(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self._tester.wait(lambda: future.done() or not self.reachable(), f"an answer of {name}, or the node's end")
        return future.result() if future.done() else None

    def _change(self, label: str) -> bool:
        number, state = TRANSITIONS[label]
        answer = self._ask(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=number)))
        if answer is None or not answer.success:
            return False
        answer = self._ask(GetState, "get_state", GetState.Request())
        if answer is None or answer.current_state.id != state:
            return False
        if label == "activate":
            return self._create_bond()
        if label == "deactivate" and self.bond is not None:
            self.bond.close()
            self.bond = None
        return True

    def _create_bond(self) -> bool:
        made = ManagerBond(
            self._tester, f"{self._root}/bond", self._name, period_s=self._period_s, timeout_s=self._timeout_s
        )
        self.bond = made
        self._tester.wait(lambda: made.state != "WaitingForSister", "the bond to form")
        return True

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            with self._lock:
                if self.active and self.bond is not None and self.bond.state == "Dead":
                    self._take_down()
                elif self.failures and not self.active and self.reachable():
                    self.startup()

    def _take_down(self) -> None:
        self.failures, self.active = self.failures + 1, False
        if self.bond is not None:
            self.bond.close(quietly=True)
            self.bond = None
        for label in ("deactivate", "cleanup"):
            if self.reachable():
                self._change(label)
