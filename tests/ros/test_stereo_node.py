"""stereo_node over real DDS: points of rendered scenes, and every fault of two eyes as one line, never as points."""

from __future__ import annotations

import dataclasses
import signal
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clip_rl_interfaces.msg import Instrument3DArray, Keypoint3D
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.scene.types import Validity
from diagnostic_msgs.msg import DiagnosticArray
from harness import GUARD_S, Tester, image
from rig_feed import PERIOD_NS, RIG, TOOLS, Feed, report_of, stereo_node
from stereo_scene import points_of
from visualization_msgs.msg import MarkerArray

NAMESPACE = "rig"


@pytest.fixture(scope="module")
def running(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    log = tmp_path_factory.mktemp("stereo") / "stereo.log"
    with stereo_node(log, NAMESPACE, shaft_mm="8.0"):
        feed = Feed(tester, NAMESPACE)
        feed.prime()
        yield feed
        feed.close()


@pytest.fixture
def feed(running: Feed) -> Feed:
    """Of calibrations and scenes as they began."""
    running.infos = {side: RIG.info(eye) for eye, side in enumerate(("left", "right"))}
    running.moment()
    running.points.clear()
    running.diagnostics.clear()
    return running


def valid_points(message: Instrument3DArray) -> dict[tuple[int, str], Keypoint3D]:
    return {
        (tool.left_track_id, point.name): point
        for tool in message.instruments
        for point in tool.keypoints
        if point.valid
    }


def stereo_points(message: Instrument3DArray) -> list[Keypoint3D]:
    return [point for point in valid_points(message).values() if point.source == Keypoint3D.STEREO]


def test_points_of_a_moment(feed: Feed) -> None:
    message = feed.moment()
    assert (message.validity, message.reason, message.skew_ms) == (Instrument3DArray.OK, "", 0.0)
    assert message.header.frame_id == "left_optical" and message.right_header.frame_id == "right_optical"
    assert message.right_header.stamp == message.header.stamp
    assert message.baseline == pytest.approx(0.005)
    assert [(tool.left_track_id, tool.right_track_id) for tool in message.instruments] == [(1, 11), (2, 12)]
    found = valid_points(message)
    for number, tool in enumerate(TOOLS, start=1):
        for name, true in points_of(tool).items():
            at = found[number, name].position
            assert np.linalg.norm(np.array([at.x, at.y, at.z]) - true) < 0.004, name
    assert message.instruments[0].class_name == "instrument" and message.instruments[0].type_name == "driver"


def test_markers_are_where_the_points_are(feed: Feed, tester: Tester) -> None:
    inbox = tester.subscribe(MarkerArray, f"/{NAMESPACE}/markers_3d")
    for _ in range(round(GUARD_S)):
        message = feed.moment()
        drawn = inbox.comes(lambda other, head=message.header: other.markers[0].header == head, 1.0)
        if drawn is not None:
            break
    tester.unsubscribe(inbox)
    assert drawn is not None and drawn.markers[0].action == 3  # DELETEALL
    dots = next(marker for marker in drawn.markers if marker.ns == "points" and marker.id == 0)
    there = [point.position for point in message.instruments[0].keypoints if point.valid]
    assert [(at.x, at.y, at.z) for at in dots.points] == [(at.x, at.y, at.z) for at in there]
    assert {marker.ns for marker in drawn.markers[1:]} == {"points", "uncertainty", "axis", "name"}


def test_stamps_half_a_frame_apart(feed: Feed) -> None:
    stamp = feed.next_stamp()
    feed.eye("left", stamp)
    feed.eye("right", stamp + PERIOD_NS // 2)
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.ONE_EYE
    assert "within 10 ms: the nearest is 16.7 ms later" in message.reason
    assert stereo_points(message) == [] and np.isnan(message.skew_ms)
    assert {point.source for point in valid_points(message).values()} == {Keypoint3D.SHAFT_WIDTH}


def test_a_skew_within_tolerance_is_told(feed: Feed) -> None:
    stamp = feed.next_stamp()
    feed.eye("left", stamp)
    feed.eye("right", stamp + 4_000_000)
    message = feed.answer(stamp)
    assert (message.validity, message.skew_ms) == (Instrument3DArray.OK, pytest.approx(4.0))
    assert stereo_points(message)


def test_one_eye_at_half_the_rate(feed: Feed) -> None:
    answers = []
    for turn in range(4):
        stamp = feed.next_stamp()
        if turn % 2 == 0:
            feed.eye("right", stamp)
        feed.eye("left", stamp)
        if turn % 2:  # the next right frame tells that none of this moment will come
            feed.eye("right", feed.next_stamp())
        answers.append(feed.answer(stamp))
    assert [message.validity for message in answers] == [Instrument3DArray.OK, Instrument3DArray.ONE_EYE] * 2


def test_a_lost_eye(feed: Feed) -> None:
    stamp = feed.next_stamp()
    feed.eye("left", stamp)
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.ONE_EYE and "no frame of the right eye" in message.reason
    assert message.right_header.frame_id == ""


def test_what_is_said_against_an_eye_that_is_alone(feed: Feed) -> None:
    stamp = feed.next_stamp()
    feed.eye("left", stamp, status=Status(Validity.OUT_OF_BODY, "no tissue"))
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.DOUBTFUL
    assert message.reason.startswith("left eye OUT_OF_BODY: no tissue; no frame of the right eye")


@pytest.mark.parametrize("lost", ["instruments", "instances"])
def test_results_that_are_lost_on_their_way(feed: Feed, lost: str) -> None:
    parts = tuple(part for part in ("image", "instruments", "instances", "status") if part != lost)
    said = f"no {lost.replace('instruments', 'tags')} of this stamp came from its perception node"
    for side, validity in (("left", Instrument3DArray.INVALID_INPUT), ("right", Instrument3DArray.ONE_EYE)):
        stamp = feed.next_stamp()
        for each in ("right", "left"):
            feed.eye(each, stamp, parts=parts if each == side else ())
        feed.moment()  # later frames tell that nothing more comes of this one
        message = feed.answer(stamp)
        assert message.validity == validity and message.reason.startswith(f"{side} eye: {said}")


def test_eyes_without_stamps(feed: Feed) -> None:
    feed.eye("right", 0)
    feed.eye("left", 0)
    message = feed.answer(0)
    assert (message.validity, message.instruments) == (Instrument3DArray.INVALID_INPUT, [])
    assert message.reason == "left eye: header stamp is zero; stamp images when they are acquired"
    stamp = feed.next_stamp()
    feed.eye("left", stamp)
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.ONE_EYE
    assert message.reason == "right eye: header stamp is zero; stamp images when they are acquired"


def test_eyes_that_are_swapped(feed: Feed) -> None:
    feed.seen["left"], feed.seen["right"] = feed.seen["right"], feed.seen["left"]
    try:
        message = wait_for(feed, "left and right images are swapped")
    finally:
        feed.seen["left"], feed.seen["right"] = feed.seen["right"], feed.seen["left"]
    assert message.validity == Instrument3DArray.DOUBTFUL
    assert valid_points(message) == {}
    feed.infos = {"left": RIG.info(1), "right": RIG.info(0)}
    message = settled(feed)
    assert message.validity == Instrument3DArray.UNCALIBRATED and "camera_info are swapped" in message.reason


def settled(feed: Feed) -> Instrument3DArray:
    """The answer once the calibrations now sent have arrived: they travel on topics of their own."""
    told = [feed.moment()]
    while len(told) < round(GUARD_S):
        told.append(feed.moment())
        if (told[-1].validity, told[-1].reason) == (told[-2].validity, told[-2].reason):
            return told[-1]
    raise AssertionError("the node's answers do not settle")


def other_p(feed: Feed, **places: float) -> None:
    info = feed.infos["right"]
    p = list(info.p)
    for name, value in places.items():
        p[int(name[1:])] = value
    feed.infos["right"] = dataclasses.replace(info, p=tuple(p))


def test_a_baseline_of_zero(feed: Feed) -> None:
    other_p(feed, p3=0.0)
    message = wait_for(feed, "the baseline is 0")
    assert message.validity == Instrument3DArray.UNCALIBRATED and valid_points(message) == {}


def test_a_calibration_of_another_size(feed: Feed) -> None:
    info = feed.infos["right"]
    k = tuple(2 * value for value in info.k[:8])
    feed.infos["right"] = dataclasses.replace(info, k=(*k, 1.0))
    message = wait_for(feed, "K has its centre at")
    assert message.validity == Instrument3DArray.UNCALIBRATED
    feed.infos["right"] = dataclasses.replace(info, width=info.height, height=info.width)
    assert wait_for(feed, "turned or cut").validity == Instrument3DArray.UNCALIBRATED


def wait_for(feed: Feed, said: str) -> Instrument3DArray:
    for _ in range(round(GUARD_S)):
        message = feed.moment()
        if said in message.reason:
            return message
    raise AssertionError(f"'{said}' was never said; the last was '{message.reason}'")


def test_a_calibration_that_changes(feed: Feed) -> None:
    for turn in range(4):
        other_p(feed, p3=-390.0 * (0.005 + 0.0001 * turn))
        for _ in range(round(GUARD_S)):
            message = feed.moment()
            if message.baseline == pytest.approx(0.005 + 0.0001 * turn):
                break
        assert message.validity == Instrument3DArray.OK and stereo_points(message)
    for _ in range(round(GUARD_S)):
        report = report_of(feed.diagnostics, NAMESPACE)
        if report is not None and "camera_info changed" in report.message:
            break
        feed.diagnostics.comes(lambda _: False, 0.2)
    assert report is not None and "camera_info changed" in report.message


def test_frames_that_the_perception_node_rejected(feed: Feed) -> None:
    bad = Status(Validity.INVALID_INPUT, "encoding 'x' is unknown")
    stamp = feed.next_stamp()
    feed.eye("right", stamp)
    feed.eye("left", stamp, status=bad, parts=("status",))
    message = feed.answer(stamp)
    assert (message.validity, message.instruments) == (Instrument3DArray.INVALID_INPUT, [])
    assert message.reason == "the left eye's frame was rejected: encoding 'x' is unknown"
    stamp = feed.next_stamp()
    feed.eye("right", stamp, status=bad, parts=("status",))
    feed.eye("left", stamp)
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.ONE_EYE and "the right eye's frame was rejected" in message.reason


def test_a_doubtful_eye_makes_doubtful_points(feed: Feed) -> None:
    message = feed.moment(status=Status(Validity.OUT_OF_BODY, "no tissue"))
    assert (message.validity, message.reason) == (Instrument3DArray.DOUBTFUL, "left eye OUT_OF_BODY: no tissue")
    assert stereo_points(message)


def test_images_that_cannot_be_read(feed: Feed) -> None:
    stamp = feed.next_stamp()
    broken = image(feed.seen["left"].image, feed.tester.now(), "left_optical")
    broken.header.stamp.sec, broken.header.stamp.nanosec = divmod(stamp, 10**9)
    broken.data = array("B", bytes(100))
    feed.eye("right", stamp)
    feed.eye("left", stamp, image=broken)
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.INVALID_INPUT and message.reason.startswith("left eye: ")
    assert feed.moment().validity == Instrument3DArray.OK


def test_instances_of_another_kind(feed: Feed) -> None:
    stamp = feed.next_stamp()
    wrong = image(feed.seen["left"].image, feed.tester.now(), "left_optical")
    wrong.header.stamp.sec, wrong.header.stamp.nanosec = divmod(stamp, 10**9)
    feed.eye("right", stamp)
    feed.eye("left", stamp, instances=wrong)
    message = feed.answer(stamp)
    assert message.validity == Instrument3DArray.INVALID_INPUT and "expected mono16" in message.reason


def test_a_right_eye_that_comes_later_is_no_other_calibration(tester: Tester, tmp_path: Path) -> None:
    with stereo_node(tmp_path / "log", "later"):
        feed = Feed(tester, "later")
        feed.eye("left", feed.next_stamp())
        while feed.points.comes(lambda message: message.validity == Instrument3DArray.ONE_EYE, 1.0) is None:
            feed.eye("left", feed.next_stamp())
        feed.prime()
        feed.diagnostics.clear()
        tester.wait(lambda: report_of(feed.diagnostics, "later") is not None, "diagnostics")
        values = {value.key: value.value for value in report_of(feed.diagnostics, "later").values}
        feed.close()
    assert values["calibration changes"] == "0" and values["calibration"].startswith("baseline 5.00 mm")


def test_the_left_eye_alone_by_parameter(tester: Tester, tmp_path: Path) -> None:
    with stereo_node(tmp_path / "log", "mono", eyes="left", shaft_mm=8.0):
        points = tester.subscribe(Instrument3DArray, "/mono/instruments_3d")
        feed = OneEye(tester, points)
        message = feed.first()
        tester.unsubscribe(points)
    assert message.validity == Instrument3DArray.ONE_EYE and "eyes: left" in message.reason
    found = valid_points(message)
    assert {point.source for point in found.values()} == {Keypoint3D.SHAFT_WIDTH}
    assert abs(found[1, "wrist"].position.z - TOOLS[0].wrist[2]) < 3 * found[1, "wrist"].covariance[8] ** 0.5


class OneEye(Feed):
    """A feed whose right eye nobody listens to."""

    def __init__(self, tester: Tester, points: object) -> None:
        self._camera = tester.camera
        tester.camera = lambda topic, kind: (  # type: ignore[method-assign, misc]
            self._camera(topic, kind) if "/left/" in topic else tester.node.create_publisher(kind, topic, 10)
        )
        try:
            super().__init__(tester, "mono")
        finally:
            tester.camera = self._camera  # type: ignore[method-assign]
        self.points = points  # type: ignore[assignment]

    def first(self) -> Instrument3DArray:
        for _ in range(round(GUARD_S)):
            self.eye("left", self.next_stamp())
            message = self.points.comes(lambda other: any(tool.valid for tool in other.instruments), 1.0)
            if message is not None:
                return message
        raise AssertionError("no points of the left eye")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"shaft_mm": "thick"}, "shaft_mm: 'thick' is no diameter"),
        ({"near_mm": 400.0}, "near_mm: 400 lies beyond far_mm, 300"),
        ({"eyes": "three"}, "eyes: 'three' is none of both, left"),
        ({"max_skew_ms": -1.0}, "max_skew_ms"),
    ],
)
def test_impossible_parameters(tester: Tester, tmp_path: Path, parameters: dict[str, object], said: str) -> None:
    log = tmp_path / "log"
    with stereo_node(log, "refused", **parameters) as process:
        assert process.wait(GUARD_S) == 2
    assert said in log.read_text() and "Traceback" not in log.read_text()


def test_it_ends_on_a_signal(tester: Tester, tmp_path: Path) -> None:
    log = tmp_path / "log"
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    with stereo_node(log, "ending") as process:
        tester.wait(lambda: report_of(diagnostics, "ending") is not None, "the node's diagnostics")
        tester.unsubscribe(diagnostics)
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD_S) == 0
    assert "Traceback" not in log.read_text()
