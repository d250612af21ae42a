"""What the stereo node is made of, without ROS: pairing by stamps, parameters, diagnostics."""

from __future__ import annotations

import math

import pytest
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_perception.nodes.diagnostics import Level
from clip_rl_perception.rig.eye_joining import IMAGE, INSTANCES, TAGS, EyeJoiner, JoinedFrame
from clip_rl_perception.rig.rig_health import RigHealth
from clip_rl_perception.rig.rig_parameters import RigParameters, shaft_diameters
from clip_rl_perception.ros.joining import STATUS
from clip_rl_perception.ros.parameter_fields import ParameterError
from clip_rl_perception.stereo.space_types import SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stamp_pairing import KEPT, MOST_KEPT, Moment, StampPairer

MS = 1_000_000


def pairer() -> StampPairer[str]:
    return StampPairer(10 * MS, 200 * MS)


def told(moments: list[Moment[str]]) -> list[tuple[str, str | None]]:
    return [(moment.left, moment.right) for moment in moments]


# ---------------------------------------------------------------- stamps


@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
def test_equal_stamps_are_known_at_once(order: tuple[str, str]) -> None:
    pairs = pairer()
    assert pairs.put(order[0], 100 * MS, order[0], 0) == []
    (moment,) = pairs.put(order[1], 100 * MS, order[1], 0)
    assert (moment.left, moment.right, moment.skew_ms) == ("left", "right", 0.0)


def test_the_nearest_of_several_is_taken_and_only_once() -> None:
    pairs = pairer()
    pairs.put("right", 93 * MS, "before", 0)
    pairs.put("right", 104 * MS, "after", 0)
    (moment,) = pairs.put("left", 100 * MS, "left", 0)
    assert (moment.right, moment.skew_ms) == ("after", 4.0)
    (moment,) = pairs.put("left", 101 * MS, "next", 0) or pairs.waited(200 * MS)
    assert moment.right == "before"


def test_a_nearer_one_may_still_come() -> None:
    pairs = pairer()
    pairs.put("right", 94 * MS, "early", 0)
    assert pairs.put("left", 100 * MS, "left", 0) == []
    assert told(pairs.put("right", 101 * MS, "late", 5 * MS)) == [("left", "late")]


def test_waiting_ends() -> None:
    pairs = pairer()
    pairs.put("right", 94 * MS, "early", 0)
    pairs.put("left", 100 * MS, "left", 7)
    assert pairs.waited(200 * MS) == []
    assert told(pairs.waited(200 * MS + 7)) == [("left", "early")]


def test_too_far_apart() -> None:
    pairs = pairer()
    pairs.put("left", 100 * MS, "left", 0)
    (moment,) = pairs.put("right", 116 * MS, "right", 0)
    assert (moment.right, moment.skew_ms, moment.seen) == (None, 16.0, True)
    assert told(pairs.put("left", 116 * MS, "next", 0)) == [("next", "right")]


def test_an_eye_that_never_came() -> None:
    pairs = pairer()
    pairs.put("left", 100 * MS, "left", 0)
    (moment,) = pairs.waited(300 * MS)
    assert (moment.right, moment.seen) == (None, False)


def test_moments_keep_their_order() -> None:
    pairs = pairer()
    pairs.put("left", 100 * MS, "one", 0)
    pairs.put("left", 133 * MS, "two", 0)
    assert told(pairs.put("right", 133 * MS, "of two", 0)) == [("one", None), ("two", "of two")]


@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
def test_a_clock_that_is_set_back_starts_both_eyes_anew(order: tuple[str, str]) -> None:
    pairs = pairer()
    for number in range(30):  # the right eye is twice as fast: frames of it are left over
        pairs.put("right", 60_000 * MS + number * 16 * MS, "old", 0)
        if number % 2:
            assert told(pairs.put("left", 60_000 * MS + number * 16 * MS, "old", 0)) == [("old", "old")]
    assert pairs.put(order[0], 100 * MS, order[0], 0) == []
    (moment,) = pairs.put(order[1], 100 * MS, order[1], 0)
    assert (moment.left, moment.right, moment.anew) == ("left", "right", True)
    pairs.put("right", 133 * MS, "right", 0)
    (moment,) = pairs.put("left", 133 * MS, "left", 0)
    assert (moment.right, moment.anew) == ("right", False)


