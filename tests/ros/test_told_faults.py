"""What diagnostics tell of faults for as long as they last: transitions that failed, peers that ask for too much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clip_rl_interfaces.msg import SceneStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import BEST_EFFORT, RELIABLE, NodeProcess, Tester
from rclpy.duration import Duration
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image


def tells(name: str, level: bytes, phrase: str) -> Callable[[DiagnosticArray], bool]:
    def wanted(message: DiagnosticArray) -> bool:
        return any(
            (status.name, status.level) == (name, level) and phrase in status.message for status in message.status
        )

    return wanted


def test_activating_that_fails_is_an_error_until_it_is_configured_again(
    tester: Tester, checkpoint: Path, tmp_path: Path
) -> None:
    node, diagnostics = "/failing/perception_node", tester.subscribe(DiagnosticArray, "/diagnostics")
    parameters = {"model": str(checkpoint), "engine": "torch"}
    parameters["qos_overrides./failing/image.subscription.reliability"] = "reliabel"
    inference = "failing/perception_node: inference"
    with NodeProcess(tmp_path / "node.log", parameters=parameters, namespace="failing"):
        tester.transition("configure", node=node)
        tester.transition("activate", node=node, succeed=False)
        assert tester.state(node) == "unconfigured"
        diagnostics.clear()
        failed = "activate failed: RuntimeError: Unexpected QoS override for policy `reliability`: `reliabel`"
        diagnostics.wait(tells(inference, DiagnosticStatus.ERROR, failed), "the reason in diagnostics")
        tester.transition("configure", node=node)
        diagnostics.wait(tells(inference, DiagnosticStatus.OK, "inactive"), "the end of the fault")
    tester.unsubscribe(diagnostics)


def test_peers_that_get_nothing_are_told_while_they_are_there(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    node, diagnostics = "/peers/perception_node", tester.subscribe(DiagnosticArray, "/diagnostics")
    parameters = {"model": str(checkpoint), "engine": "torch"}
    parameters["qos_overrides./peers/image.subscription.reliability"] = "reliable"
    source = "peers/perception_node: input"
    refused = tells(source, DiagnosticStatus.WARN, "a publisher of /peers/image offers an incompatible RELIABILITY")
    with NodeProcess(tmp_path / "node.log", parameters=parameters, namespace="peers"):
        tester.transition("configure", node=node)
        tester.transition("activate", node=node)
        for _ in range(2):  # a camera that is started again as before is told again
            diagnostics.clear()
            camera = tester.node.create_publisher(Image, "/peers/image", BEST_EFFORT)
            diagnostics.wait(refused, "the line about the camera")
            tester.node.destroy_publisher(camera)
            camera = tester.camera("/peers/image", Image, RELIABLE)
            diagnostics.clear()
            diagnostics.wait(tells(source, DiagnosticStatus.WARN, "no image for"), "the end of it")
            tester.node.destroy_publisher(camera)

        watcher = tester.subscribe(SceneStatus, "/peers/status", QoSProfile(depth=5, deadline=Duration(seconds=0.5)))
        refused = tells(
            source, DiagnosticStatus.WARN, "a subscriber of /peers/status asks for an incompatible DEADLINE"
        )
        diagnostics.wait(refused, "the line about the subscriber")
        tester.transition("deactivate", node=node)
        tester.transition("cleanup", node=node)
        assert tester.set_parameter("status_deadline_s", 0.4, node).successful  # as it says
        tester.transition("configure", node=node)
        tester.transition("activate", node=node)
        diagnostics.clear()
        diagnostics.wait(tells(source, DiagnosticStatus.WARN, "no publisher on /peers/image"), "the end of it")
        tester.unsubscribe(watcher)
    tester.unsubscribe(diagnostics)
