"""What diagnostics of the real node say on a first day: a camera elsewhere, doubled, frozen, uncalibrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_rl_interfaces.msg import SceneStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import NodeProcess, Rig, Tester, compressed, image, picture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

NAME = "firstday"


class Diagnosis:
    """Diagnostics of the input."""

    def __init__(self, tester: Tester) -> None:
        self._tester = tester
        self._inbox = tester.subscribe(DiagnosticArray, "/diagnostics")

    def says(self, phrase: str, key: str = "") -> DiagnosticStatus:
        """Waits until the message, or the value of a key, has this in it."""

        def text(status: DiagnosticStatus) -> str:
            return next(pair.value for pair in status.values if pair.key == key) if key else status.message

        def told(message: DiagnosticArray) -> bool:
            return any(s.name == f"{NAME}/perception_node: input" and phrase in text(s) for s in message.status)

        self._inbox.clear()
        message = self._inbox.wait(told, f"'{phrase}'")
        return next(status for status in message.status if status.name.endswith("input"))

    def close(self) -> None:
        self._tester.unsubscribe(self._inbox)


@pytest.fixture(scope="module")
def process(tester: Tester, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "max_age_ms": 0.0}
    parameters |= {"stall_timeout_s": 600.0, f"qos_overrides./{NAME}/image.subscription.reliability": "reliable"}
    log = tmp_path_factory.mktemp(NAME) / "log"
    with NodeProcess(log, parameters=parameters, namespace=NAME) as process:
        tester.wait(lambda: tester.node.count_subscribers(f"/{NAME}/image") == 1, "the subscription")
        yield process


@pytest.fixture
def diagnosis(tester: Tester, process: NodeProcess) -> Iterator[Diagnosis]:
    found = Diagnosis(tester)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("kind", "topic", "phrase"),
    [
        (CompressedImage, f"/{NAME}/image/compressed", "set image_transport to compressed"),
        (Image, f"/{NAME}/elsewhere", f"/{NAME}/elsewhere"),
        (String, f"/{NAME}/image", f"/{NAME}/image carries std_msgs/msg/String, expected sensor_msgs/msg/Image"),
    ],
)
def test_a_camera_that_is_not_where_it_is_looked_for_is_found(
    tester: Tester, process: NodeProcess, diagnosis: Diagnosis, kind: type, topic: str, phrase: str
) -> None:
    camera = tester.node.create_publisher(kind, topic, 1)
    status = diagnosis.says(phrase)
    assert status.level == b"\x01"
    tester.wait(lambda: phrase in process.text(), "a line in the log")
    tester.node.destroy_publisher(camera)
    diagnosis.says(f"no publisher on /{NAME}/image")


def test_own_pictures_are_no_camera(tester: Tester, process: NodeProcess, diagnosis: Diagnosis) -> None:
    message = diagnosis.says(f"no publisher on /{NAME}/image").message
    assert "mask" not in message and "overlay" not in message


def test_two_cameras_on_one_topic_and_a_frozen_one_are_told(
    tester: Tester, process: NodeProcess, diagnosis: Diagnosis
) -> None:
    rig = Rig(tester, NAME)
    rig.prime()
    second = tester.node.create_publisher(Image, f"/{NAME}/image", 1)
    assert diagnosis.says("2 publishers on").level == b"\x01"
    tester.node.destroy_publisher(second)
    diagnosis.says(" Hz")
    assert tester.set_parameter("loss_warning", 1.0, f"/{NAME}/perception_node").successful
    while not process.text().count("the source is frozen"):  # the same picture again and again, with new stamps
        NodeProcess.check()
        assert rig.send(image(picture(seed=1), tester.now())).validity != SceneStatus.INVALID_INPUT
    assert diagnosis.says("images come, but the picture is the same for").level == b"\x01"
    rig.send(image(picture(seed=2), tester.now()))
    diagnosis.says(" Hz")
    rig.close()


def test_calibration_is_told(tester: Tester, process: NodeProcess, diagnosis: Diagnosis) -> None:
    topic = f"/{NAME}/camera_info"
    diagnosis.says(f"none on {topic}", "calibration")
    publisher = tester.node.create_publisher(CameraInfo, topic, 1)
    info = CameraInfo(width=80, height=60)
    tester.wait(lambda: publisher.get_subscription_count() > 0, "a subscriber of camera_info")
    publisher.publish(info)
    diagnosis.says("P and K are zero", "calibration")
    info.k = [90.0, 0.0, 40.0, 0.0, 90.0, 30.0, 0.0, 0.0, 1.0]
    publisher.publish(info)
    diagnosis.says(f"{topic}, 80x60", "calibration")
    rig = Rig(tester, NAME)
    rig.prime(lambda: image(picture(height=45, width=80), tester.now()))
    diagnosis.says(f"{topic} is of 80x60, images are 80x45: another camera's or mode's", "calibration")
    rig.prime(lambda: image(picture(height=120, width=160), tester.now()))  # the same picture, scaled
    diagnosis.says(f"{topic}, 80x60", "calibration")
    rig.close()
    tester.node.destroy_publisher(publisher)


def test_a_compressed_topic_given_as_the_base_is_taken_apart(
    tester: Tester, checkpoint: Path, tmp_path: Path, diagnosis: Diagnosis
) -> None:
    """The likeliest slip: image:=.../compressed."""
    camera = tester.node.create_publisher(CompressedImage, "/slip/image/compressed", 1)
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True}
    arguments = ["-r", "image:=/slip/image/compressed", "-r", f"__ns:=/{NAME}2"]
    with NodeProcess(tmp_path / "log", parameters=parameters, arguments=arguments) as process:
        phrase = "remap image to /slip/image, set image_transport to compressed"
        tester.wait(lambda: phrase in process.text(), phrase)
        camera.publish(compressed(b"", tester.now()))  # nobody takes it, and nothing breaks
    tester.node.destroy_publisher(camera)
