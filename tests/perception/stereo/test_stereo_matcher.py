"""Two eyes' frames of rendered instruments to points in space: against the exact ones, and what must give none."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.fit_record import MOMENTS
from clip_rl_perception.stereo.shaft_width import ShaftSizes
from clip_rl_perception.stereo.space_types import Instrument3D, Keypoint3D, Source, SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry, stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoConfig, StereoMatcher
from stereo_scene import Rig, Tool, entry_in_space, points_of, views

PLAIN = Rig()
BENT = Rig(distortion=(-0.25, 0.05, 0.001, -0.0005, 0.0), turned=(0.01, 0.015, -0.01))
STEEP = Tool((-0.02, 0.09, 0.03), (-0.012, 0.004, 0.085), ((-0.008, -0.006, 0.09), (-0.014, -0.006, 0.091)), "driver")
ASLANT = Tool((0.1, -0.05, 0.05), (0.02, -0.012, 0.1), ((0.012, -0.008, 0.104), (0.014, -0.002, 0.104)), "prograsp")
TOOLS = [STEEP, ASLANT]
SHAFTS = ShaftSizes(8.0)


@functools.cache
def seen(rig: Rig = PLAIN, keypoint_px: float = 0.0) -> tuple[EyeView, EyeView]:
    return views(rig, TOOLS, keypoint_px=keypoint_px)


def geometry_of(rig: Rig) -> StereoGeometry:
    return stereo_geometry(rig.info(0), rig.info(1), rig.size, rig.size, rectified=False)


def matched(left: EyeView, right: EyeView, rig: Rig = PLAIN, *, skew_s: float = 0.0) -> SpaceScene:
    return StereoMatcher(geometry_of(rig), StereoConfig(shafts=SHAFTS)).match(left, right, skew_s=skew_s)


def points(tool: Instrument3D) -> dict[str, Keypoint3D]:
    return {point.name: point for point in tool.keypoints}


def far(point: Keypoint3D, true: tuple[float, float, float]) -> tuple[float, float]:
    """Distance in m, and in standard deviations."""
    away: DoubleArray = np.array(point.position) - true
    covariance = np.reshape(point.covariance, (3, 3))
    assert np.linalg.eigvalsh(covariance)[0] > 0
    return float(np.linalg.norm(away)), float(np.sqrt(away @ np.linalg.inv(covariance) @ away))


def unsure(view: EyeView, name: str, confidence: float) -> EyeView:
    """The same frame, whose tags are less sure of a keypoint."""
    tags = []
    for tag in view.instruments:
        told = [dataclasses.replace(p, confidence=confidence) if p.name == name else p for p in tag.keypoints]
        tags.append(dataclasses.replace(tag, keypoints=tuple(told)))
    return dataclasses.replace(view, instruments=tuple(tags))


def without(view: EyeView, **change: object) -> EyeView:
    return dataclasses.replace(view, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("eye", [0, 1], ids=["left", "right"])
def test_of_a_keypoint_that_an_eye_is_not_sure_of_nothing_is_told(eye: int) -> None:
    frames = list(seen())
    frames[eye] = unsure(frames[eye], "tip_1", 0.54)
    for tool in matched(frames[0], frames[1]).instruments:
        found = points(tool)
        assert found["tip_1"].reason == f"not sure (0.54, expected 0.55) in the {('left', 'right')[eye]} eye"
        assert not found["tip_1"].valid and found["tip_2"].valid and found["wrist"].valid
    least = StereoConfig(shafts=SHAFTS, keypoint_confidence=0.5)
    scene = StereoMatcher(geometry_of(PLAIN), least).match(frames[0], frames[1])
    assert all(points(tool)["tip_1"].valid for tool in scene.instruments)


def test_keypoints_that_are_nowhere_near_do_not_keep_instruments_apart() -> None:
    left, right = seen()
    tags = []
    for tag in left.instruments:  # as an unsure network has them: all three somewhere else
        told = [dataclasses.replace(p, y=p.y + (0 if p.name == "entry" else 150)) for p in tag.keypoints]
        tags.append(dataclasses.replace(tag, keypoints=tuple(told)))
    lost = dataclasses.replace(left, instruments=tuple(tags))
    surely = matched(lost, right)
    assert surely.reason == "none of 2 instruments of the left eye fits one of 2 of the right eye"
    assert all(not point.valid for tool in surely.instruments for point in tool.keypoints if tool.right_track_id)
    for name in ("wrist", "tip_1", "tip_2"):
        lost = unsure(lost, name, 0.29)
    assert [(tool.left_track_id, tool.right_track_id) for tool in matched(lost, right).instruments] == [
        (1, 11),
        (2, 12),
    ]


@pytest.mark.parametrize(("apart", "told"), [(9, True), (12, False)])
def test_a_tip_that_both_eyes_tags_place_apart_is_not_told(apart: int, told: bool) -> None:
    left, right = seen()
    tags = []
    for tag in right.instruments:
        moved = [dataclasses.replace(p, x=p.x + apart * (p.name == "tip_1")) for p in tag.keypoints]
        tags.append(dataclasses.replace(tag, keypoints=tuple(moved)))
    for tool in matched(left, dataclasses.replace(right, instruments=tuple(tags))).instruments:
        found = points(tool)
        assert found["tip_1"].valid == told and found["tip_2"].valid and found["wrist"].valid, found["tip_1"]
        assert told or found["tip_1"].reason == f"both eyes' tags place it {apart} px apart"


@pytest.mark.parametrize(("confidence", "together"), [(0.54, True), (0.9, False)], ids=["unsure", "sure"])
def test_a_wrist_that_is_not_sure_turns_no_instrument_around(confidence: float, together: bool) -> None:
    """Told on the far side of the entry: only where an eye is sure of it, the shaft of another instrument."""
    left, right = seen()
    tags = []
    for tag in right.instruments:
        told = {point.name: point for point in tag.keypoints}
        entry, wrist = told["entry"], told["wrist"]
        behind = dataclasses.replace(wrist, x=2 * entry.x - wrist.x, y=2 * entry.y - wrist.y, confidence=confidence)
        tags.append(dataclasses.replace(tag, keypoints=tuple({**told, "wrist": behind}.values())))
    scene = matched(left, without(right, instruments=tuple(tags)))
    pairs = [(tool.left_track_id, tool.right_track_id) for tool in scene.instruments]
    assert all(all(pair) == together for pair in pairs) and len(pairs) == len(TOOLS) * (1 if together else 2)
    assert not together or all(points(tool)["tip_1"].valid for tool in scene.instruments)


def test_where_the_wrist_is_not_sure_there_is_neither_axis_nor_entry() -> None:
    left, right = seen()
    scene = matched(unsure(left, "wrist", 0.3), right)
    for tool in scene.instruments:
        assert np.isnan(tool.axis).all() and np.isnan(tool.axis_std)
        for name in ("wrist", "entry"):
            assert points(tool)[name].reason == "not sure (0.30, expected 0.55) in the left eye"
        assert points(tool)["tip_1"].valid
    alone = StereoMatcher(geometry_of(PLAIN), StereoConfig(shafts=SHAFTS)).left_alone(
        unsure(left, "wrist", 0.3), "lost"
    )
    known = {name for tool in alone.instruments for name, point in points(tool).items() if point.valid}
    assert known == {"tip_1", "tip_2"}, "by the width of its shaft neither"


@pytest.mark.parametrize("rig", [PLAIN, BENT], ids=["plain", "bent"])
def test_points_and_axes_are_where_they_are(rig: Rig) -> None:
    scene = matched(*seen(rig), rig)
    assert (scene.validity, scene.reason, scene.baseline) == (SpaceValidity.OK, "", pytest.approx(0.005))
    assert [(tool.left_track_id, tool.right_track_id) for tool in scene.instruments] == [(1, 11), (2, 12)]
    for tool, true in zip(scene.instruments, TOOLS, strict=True):
        found = points(tool)
        for name, where in points_of(true).items():
            assert found[name].source is Source.STEREO, found[name].reason
            metres, deviations = far(found[name], where)
            assert metres < 0.003 and deviations < 3.5, (name, metres, deviations)
        if found["entry"].valid:  # of a steep shaft near the lens the right eye may show too little
            metres, deviations = far(found["entry"], entry_in_space(rig, true))
            assert metres < 0.004 and deviations < 3.0, (metres, deviations)
        axis = np.array(true.wrist) - true.entry
        turned = np.arccos(np.array(tool.axis) @ axis / np.linalg.norm(axis))
        assert turned < max(3.5 * tool.axis_std, 0.02) and tool.axis_std < np.radians(12)
        assert abs(tool.width_distance - true.wrist[2]) < 3 * tool.width_distance_std < 0.03
    assert points(scene.instruments[1])["entry"].valid


def test_the_two_agree_on_the_type_and_the_class() -> None:
    tool = matched(*seen()).instruments[0]
    assert (tool.class_name, tool.type_name, tool.valid, tool.reason) == ("instrument", "driver", True, "")


def test_keypoints_that_are_off_make_points_less_sure() -> None:
    sharp, blurred = StereoMatcher(geometry_of(PLAIN)), StereoMatcher(geometry_of(PLAIN))
    for seed in range(12):
        sharp.match(*seen())
        left, right = views_with_noise(seed)
        scene = blurred.match(left, right)
    exact = points(sharp.match(*seen()).instruments[0])["tip_1"]
    vague = points(scene.instruments[0])["tip_1"]
    assert vague.covariance[0] > 1.5 * exact.covariance[0]


def views_with_noise(seed: int) -> tuple[EyeView, EyeView]:
    rng = np.random.default_rng(seed)
    made = []
    for view in seen():
        tags = []
        for tag in view.instruments:
            moved = tuple(
                dataclasses.replace(point, x=point.x + rng.normal(0, 3), y=point.y + rng.normal(0, 3))
                for point in tag.keypoints
            )
            tags.append(dataclasses.replace(tag, keypoints=moved))
        made.append(without(view, instruments=tuple(tags)))
    return made[0], made[1]


def test_a_late_eye_makes_points_of_moving_things_less_sure() -> None:
    left, right = seen()
    moving = without(
        left, instruments=tuple(dataclasses.replace(tag, velocity=(100.0, 0.0)) for tag in left.instruments)
    )
    at_once, late = (matched(moving, right, skew_s=skew) for skew in (0.0, 0.01))
    assert late.skew_ms == pytest.approx(10.0)
    for one, other in zip(at_once.instruments, late.instruments, strict=True):
        assert points(other)["tip_1"].covariance[8] > 1.2 * points(one)["tip_1"].covariance[8]


def test_what_one_eye_does_not_see_is_not_told() -> None:
    left, right = seen()
    tags = list(right.instruments)
    hidden = tuple(dataclasses.replace(point, visible=point.name != "tip_2") for point in tags[0].keypoints)
    scene = matched(left, without(right, instruments=(dataclasses.replace(tags[0], keypoints=hidden), tags[1])))
    told = points(scene.instruments[0])["tip_2"]
    assert (told.valid, told.reason) == (False, "covered in the right eye")
    assert np.isnan(told.position).all() and np.isnan(told.covariance).all()
    assert points(scene.instruments[0])["tip_1"].valid


def test_a_tip_that_tags_call_visible_and_pixels_do_not_show_is_not_told() -> None:
    """Something covers it in the right eye alone."""
    left, right = seen()
    image, owners = right.image.copy(), np.array(right.instances)
    tip = next(point for point in right.instruments[0].keypoints if point.name == "tip_1")
    rows, columns = (slice(round(at) - 25, round(at) + 26) for at in (tip.y, tip.x))
    rng = np.random.default_rng(0)
    image[rows, columns] = rng.integers(0, 255, (51, 51, 1), np.uint8)
    scene = matched(left, without(right, image=image))
    told = points(scene.instruments[0])["tip_1"]
    assert not told.valid and told.reason
    owners[rows, columns] = 99
    told = points(matched(left, without(right, image=right.image, instances=owners)).instruments[0])["tip_1"]
    assert not told.valid and told.reason


def test_an_instrument_of_one_eye_is_told_by_its_width() -> None:
    left, right = seen()
    scene = matched(left, without(right, instruments=right.instruments[:1]))
    pair, alone = scene.instruments
    assert (pair.right_track_id, alone.left_track_id, alone.right_track_id) == (11, 2, 0)
    for name, true in points_of(ASLANT).items():
        told = points(alone)[name]
        assert told.source is Source.SHAFT_WIDTH
        metres, deviations = far(told, true)
        assert metres < 0.015 and deviations < 3
    scene = matched(without(left, instruments=left.instruments[:1]), right)
    other = scene.instruments[1]
    assert (other.left_track_id, other.right_track_id, other.valid) == (0, 12, False)
    assert other.reason == "no instrument of the left eye fits it"


def test_without_a_diameter_one_eye_tells_nothing() -> None:
    left, _ = seen()
    scene = StereoMatcher(geometry_of(PLAIN)).left_alone(left, "no right frame within 10 ms")
    assert (scene.validity, scene.reason) == (SpaceValidity.ONE_EYE, "no right frame within 10 ms")
    assert [tool.valid for tool in scene.instruments] == [False, False]
    assert "the diameter of its shaft is not known (shaft_mm)" in scene.instruments[0].reason
    known = StereoMatcher(geometry_of(PLAIN), StereoConfig(shafts=ShaftSizes(0.0, (("driver", 8.0),))))
    assert [tool.valid for tool in known.left_alone(left, "late").instruments] == [True, False]


def test_a_wrong_diameter_or_focal_length_is_seen() -> None:
    matcher = StereoMatcher(geometry_of(PLAIN), StereoConfig(shafts=ShaftSizes(20.0)))
    scene = matcher.match(*seen())
    assert scene.validity is SpaceValidity.DOUBTFUL
    assert "by the width of its shaft" in scene.reason and "track 1 is" in scene.reason


def test_swapped_eyes_are_told_and_give_nothing() -> None:
    left, right = seen()
    matcher = StereoMatcher(geometry_of(PLAIN), StereoConfig(shafts=SHAFTS))
    scenes = [matcher.match(right, left) for _ in range(2)]
    assert all(scene.validity is SpaceValidity.DOUBTFUL for scene in scenes)
    assert "swapped" in scenes[1].reason and "fits" in scenes[0].reason, "two pairs of one moment may be masks that err"
    assert not any(tool.valid for scene in scenes for tool in scene.instruments)


def upside_down() -> tuple[EyeView, EyeView]:
    """The right camera stands on its head."""
    left, right = seen()
    width, height = right.size
    turned = []
    for tag in right.instruments:
        keypoints = tuple(
            dataclasses.replace(point, x=width - 1 - point.x, y=height - 1 - point.y) for point in tag.keypoints
        )
        tip, axis = (width - 1 - tag.tip[0], height - 1 - tag.tip[1]), (-tag.axis[0], -tag.axis[1])
        turned.append(dataclasses.replace(tag, keypoints=keypoints, tip=tip, axis=axis))
    assert right.instances is not None
    return left, EyeView(right.image[::-1, ::-1], right.instances[::-1, ::-1], tuple(turned))


def of_another_rig() -> Rig:
    """Whose right camera looks 3 degrees higher."""
    return Rig(turned=(float(np.radians(2)), 0.0, 0.0))


@pytest.mark.parametrize("fault", ["upside down", "turned by 3 degrees", "another rig's calibration"])
def test_a_camera_that_is_turned_is_told_after_some_moments_and_gives_nothing(fault: str) -> None:
    rig = of_another_rig() if fault == "another rig's calibration" else PLAIN
    views_of = {"upside down": upside_down, "turned by 3 degrees": lambda: seen(of_another_rig())}
    left, right = views_of.get(fault, seen)()
    matcher = StereoMatcher(geometry_of(rig), StereoConfig(shafts=SHAFTS))
    scenes = [matcher.match(left, right) for _ in range(MOMENTS)]
    reasons = [scene.reason for scene in scenes]
    assert reasons[:-1] == ["none of 2 instruments of the left eye fits one of 2 of the right eye"] * (MOMENTS - 1)
    assert "is a camera turned, or the calibration another rig's?" in reasons[-1]
    for scene in scenes:
        assert scene.validity is SpaceValidity.DOUBTFUL
        assert not any(point.source is Source.STEREO for tool in scene.instruments for point in tool.keypoints)


def test_masks_that_differ_now_and_then_say_nothing_of_the_rig() -> None:
    left, right = seen()
    matcher = StereoMatcher(geometry_of(PLAIN))
    one, other = (without(view, instruments=view.instruments[:1]) for view in (left, right))
    apart = without(right, instruments=right.instruments[1:])
    for moment in range(4 * MOMENTS):
        fits = moment % 4 == 0
        scene = matcher.match(left, right) if fits else matcher.match(one, apart)
        assert fits == (scene.validity is SpaceValidity.OK)
        said = "" if fits else "none of 1 instruments of the left eye fits one of 1 of the right eye"
        assert scene.reason == said
    assert matcher.match(one, other).validity is SpaceValidity.OK


def test_without_pixels_of_tracks_nothing_is_told() -> None:
    left, right = seen()
    scene = matched(without(left, instances=None), right)
    assert {tool.reason for tool in scene.instruments} == {"there is no instances image of the left eye"}
    fresh = without(left, instruments=tuple(dataclasses.replace(tag, track_id=0) for tag in left.instruments))
    scene = matched(fresh, right)
    assert {tool.reason for tool in scene.instruments} == {"its track of the left eye is not confirmed yet"}


def test_masks_of_the_network_s_size_will_do() -> None:
    left, right = seen()
    assert left.instances is not None and right.instances is not None
    small = [without(view, instances=np.ascontiguousarray(view.instances[::2, ::2])) for view in (left, right)]  # type: ignore[index]
    scene = matched(*small)
    for tool, true in zip(scene.instruments, TOOLS, strict=True):
        metres, _ = far(points(tool)["tip_1"], true.tips[0])
        assert metres < 0.004


def test_jaws_that_the_eyes_name_the_other_way_round() -> None:
    left, right = seen()
    names = {"tip_1": "tip_2", "tip_2": "tip_1"}
    exchanged = tuple(
        dataclasses.replace(
            tag, keypoints=tuple(dataclasses.replace(p, name=names.get(p.name, p.name)) for p in tag.keypoints)
        )
        for tag in right.instruments
    )
    scene = matched(left, without(right, instruments=exchanged))
    for tool, true in zip(scene.instruments, TOOLS, strict=True):
        for name, where in points_of(true).items():
            told = points(tool)[name]
            assert told.valid and far(told, where)[0] < 0.004, name


def test_no_instruments() -> None:
    left, right = (without(view, instruments=()) for view in seen())
    scene = matched(left, right)
    assert (scene.validity, scene.instruments) == (SpaceValidity.OK, ())


def test_mono_images_of_one_plane() -> None:
    left, right = (without(view, image=np.ascontiguousarray(view.image[:, :, 0])) for view in seen())
    assert all(tool.valid for tool in matched(left, right).instruments)