@pytest.mark.parametrize("side", ["left", "right"])
def test_frames_that_wait_while_the_clock_is_set_back_are_told_of(side: str) -> None:
    pairs = pairer()
    pairs.put("right", 59_900 * MS, "right", 0)
    pairs.put("left", 60_000 * MS, "waits", 0)
    (moment,) = pairs.put(side, 100 * MS, "new", 0)
    assert (moment.left, moment.right, moment.anew) == ("waits", None, True)
    assert moment.fault == f"the clock of the {side} eye was set back while the frame waited"


def test_a_stamp_of_zero_is_of_no_moment() -> None:
    pairs = pairer()
    assert pairs.put("right", 0, "right", 0) == []
    (moment,) = pairs.put("left", 0, "left", 0)
    assert (moment.left, moment.right) == ("left", None)
    assert moment.fault == "left eye: header stamp is zero; stamp images when they are acquired"
    pairs.put("left", 100 * MS, "stamped", 0)
    (moment,) = pairs.waited(200 * MS)
    assert moment.fault == "right eye: header stamp is zero; stamp images when they are acquired"
    pairs.put("right", 133 * MS, "right", 300 * MS)
    assert told(pairs.put("left", 133 * MS, "left", 300 * MS)) == [("left", "right")]


def test_frames_of_one_stamp_make_one_pair() -> None:
    pairs = pairer()
    pairs.put("right", 100 * MS, "right", 0)
    assert told(pairs.put("left", 100 * MS, "left", 0)) == [("left", "right")]
    pairs.put("right", 100 * MS, "again", 0)
    (moment,) = pairs.put("left", 100 * MS, "again", 0)
    assert (moment.left, moment.right) == ("again", None)
    assert moment.fault == "left eye: stamp 0.100000000 s is the same as the last frame's"
    pairs.put("right", 133 * MS, "right", 0)
    assert told(pairs.put("left", 133 * MS, "left", 0)) == [("left", "right")]


def test_a_slow_left_eye_finds_the_right_frames_of_its_time() -> None:
    pairs: StampPairer[str] = StampPairer(10 * MS, 2000 * MS)
    for number in range(60):
        pairs.put("right", (1 + number) * 33 * MS, f"right {number}", number * 33 * MS)
    assert told(pairs.put("left", 33 * MS, "left", 1990 * MS)) == [("left", "right 0")]


@pytest.mark.parametrize(("period_ns", "kept"), [(33 * MS, KEPT), (0, MOST_KEPT)])
def test_an_eye_without_the_other_does_not_fill_memory(period_ns: int, kept: int) -> None:
    pairs = pairer()
    for number in range(10 * KEPT):
        pairs.put("right", (1 + number) * 33 * MS, "right", number * period_ns)
    assert len(pairs._right) == kept


# ---------------------------------------------------------------- messages of a frame


def joined(joiner: EyeJoiner, stamp_ns: int, parts: tuple[str, ...] = (IMAGE, TAGS, INSTANCES)) -> list[JoinedFrame]:
    for part in parts:
        assert joiner.put(part, stamp_ns, part) == []
    return joiner.put(STATUS, stamp_ns, SceneStatus(validity=SceneStatus.OK))


def test_an_image_waits_for_a_slow_perception_node() -> None:
    joiner = EyeJoiner()
    for number in range(1, 31):  # half a second of 60 Hz
        joiner.put(IMAGE, number, f"image {number}")
    (frame,) = joined(joiner, 1, (TAGS, INSTANCES))
    assert (frame.parts[IMAGE], frame.fault) == ("image 1", "")


def test_images_of_one_stamp_belong_to_no_frame_for_sure() -> None:
    joiner = EyeJoiner()
    joiner.put(IMAGE, 5, "one")
    joiner.put(IMAGE, 5, "another")
    (frame,) = joined(joiner, 5, (TAGS, INSTANCES))
    assert frame.fault == "two images have this stamp; stamp each when it is acquired"
    (frame,) = joined(joiner, 6)
    assert frame.fault == ""


