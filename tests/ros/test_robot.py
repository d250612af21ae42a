"""What happens on a robot: nodes die and come back, publishers do not fit, two cameras, a clock that is simulated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_rl_interfaces.msg import SceneStatus
from diagnostic_msgs.msg import DiagnosticArray
from harness import BEST_EFFORT, RELIABLE, NodeProcess, Tester, image, picture
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image


@pytest.fixture
def camera_process(domain: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A camera in a third process that nobody touches."""
    script = Path(__file__).with_name("camera.py")
    process = subprocess.Popen([sys.executable, str(script), "/restart/image"], stdout=subprocess.PIPE, text=True)
    yield process
    process.terminate()
    process.wait(60)


def test_killed_and_restarted_the_node_serves_the_same_publisher(
    tester: Tester, checkpoint: Path, tmp_path: Path, camera_process: subprocess.Popen[str]
) -> None:
    parameters = {"model": str(checkpoint), "autostart": True}
    mask, status = tester.subscribe(Image, "/restart/mask"), tester.subscribe(SceneStatus, "/restart/status")
    with NodeProcess(tmp_path / "first.log", parameters=parameters, namespace="restart") as first:
        mask.wait(what="a mask of the first node")
        first.kill()
    restart = tester.now()
    since = (restart.sec, restart.nanosec)

    def answers() -> list[SceneStatus]:
        """Those of the second node that came with a mask: results of the first may still be on their way."""
        came = [m.header for m in mask.all() if (m.header.stamp.sec, m.header.stamp.nanosec) > since]
        return [s for s in status.all() if s.header in came]

    with NodeProcess(tmp_path / "second.log", parameters=parameters, namespace="restart"):
        tester.wait(answers, "a mask and a status of the second node")
        assert all(s.received >= 1 and s.header.frame_id == "camera" for s in answers())
        tester.unsubscribe(mask)
        tester.unsubscribe(status)
    assert camera_process.poll() is None, "the camera did not survive"


def test_two_cameras_in_two_namespaces(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    parameters = {"model": str(checkpoint), "autostart": True}
    sides = ("left", "right")
    with (
        NodeProcess(tmp_path / "left.log", parameters=parameters, namespace="left"),
        NodeProcess(tmp_path / "right.log", parameters=parameters, namespace="right"),
    ):
        masks = {side: tester.subscribe(Image, f"/{side}/mask") for side in sides}
        cameras = {side: tester.camera(f"/{side}/image", qos=BEST_EFFORT) for side in sides}
        sizes = {"left": (60, 80), "right": (90, 50)}

        def publish() -> None:
            for side in sides:
                cameras[side].publish(image(picture(*sizes[side]), tester.now(), frame_id=f"{side}_optical"))

        timer = tester.node.create_timer(0.1, publish)
        for side in sides:
            tester.wait(lambda s=side: len(masks[s].all()) >= 3, f"three {side} masks")
        tester.node.destroy_timer(timer)
        for side in sides:
            assert {(m.height, m.width) for m in masks[side].all()} == {sizes[side]}
            assert {m.header.frame_id for m in masks[side].all()} == {f"{side}_optical"}
            tester.node.destroy_publisher(cameras[side])
            tester.unsubscribe(masks[side])


def test_incompatible_quality_of_service_is_reported(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    """The input's reliability is overridden to reliable, the camera is best effort, and a viewer wants too much."""
    parameters = {"model": str(checkpoint), "autostart": True}
    parameters |= {"qos_overrides./strict/image.subscription.reliability": "reliable"}
    parameters |= {"qos_overrides./strict/mask.publisher.reliability": "best_effort"}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="strict") as process:
        tester.wait(lambda: tester.node.count_subscribers("/strict/image") == 1, "the subscription")
        diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
        camera = tester.node.create_publisher(Image, "/strict/image", BEST_EFFORT)
        viewer = tester.subscribe(Image, "/strict/mask", RELIABLE)
        for phrase in (
            "a publisher of /strict/image offers an incompatible RELIABILITY; nothing comes from it: take out "
            "qos_overrides./strict/image.subscription.reliability",
            "a subscriber of /strict/mask asks for an incompatible RELIABILITY",
        ):
            tester.wait(lambda text=phrase: text in process.text(), f"the log line '{phrase}'")

            def tells(message: DiagnosticArray, text: str = phrase) -> bool:
                return any(
                    status.name == "strict/perception_node: input"
                    and status.level == b"\x01"
                    and any(text in pair.value for pair in status.values)
                    for status in message.status
                )

            diagnostics.wait(tells, f"a diagnostic '{phrase}'")
        tester.node.destroy_publisher(camera)
        tester.unsubscribe(viewer)
        tester.unsubscribe(diagnostics)


def test_an_impossible_override_fails_to_configure_and_says_so(
    tester: Tester, checkpoint: Path, tmp_path: Path
) -> None:
    parameters = {"model": str(checkpoint), "qos_overrides./odd/mask.publisher.reliability": "sometimes"}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="odd") as process:
        tester.transition("configure", node="/odd/perception_node", succeed=False)
        assert tester.state("/odd/perception_node") == "unconfigured"
        assert "sometimes" in process.text()


def test_simulated_time_decides_staleness(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    """Stamps of a bag from long ago are fresh by the bag's clock."""
    parameters = {"model": str(checkpoint), "autostart": True, "use_sim_time": True}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="sim"):
        clock = tester.node.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        camera = tester.camera("/sim/image")
        status = tester.subscribe(SceneStatus, "/sim/status")
        tester.wait(lambda: clock.get_subscription_count() > 0, "a subscriber of the clock")
        tester.wait(lambda: tester.node.count_publishers("/sim/status") == 1, "the status publisher")
        message = image(picture(), tester.now())
        found = []
        for tick in range(200):  # the node learns the time and the frame by different ways: both go on
            message = image(picture(), tester.now())
            message.header.stamp.sec, message.header.stamp.nanosec = 1000 + tick, 0
            now = Clock()
            now.clock.sec, now.clock.nanosec = 1000 + tick, 100_000_000
            clock.publish(now)
            camera.publish(message)
            answer = status.comes(lambda s, sent=message: s.header == sent.header, 1.0)
            if answer is not None:
                found.append((answer.validity, answer.reason, answer.age_ms))
                if answer.validity == SceneStatus.OK and answer.age_ms == 100.0:
                    break
        assert found[-1][0] == SceneStatus.OK, f"validity, reason and age: {found}"
        tester.node.destroy_publisher(clock)
        tester.node.destroy_publisher(camera)
        tester.unsubscribe(status)
