"""Which calibration is in force for a moment of two eyes, and what is told where one of them is away or at fault."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.moments import MomentSolver, doubts_of, named_rectified
from clip_rl_perception.stereo.shaft_width import ShaftSizes
from clip_rl_perception.stereo.space_types import SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stereo_matcher import StereoConfig
from stereo_scene import Rig, Tool, views

TOOL = Tool((-0.02, 0.09, 0.03), (-0.012, 0.004, 0.085), ((-0.008, -0.006, 0.09), (-0.014, -0.006, 0.091)), "driver")


def test_a_calibration_is_told_once_and_again_when_it_changes() -> None:
    words: list[str] = []
    solver = MomentSolver(StereoConfig(), rectified=False, baseline_m=0.0, changed=words.append)
    rig = Rig()
    view = EyeView(np.zeros((512, 640, 3), np.uint8), None, ())
    infos = rig.info(0), rig.info(1)

    def solve(*given: object, right: EyeView | None = view) -> SpaceScene:
        return solver.solve(view, right, given, skew_ms=0.0, alone="late", doubts="")  # type: ignore[arg-type]

    assert solve(None, None).reason.startswith("no camera_info of the left eye came")
    assert solve(infos[0], None).reason.startswith("no camera_info of the right eye came")
    assert solve(infos[0], None, right=None).validity is SpaceValidity.ONE_EYE
    assert solve(*infos).validity is SpaceValidity.OK and solve(*infos).validity is SpaceValidity.OK
    assert words == [
        "left eye alone, focal length 520 px, raw images".replace("raw", "rectified"),
        "baseline 5.00 mm, focal length 520 px, rectified images",
    ]
    assert solve(*infos, right=None).reason == "late" and len(words) == 2
    bad = dataclasses.replace(infos[1], p=infos[0].p)
    for _ in range(2):
        scene = solve(infos[0], bad)
        assert scene.validity is SpaceValidity.UNCALIBRATED and "baseline is 0" in scene.reason
    assert len(words) == 3
    assert solve(*infos).baseline == pytest.approx(0.005)


def test_a_calibration_of_no_number_is_one_fault_and_not_a_new_one_each_time() -> None:
    words: list[str] = []
    solver = MomentSolver(StereoConfig(), rectified=True, baseline_m=0.0, changed=words.append)
    rig = Rig()
    view = EyeView(np.zeros((512, 640, 3), np.uint8), None, ())
    for bad in ("nan", "inf"):
        words.clear()
        for _ in range(3):
            fields = dataclasses.asdict(rig.info(1)) | {"p": [float(bad) for _ in range(12)]}
            fields["roi"] = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
            infos = rig.info(0), CameraInfo.of(SimpleNamespace(**fields))
            scene = solver.solve(view, view, infos, skew_ms=0.0, alone="", doubts="")
            assert scene.validity is SpaceValidity.UNCALIBRATED
            assert scene.reason.startswith("right camera_info has numbers that are missing or not finite")
        assert words == [scene.reason]


@pytest.mark.parametrize("fault", ["no pair", "swapped", "turned"])
def test_a_pair_at_fault_costs_the_left_eye_nothing_where_the_right_one_is_away(fault: str) -> None:
    rig = Rig()
    left, right = views(rig, [TOOL])
    good = rig.info(0), rig.info(1)
    bad = {
        "no pair": (good[0], dataclasses.replace(good[1], p=good[0].p)),
        "swapped": (good[0], dataclasses.replace(good[1], p=(*good[1].p[:3], -good[1].p[3], *good[1].p[4:]))),
        "turned": (good[0], dataclasses.replace(good[1], width=good[1].height, height=good[1].width)),
    }[fault]
    told: dict[str, SpaceScene] = {}
    words: list[str] = []
    for name, infos in (("good", good), ("bad", bad)):
        words.clear()
        config = StereoConfig(shafts=ShaftSizes(8.0))
        solver = MomentSolver(config, rectified=True, baseline_m=0.0, changed=words.append)

        def solve(other: EyeView | None, solver=solver, infos=infos) -> SpaceScene:  # type: ignore[no-untyped-def]
            return solver.solve(left, other, infos, skew_ms=0.0, alone="no right frame", doubts="")

        both = solve(right)
        told[name] = solve(None)
        assert both.validity is (SpaceValidity.OK if name == "good" else SpaceValidity.UNCALIBRATED)
        assert solve(right).validity is both.validity
        again = solve(None)
        assert (again.validity, again.reason) == (told[name].validity, told[name].reason)
        assert len(words) == 1  # an eye that comes and goes is no other calibration, and the fault stays told
    assert words == [both.reason]
    for scene in told.values():
        assert (scene.validity, scene.reason) == (SpaceValidity.ONE_EYE, "no right frame")
    one, other = (scene.instruments[0] for scene in told.values())
    assert [point.name for point in one.keypoints if point.valid] == ["entry", "wrist", "tip_1", "tip_2"]
    for point, same in zip(one.keypoints, other.keypoints, strict=True):
        assert np.allclose(point.position, same.position, equal_nan=True, atol=1e-4)


def test_a_left_calibration_at_fault_tells_nothing_of_either_eye() -> None:
    words: list[str] = []
    solver = MomentSolver(StereoConfig(), rectified=True, baseline_m=0.0, changed=words.append)
    rig = Rig()
    view = EyeView(np.zeros((512, 640, 3), np.uint8), None, ())
    infos = dataclasses.replace(rig.info(0), p=(0.0,) * 12), rig.info(1)
    for right in (view, None):
        scene = solver.solve(view, right, infos, skew_ms=0.0, alone="late", doubts="")
        assert scene.validity is SpaceValidity.UNCALIBRATED and scene.reason.startswith("left camera_info is not calib")


def test_another_left_calibration_while_the_right_eye_is_away_is_told_each_time() -> None:
    words: list[str] = []
    solver = MomentSolver(StereoConfig(), rectified=True, baseline_m=0.0, changed=words.append)
    first, second = Rig(), Rig(focal=500.0)
    view = EyeView(np.zeros((512, 640, 3), np.uint8), None, ())
    for rig, right in ((first, None), (second, view), (second, None), (first, None), (first, view)):
        solver.solve(view, right, (rig.info(0), rig.info(1)), skew_ms=0.0, alone="late", doubts="")
    assert words == [
        "left eye alone, focal length 520 px, rectified images",
        "baseline 5.00 mm, focal length 500 px, rectified images",
        "left eye alone, focal length 520 px, rectified images",
        "baseline 5.00 mm, focal length 520 px, rectified images",
    ]


def test_what_is_said_against_a_lone_eye_is_not_lost() -> None:
    solver = MomentSolver(StereoConfig(), rectified=True, baseline_m=0.0, changed=lambda text: None)
    view = EyeView(np.zeros((512, 640, 3), np.uint8), None, ())
    scene = solver.solve(view, None, (Rig().info(0), None), skew_ms=0.0, alone="late", doubts="left eye STALE: old")
    assert (scene.validity, scene.reason) == (SpaceValidity.DOUBTFUL, "left eye STALE: old; late")


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/rig/left/image_rect", True), ("/rig/left/image_rect_color", True), ("/rect", True),
        ("/left/image_rectified", True), ("/rectified/left/image_raw", False), ("/left/image_direct", False),
    ],
)  # fmt: skip
def test_rectified_is_what_the_topic_itself_is_called(topic: str, rectified: bool) -> None:
    assert named_rectified(topic) is rectified


def test_what_statuses_say_against_a_moment() -> None:
    assert doubts_of(Validity.OK, "", Validity.OK, "") == "" == doubts_of(Validity.OK, "", None, "")
    assert doubts_of(Validity.OK, "", Validity.STALE, "600 ms old") == "right eye STALE: 600 ms old"