def test_without_stamps_nothing_is_joined() -> None:
    (frame,) = joined(EyeJoiner(), 0)
    assert (frame.stamp_ns, frame.parts) == (0, {}) and frame.fault.startswith("header stamp is zero")


# ---------------------------------------------------------------- parameters


def test_diameters() -> None:
    assert shaft_diameters("") == (0.0, ())
    assert shaft_diameters("8.4") == (8.4, ())
    assert shaft_diameters(" 8.4 , clip-applier: 10, suction-instrument:5") == (
        8.4, (("clip-applier", 10.0), ("suction-instrument", 5.0)),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["thick", "clip-applier:", "-8", "nan", "8.4 mm", "1e9"])
def test_diameters_that_are_none(text: str) -> None:
    with pytest.raises(ParameterError, match=r"shaft_mm: .* is no diameter; expected 0.1 to 100 mm"):
        shaft_diameters(text)


@pytest.mark.parametrize(("text", "whom"), [("8,4", "of all"), ("8.4, 5", "of all"), ("a: 8, 9, a: 5", "of a")])
def test_a_diameter_is_given_once(text: str, whom: str) -> None:
    with pytest.raises(ParameterError, match=f"two diameters {whom}; expected one, decimals after a point"):
        shaft_diameters(text)


def test_parameters_become_the_matcher_s() -> None:
    config = RigParameters(near_mm=30.0, far_mm=200.0, shaft_mm="8", keypoint_px=2.0).config()
    assert (config.near_m, config.far_m, config.shafts.diameter_mm, config.keypoint_px) == (0.03, 0.2, 8.0, 2.0)
    with pytest.raises(ParameterError, match="near_mm: 300 lies beyond far_mm, 300"):
        RigParameters(near_mm=300.0).config()


# ---------------------------------------------------------------- diagnostics


def test_reports() -> None:
    health = RigHealth()
    report = health.report({"left": "/l"}, 100.0)
    assert (report.level, report.message) == (Level.WARN, "no frame of the left and the right eye")
    health.calibration = "baseline 5 mm"
    for number in range(10):
        at = 100.0 + number
        health.frame("left", at)
        health.frame("right", at)
        health.scene(SpaceScene(SpaceValidity.OK, skew_ms=2.0), at, 3.0, 40.0)
    report = health.report({"left": "/l", "right": "/r"}, 109.5)
    assert (report.level, report.message) == (Level.OK, "1.0 Hz, baseline 5 mm")
    assert report.values["skew median, max (ms)"] == "2.0, 2.0" and report.values["right rate (Hz)"] == "1.0"
    health.scene(SpaceScene(SpaceValidity.ONE_EYE, "late", skew_ms=math.nan), 109.6, 3.0, 40.0)
    report = health.report({}, 109.7)
    assert (report.level, report.message) == (Level.WARN, "1 of 11 moments not OK: late")
    health.changed(109.7)
    health.changed(109.8)
    assert "camera_info changed 2 times" in health.report({}, 109.9).message
    assert health.report({}, 200.0).message == "no frame of the left and the right eye"


def test_one_eye_is_as_expected_where_one_is_listened_to() -> None:
    health = RigHealth(("left",))
    assert health.report({}, 100.0).message == "no frame of the left eye"
    health.frame("left", 100.0)
    health.scene(SpaceScene(SpaceValidity.ONE_EYE, "the right eye is not used (eyes: left)"), 100.0, 3.0, 40.0)
    report = health.report({}, 100.1)
    assert (report.level, report.values["last problem"]) == (Level.OK, "") and "right rate (Hz)" not in report.values
    health.scene(SpaceScene(SpaceValidity.UNCALIBRATED, "no camera_info"), 100.2, 3.0, 40.0)
    assert health.report({}, 100.3).message == "1 of 2 moments not ONE_EYE: no camera_info"


def test_a_decoder_that_has_ended_is_an_error() -> None:
    health = RigHealth()
    health.frame("left", 100.0)
    report = health.report({}, 100.1, ["right"])
    assert report.level is Level.ERROR
    assert report.message == "the thread that decodes the right eye has ended; start the node again"
