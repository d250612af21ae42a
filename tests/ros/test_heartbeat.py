"""`status` as DDS watches it: deadline and liveliness of the real node, for those who ask and those who do not."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_perception.ros.late_events import ending_well
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import NodeProcess, Rig, Tester, image, picture
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import LivelinessPolicy, QoSPolicyKind, QoSProfile

NODE = "/beat/perception_node"
DEADLINE_S, ASKED_DEADLINE_S = 0.5, 1.0
LEASE_S, ASKED_LEASE_S = 5.0, 10.0
"""Long enough for a machine that is busy: of a node that lives none may be lost."""


class Watcher:
    """A subscriber of /beat/status that asks for a deadline and a lease, and what it is told."""

    def __init__(self, tester: Tester, deadline_s: float = ASKED_DEADLINE_S) -> None:
        self.tester = tester
        self.missed, self.alive, self.refused = 0, 0, []  # type: ignore[var-annotated]
        self.lost = 0
        profile = QoSProfile(
            depth=5,
            deadline=Duration(seconds=deadline_s),
            liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
            liveliness_lease_duration=Duration(seconds=ASKED_LEASE_S),
        )
        events = SubscriptionEventCallbacks(
            deadline=self._on_deadline, liveliness=self._on_liveliness, incompatible_qos=self._on_incompatible
        )
        self.got: list[SceneStatus] = []
        subscription = tester.node.create_subscription(
            SceneStatus,
            "/beat/status",
            self.got.append,
            profile,
            event_callbacks=events,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._subscription = ending_well(subscription)  # its events go on after its end

    def _on_deadline(self, event: Any) -> None:
        self.missed = event.total_count

    def _on_liveliness(self, event: Any) -> None:
        self.alive = event.alive_count
        self.lost += max(0, event.not_alive_count_change)

    def _on_incompatible(self, event: Any) -> None:
        self.refused.append(event.last_policy_kind)

    def close(self) -> None:
        self.tester.node.destroy_subscription(self._subscription)


@pytest.fixture(scope="module")
def process(tester: Tester, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """An active node; every test but the last, which kills it, leaves it so."""
    parameters = {"model": str(checkpoint), "engine": "torch", "max_age_ms": 0.0, "stall_timeout_s": 600.0}
    parameters |= {"status_deadline_s": DEADLINE_S, "status_lease_s": LEASE_S, "autostart": True}
    parameters["qos_overrides./beat/image.subscription.reliability"] = "reliable"
    log = tmp_path_factory.mktemp("heartbeat") / "node.log"
    with NodeProcess(log, parameters=parameters, namespace="beat") as made:
        yield made


@pytest.fixture(scope="module")
def rig(tester: Tester, process: NodeProcess) -> Iterator[Rig]:
    made = Rig(tester, "beat")
    made.prime()
    yield made
    made.close()


@pytest.fixture(scope="module")
def only_watcher(tester: Tester, rig: Rig) -> Iterator[Watcher]:
    """One for all: Fast DDS 2.14 tells a second one of this process nothing of a publisher that the first had known."""
    made = Watcher(tester)
    tester.wait(lambda: made.alive == 1, "a publisher of status that is alive")
    yield made
    made.close()


@pytest.fixture
def watcher(tester: Tester, rig: Rig, only_watcher: Watcher) -> Watcher:
    """One that has just had a status, and was told of no loss in this test."""
    only_watcher.got.clear()
    only_watcher.lost = 0
    tester.wait(lambda: bool(rig.send(image(picture(), tester.now())) and only_watcher.got), "a status for the watcher")
    return only_watcher


def said(message: DiagnosticArray, component: str = "inference") -> DiagnosticStatus | None:
    found = [status for status in message.status if status.name == f"{NODE[1:]}: {component}"]
    return found[0] if found else None


def tells(level: bytes, *phrases: str) -> Callable[[DiagnosticArray], bool]:
    def wanted(message: DiagnosticArray) -> bool:
        status = said(message)
        return status is not None and status.level == level and all(phrase in status.message for phrase in phrases)

    return wanted


def value(message: DiagnosticArray, key: str) -> str:
    status = said(message)
    assert status is not None
    return {pair.key: pair.value for pair in status.values}[key]


def test_images_that_stop_miss_the_deadline_and_diagnostics_say_why(tester: Tester, rig: Rig, watcher: Watcher) -> None:
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    missed, answered = watcher.missed, len(rig.status.all())
    tester.wait(lambda: watcher.missed > missed, "a missed deadline at the subscriber")
    found = diagnostics.wait(
        tells(DiagnosticStatus.WARN, f"status missed its deadline of {DEADLINE_S:g} s", "no image for"),
        "a diagnostic of the miss",
    )
    assert int(value(found, "deadlines missed")) > 0
    assert (watcher.alive, watcher.lost) == (1, 0), "who has no images is alive all the same"
    assert len(rig.status.all()) == answered, "a status without an image"
    rig.send(image(picture(), tester.now()))  # the camera is back, and so is the status
    tester.unsubscribe(diagnostics)


def test_plain_subscribers_and_those_who_ask_for_longer_get_the_same(
    tester: Tester, rig: Rig, watcher: Watcher
) -> None:
    sent = image(picture(seed=3), tester.now())
    plain = rig.send(sent)
    tester.wait(lambda: any(status.header == sent.header for status in watcher.got), "the same status")
    assert str(plain) in map(str, watcher.got)  # NaN, which is in them, equals nothing
    assert QoSPolicyKind.DEADLINE not in watcher.refused


def test_who_asks_for_less_gets_nothing_and_is_told_what_to_set(tester: Tester, rig: Rig, process: NodeProcess) -> None:
    watcher = Watcher(tester, DEADLINE_S / 5)
    line = "a subscriber of /beat/status asks for an incompatible DEADLINE; it gets nothing: set status_deadline_s"
    tester.wait(lambda: line in process.text(), "the line about the subscriber")
    tester.wait(lambda: QoSPolicyKind.DEADLINE in watcher.refused, "the subscriber's own event")
    rig.send(image(picture(), tester.now()))
    assert watcher.got == []
    watcher.close()


def test_a_node_that_hangs_loses_its_lease(tester: Tester, rig: Rig, watcher: Watcher, process: NodeProcess) -> None:
    process.process.send_signal(signal.SIGSTOP)
    try:
        tester.wait(lambda: (watcher.alive, watcher.lost) == (0, 1), "the loss of the lease")
        assert watcher.missed > 0
    finally:
        process.process.send_signal(signal.SIGCONT)
    tester.wait(lambda: watcher.alive == 1, "the node alive again")


def test_an_inactive_node_is_alive_and_tells_of_no_miss(tester: Tester, rig: Rig, watcher: Watcher) -> None:
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    tester.transition("deactivate", node=NODE)

    def inactive(message: DiagnosticArray) -> bool:
        return said(message) is not None and value(message, "state") == "inactive"

    before = diagnostics.wait(inactive, "diagnostics of the inactive node")
    missed = watcher.missed
    tester.wait(lambda: watcher.missed >= missed + 2, "deadlines missed while inactive")
    diagnostics.clear()
    after = diagnostics.wait(inactive, "diagnostics after the misses")
    assert value(after, "deadlines missed") == value(before, "deadlines missed")
    assert said(after).level == DiagnosticStatus.OK  # type: ignore[union-attr]
    assert (watcher.alive, watcher.lost) == (1, 0)
    tester.transition("activate", node=NODE)
    rig.prime()
    tester.unsubscribe(diagnostics)


def test_after_cleanup_nothing_is_promised(tester: Tester, rig: Rig, watcher: Watcher) -> None:
    tester.transition("deactivate", node=NODE)
    tester.transition("cleanup", node=NODE)
    tester.wait(lambda: watcher.alive == 0, "the end of the publisher")
    assert watcher.lost == 0, "a publisher that is taken away is not lost"
    tester.transition("configure", node=NODE)
    tester.wait(lambda: watcher.alive == 1, "a new publisher, alive though nothing was published")
    tester.transition("activate", node=NODE)
    rig.prime()


def test_a_killed_node_loses_its_lease(tester: Tester, rig: Rig, watcher: Watcher, process: NodeProcess) -> None:
    process.kill()
    tester.wait(lambda: (watcher.alive, watcher.lost) == (0, 1), "the loss of the lease")
    assert watcher.missed > 0
