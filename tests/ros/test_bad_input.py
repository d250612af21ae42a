"""The rows of the bad-input table about messages: a status with the reason, and the next good frame is served."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_interfaces.msg import SceneStatus
from diagnostic_msgs.msg import DiagnosticArray
from harness import NodeProcess, Rig, Tester, compressed, image, later, picture
from sensor_msgs.msg import CompressedImage, Image


def masks_of(rig: Rig, message: Any) -> int:
    return sum(mask.header == message.header for mask in rig.mask.all())


def changed(**fields: Any) -> Callable[[Image], None]:
    def change(message: Image) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (changed(encoding="rgb9"), "encoding 'rgb9' is not known; known are rgb8"),
        (changed(encoding="32FC1"), "'32FC1' is not known"),
        (changed(step=239), "step 239 is too small"),
        (changed(step=241), "needs 14460"),
        (changed(data=array("B", bytes(100))), "data has 100 bytes"),
        (changed(data=array("B")), "data has 0 bytes"),
        (changed(width=0, height=0, step=0, data=array("B")), "0x0"),
        (changed(width=8193, step=8193 * 3), "8193x60; at most 8192x8192"),
        (changed(height=2**32 - 1), "at most 8192x8192"),
    ],
)
def test_a_contradicting_image_is_reported_and_the_next_one_served(
    rig: Rig, tester: Tester, change: Callable[[Image], None], phrase: str
) -> None:
    bad = image(picture(), tester.now())
    change(bad)
    status = rig.send(bad)
    assert status.validity == SceneStatus.INVALID_INPUT
    assert phrase in status.reason and "\n" not in status.reason
    good = image(picture(), tester.now())
    after = rig.send(good)
    assert after.validity != SceneStatus.INVALID_INPUT, after.reason
    assert (after.invalid, after.processed) == (status.invalid, status.processed + 1)
    rig.mask.wait(lambda mask: mask.header == good.header, "the good frame's mask")
    assert masks_of(rig, bad) == 0, "a rejected frame has a mask"
    assert not any(tags.header == bad.header for tags in rig.tags.all()), "a rejected frame has tags"


def test_rejected_frames_show_in_diagnostics(rig: Rig, tester: Tester) -> None:
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    before = rig.send(image(picture(), tester.now())).invalid

    def told() -> bool:
        bad = image(picture(), tester.now())  # one for each try: diagnostics are about the newest seconds
        bad.encoding = "nonsense"
        rig.send(bad)
        return diagnostics.comes(tells, 1.0) is not None

    def tells(array_message: DiagnosticArray) -> bool:
        part = {status.name: status for status in array_message.status}["perception_node: input"]
        values = {pair.key: pair.value for pair in part.values}
        return part.level == b"\x01" and int(values["invalid"]) > before and "nonsense" in part.message

    tester.wait(told, "a diagnostic that names the frame")
    tester.unsubscribe(diagnostics)


@pytest.fixture
def policy(tester: Tester, node: NodeProcess) -> Iterator[Callable[[str], None]]:
    def choose(value: str) -> None:
        assert tester.set_parameter("stamp_policy", value).successful

    yield choose
    choose("process")


@pytest.mark.parametrize(
    ("offset_s", "phrase"), [(600.0, "in the future"), (-0.5, "0.500 s older"), (-20.0, "jumped back by 20.000 s")]
)
def test_bad_stamps_are_processed_or_rejected_as_the_parameter_says(
    rig: Rig, tester: Tester, policy: Callable[[str], None], offset_s: float, phrase: str
) -> None:
    for choice in ("process", "reject"):
        policy(choice)
        good = image(picture(), tester.now())
        assert rig.send(good).validity in (SceneStatus.OK, SceneStatus.DEGRADED)
        doubtful = image(picture(), later(good.header.stamp, offset_s))
        status = rig.send(doubtful)
        assert phrase in status.reason, status.reason
        if choice == "process":
            assert status.validity == SceneStatus.DEGRADED
            rig.mask.wait(lambda mask, sent=doubtful: mask.header == sent.header, "its mask")
        else:
            assert status.validity == SceneStatus.INVALID_INPUT
            assert masks_of(rig, doubtful) == 0
        rig.send(image(picture(), tester.now()))


def test_zero_stamp_is_reported(rig: Rig, tester: Tester) -> None:
    message = image(picture(), tester.now())
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    status = rig.send(message)
    assert status.validity == SceneStatus.DEGRADED and "header stamp is zero" in status.reason


def test_an_old_frame_is_stale(rig: Rig, tester: Tester) -> None:
    rig.send(image(picture(), tester.now(-9000)))  # begins an old timeline
    assert tester.set_parameter("max_age_ms", 1000.0).successful
    status = rig.send(image(picture(), tester.now(-8990)))
    assert tester.set_parameter("max_age_ms", 0.0).successful
    assert status.validity == SceneStatus.STALE and "ms old" in status.reason
    assert status.age_ms >= 8_990_000
    rig.send(image(picture(), tester.now()))


def test_compressed_rows_of_the_table(tester: Tester, session_rig: Rig) -> None:
    tester.transition("deactivate")
    tester.transition("cleanup")
    assert tester.set_parameter("image_transport", "compressed").successful
    tester.transition("configure")
    tester.transition("activate")
    stream = Rig(tester, kind=CompressedImage, topic="image/compressed")
    try:
        jpeg = cv2.imencode(".jpg", picture())[1].tobytes()
        stream.prime(lambda: compressed(jpeg, tester.now()))
        png = cv2.imencode(".png", picture())[1].tobytes()
        huge = bytearray(jpeg)
        at = huge.index(b"\xff\xc0")
        huge[at + 5 : at + 9] = (9000).to_bytes(2, "big") * 2
        bad = {
            "no data": b"",
            "truncated": jpeg[: len(jpeg) // 2],
            "damaged JPEG: premature end": jpeg[: len(jpeg) // 2] + b"\xff\xd9",
            "two SOI markers": jpeg[: len(jpeg) // 2] + jpeg,
            "expected a JPEG or PNG": b"not an image at all",
            "9000x9000": bytes(huge),
            "does not decode": png[:45] + bytes(12) + png[57:],
        }
        for phrase, data in bad.items():
            status = stream.send(compressed(data, tester.now()))
            assert status.validity == SceneStatus.INVALID_INPUT and phrase in status.reason, status.reason
            for good in (jpeg, png, jpeg + bytes(100)):
                message = compressed(good, tester.now())
                assert stream.send(message).validity != SceneStatus.INVALID_INPUT
                mask = stream.mask.wait(lambda m, sent=message: m.header == sent.header, "a mask")
                assert (mask.height, mask.width) == picture().shape[:2]
    finally:
        stream.close()
        tester.transition("deactivate")
        tester.transition("cleanup")
        assert tester.set_parameter("image_transport", "raw").successful
        tester.transition("configure")
        tester.transition("activate")
        session_rig.prime()


def test_random_messages_never_end_the_node(rig: Rig, tester: Tester, node: NodeProcess) -> None:
    random = np.random.default_rng(11)
    encodings = ["bgr8", "rgb8", "mono16", "bayer_grbg8", "yuv422", "", "8UC3", "jpeg"]
    sent = []
    for _ in range(40):
        message = image(picture(), tester.now())
        message.height, message.width, message.step = (int(random.integers(0, limit)) for limit in (70, 90, 300))
        message.encoding = str(random.choice(encodings))
        message.is_bigendian = int(random.integers(0, 256))
        message.data = array("B", random.integers(0, 256, int(random.integers(0, 5000)), np.uint8).tobytes())
        sent.append(rig.send(message))
    assert all(status.reason for status in sent if status.validity == SceneStatus.INVALID_INPUT)
    assert sum(status.validity == SceneStatus.INVALID_INPUT for status in sent) > 30
    assert rig.send(image(picture(), tester.now())).validity != SceneStatus.INVALID_INPUT
    assert node.process.poll() is None
