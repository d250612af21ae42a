"""Both eyes of synthetic scenes: disparity follows from depth, pictures show it, the tissue lies as the rig says."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from clip_rl_training.synthetic.camera import view_tissue
from clip_rl_training.synthetic.drawing.eyes import nearness_at
from clip_rl_training.synthetic.drawing.rendered_frame import InstrumentTruth, SyntheticFrame
from clip_rl_training.synthetic.drawing.shapes import transform
from clip_rl_training.synthetic.instruments.depth import SHAFT_RADIUS_MM, part_nearness
from clip_rl_training.synthetic.instruments.kinematics import part_homographies
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase, stereo_videos
from clip_rl_training.synthetic.stereo import BEHIND, Rig, focal_of

SIZE = (512, 640)


@pytest.fixture(scope="module")
def operation() -> SyntheticOperation:
    return SyntheticOperation(showcase(192, 256, 25.0), seed=3, frames=4)


def clean(seed: int, rig: Rig) -> SyntheticOperation:
    """A pair without what moves, hides or blurs pictures of surfaces."""
    config = dataclasses.replace(
        stereo_videos(*SIZE, 25.0, 50.0, 90.0), instrument_counts=(0.0, 1.0), motion_blur=0.0, defocus=0.0, smoke=0.0,
        overlay=0.0, occlusion=0.0, compression=0.0, interlace=0.0, blood=0.0, content_shapes=(1.0, 0.0, 0.0, 0.0),
    )  # fmt: skip
    return SyntheticOperation(config, seed, 2, rig)


def test_a_shaft_as_thick_as_it_is_lies_where_its_width_says(operation: SyntheticOperation) -> None:
    state, focal = operation._state, focal_of(256)
    assert state.placements and operation.left.focal == pytest.approx(focal)
    for placement in state.placements:
        frame, plane = part_homographies(placement, 0.1)[0], part_nearness(placement, 0.1, focal)[0]
        for back in (0.0, -3.0, -11.0):
            axis, rim = transform(np.array([[back, 0.0], [back, 1.0]]), frame)
            depth = 1.0 / nearness_at(plane, axis)
            assert np.linalg.norm(rim - axis) == pytest.approx(focal * SHAFT_RADIUS_MM * placement.thickness / depth)
        assert operation.left.tissue_mm >= BEHIND * focal * SHAFT_RADIUS_MM * placement.thickness / placement.radius - 1


def test_what_follows_on_the_shaft_hangs_together_and_points_away(operation: SyntheticOperation) -> None:
    for placement in operation._state.placements:
        frames, planes = part_homographies(placement, 0.0), part_nearness(placement, 0.0, 300.0)
        end = transform(np.zeros((1, 2)), frames[0])[0]
        by_joint = {part.joint: each for part, *each in zip(placement.design.parts, frames, planes, strict=True)}
        if "wrist" in by_joint:
            assert nearness_at(by_joint["wrist"][1], end) == pytest.approx(float(nearness_at(planes[0], end)))
        for frame, plane in by_joint.values():
            base, tip = transform(np.array([[0.0, 0.0], [2.0, 0.0]]), frame)
            assert plane is planes[0] or 0 < nearness_at(plane, tip) <= nearness_at(plane, base) + 1e-12


def test_disparity_is_that_of_two_pinhole_cameras(operation: SyntheticOperation) -> None:
    eye = operation.right
    plane = np.array([1e-6, -2e-6, 0.012])
    for pixel in ((0.0, 0.0), (200.0, 31.0), (77.5, 150.25)):
        depth = 1.0 / nearness_at(plane, np.array(pixel))
        moved = transform(np.array([pixel]), eye.of_plane(plane))[0]
        assert moved[1] == pixel[1]
        assert pixel[0] - moved[0] == pytest.approx(eye.focal * 5.0 / depth - eye.focal * 5.0 / eye.tissue_mm)


def best_disparity(left: SyntheticFrame, right: SyntheticFrame, at: tuple[float, float], expected: float) -> float:
    """Where the right picture is most like what lies round a place of the left one, to a fraction of a px."""
    x, y = round(at[0]), round(at[1])
    pictures = [cv2.GaussianBlur(frame.rgb, (0, 0), 0.7).mean(axis=2).astype(np.float32) for frame in (left, right)]
    half, reach, around = 6, 12, round(expected)
    patch = pictures[0][y - half : y + half + 1, x - half : x + half + 1]
    low = x - around - reach
    strip = pictures[1][y - half : y + half + 1, low - half : low + 2 * reach + half + 1]
    score = cv2.matchTemplate(strip, patch, cv2.TM_CCOEFF_NORMED)[0]
    best = int(score.argmax())
    assert 0 < best < len(score) - 1 and score[best] > 0.6
    before, here, after = score[best - 1 : best + 2]
    return x - (low + best + float((before - after) / (2 * (before - 2 * here + after))))


def depth_of_cylinder(pair: SyntheticOperation, truth: InstrumentTruth, place: np.ndarray) -> float:
    """How deep the surface of a shaft is at a pixel, mm: where the ray meets the cylinder."""
    middle, focal = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2]), pair.left.focal
    back, end = (np.array([*((np.array(at) - middle) / focal), 1.0]) / near for at, near in truth.shaft)
    radius = SHAFT_RADIUS_MM * pair._state.placements[truth.instance - 1].thickness
    axis = (end - back) / np.linalg.norm(end - back)
    ray = np.array([*((place - middle) / focal), 1.0])
    across, start = ray - axis * (ray @ axis), -end + axis * (end @ axis)
    a, b, c = across @ across, 2 * across @ start, start @ start - radius**2
    return float((-b - np.sqrt(b * b - 4 * a * c)) / (2 * a))


def test_pictures_show_the_surface_of_a_tilted_cylinder_before_its_axis() -> None:
    errors, of_axis, slants = [], [], []
    for seed in range(40):
        pair = clean(seed, Rig(6.0))
        left, right = pair.frame(0), pair.right_frame(0)
        for truth in left.instruments:
            (back, _), (end, _) = truth.shaft
            along = np.subtract(end, back) / np.linalg.norm(np.subtract(end, back))
            place = np.rint(np.array(end) - along * 4.0 * truth.radius)
            x, y = int(place[0]), int(place[1])
            if not 80 < x < SIZE[1] - 20 or not 20 < y < SIZE[0] - 20:
                continue
            if not (left.part_map[y - 12 : y + 13, x - 12 : x + 13] == 1).all():
                continue
            plane = part_nearness(pair._state.placements[truth.instance - 1], 0.0, pair.left.focal)[0]
            surface = pair.right.aside(1.0 / depth_of_cylinder(pair, truth, place))
            try:
                found = best_disparity(left, right, (x, y), surface)
            except AssertionError:
                continue  # too smooth a shaft to be sure of
            errors.append(found - surface)
            of_axis.append(found - pair.right.aside(float(nearness_at(plane, place))))
            slants.append(pair.space_of(left, right)[truth.instance].axis[2])
    assert len(errors) >= 12 and max(slants) > 0.5, "some shafts are seen slantwise"
    assert abs(float(np.median(errors))) < 0.1
    assert float(np.median(np.abs(errors))) < 0.2, "a window compares what lies at several depths"
    assert float(np.median(of_axis)) > 1.0, "the axis lies deeper than what is seen of the shaft"


@pytest.mark.parametrize("converging", [True, False])
def test_the_tissue_lies_still_where_the_eyes_converge_and_at_its_depth_where_not(converging: bool) -> None:
    pair = clean(3, Rig(5.0, converging))
    left, right = pair.frame(1), pair.right_frame(1)
    wanted = 0.0 if converging else pair.right.focal * 5.0 / pair.left.tissue_mm
    free = np.argwhere(cv2.erode((left.type_map == 0).astype(np.uint8), np.ones((61, 61))) > 0)
    inside = free[(free[:, 1] > 90) & (free[:, 1] < SIZE[1] - 30) & (free[:, 0] > 30) & (free[:, 0] < SIZE[0] - 30)]
    found = [best_disparity(left, right, (x, y), wanted) for y, x in inside[:: len(inside) // 9]]
    assert np.median(found) == pytest.approx(wanted, abs=0.15)


def test_beyond_the_canvas_tissue_goes_on() -> None:
    state = clean(3, Rig(5.0))._state
    assert state.camera is not None
    seen = view_tissue(state.tissue, state.camera, SIZE, 0.0, aside=2.0 * state.camera.margin + 40.0)
    steps = np.abs(np.diff(seen.red, axis=1)).mean(axis=0)
    assert steps[-30:].mean() > 0.5 * steps[:-100].mean(), "no streaks"


def test_points_in_space_project_to_both_pictures_where_they_are_seen() -> None:
    checked = 0
    for seed in range(12):
        pair = SyntheticOperation(stereo_videos(*SIZE, 25.0, 40.0, 160.0), seed, 4, Rig(5.5))
        left, right = pair.frame(2), pair.right_frame(2)
        focal, middle = pair.left.focal, np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
        beside = {truth.instance: truth for truth in right.instruments}
        for number, space in pair.space_of(left, right).items():
            told = {it.name: it for truth in left.instruments if truth.instance == number for it in truth.keypoints}
            assert np.linalg.norm(space.axis) == pytest.approx(1.0)
            assert set(told) == set(space.points)
            for name, point in space.points.items():
                x, y, z = np.array(point.position) * 1000.0
                here = np.array([x, y]) * focal / z + middle
                assert here == pytest.approx((told[name].x, told[name].y), abs=1e-6)
                assert point.visible_left == told[name].visible
                others = {it.name: it for it in beside[number].keypoints} if number in beside else {}
                if name != "entry" and name in others:
                    there = np.array([x - 5.5, y]) * focal / z + middle
                    assert there == pytest.approx((others[name].x, others[name].y), abs=1e-6)
                    assert others[name].visible == point.visible_right
                    checked += 1
    assert checked > 20


def test_shafts_end_in_the_range_of_depths() -> None:
    for seed in range(20):
        pair = SyntheticOperation(stereo_videos(192, 256, 25.0, 70.0, 110.0), seed, 1)
        for placement in pair._state.placements:
            depth = pair.left.focal * SHAFT_RADIUS_MM * placement.thickness / placement.radius
            assert 69.9 < depth < 110.1


def test_frames_are_reproducible_and_sensors_have_noise_of_their_own(operation: SyntheticOperation) -> None:
    again = SyntheticOperation(showcase(192, 256, 25.0), seed=3, frames=4)
    assert (operation.right_frame(2).rgb == again.right_frame(2).rgb).all()
    assert (SyntheticOperation(showcase(192, 256, 25.0), 3, 4, Rig(4.0)).frame(2).rgb == again.frame(2).rgb).all()
    left, right = operation.frame(2).rgb, operation.right_frame(2).rgb
    quiet = (operation.frame(2).type_map == 0) & (operation.right_frame(2).type_map == 0)
    assert (left[quiet] != right[quiet]).any()
    with pytest.raises(IndexError, match="frame 4 of a video of 4 frames"):
        operation.right_frame(4)
