"""Disparities to points, lines of disparities to axes, borders to cylinders: exact, and their covariances by trial."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.mono_depth import pose_of, width_pose
from clip_rl_perception.stereo.shaft_line import ShaftLine, axis_of, fit_line
from clip_rl_perception.stereo.shaft_outline import ShaftOutline
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry, stereo_geometry
from clip_rl_perception.stereo.triangulation import covariances_of, place_covariance, points_of
from stereo_scene import Rig

RIG = Rig(size=(1280, 1024), focal=1000.0)
TRIALS = 4000


@pytest.fixture
def geometry() -> StereoGeometry:
    return stereo_geometry(RIG.info(0), RIG.info(1), RIG.size, RIG.size, rectified=False)


def seen_at(points: DoubleArray) -> DoubleArray:
    left, right = RIG.pixels(0, points), RIG.pixels(1, points)
    return np.column_stack([left, left[:, 0] - right[:, 0]])


def test_points_are_exact(geometry: StereoGeometry) -> None:
    points = np.array([(0.01, -0.02, 0.1), (-0.03, 0.01, 0.05)])
    assert np.allclose(points_of(geometry, seen_at(points)), points, atol=1e-12)


def test_covariances_are_those_of_trials(geometry: StereoGeometry) -> None:
    point = np.array([(0.012, -0.02, 0.09)])
    seen = seen_at(point)
    spread = np.array(place_covariance(1.5, (0.8, 0.6), 0.05, 0.2, 0.3))
    (said,) = covariances_of(geometry, seen, spread[None])
    drawn = np.random.default_rng(0).multivariate_normal(seen[0], spread, TRIALS)
    found = points_of(geometry, drawn)
    assert np.allclose(np.cov(found.T), said, rtol=0.12, atol=0.03 * np.abs(said).max())
    away = found - point
    inside = np.einsum("ni,ij,nj->n", away, np.linalg.inv(said), away) < 6.251  # 90 % of three dimensions
    assert 0.88 < inside.mean() < 0.92


def test_a_place_too_far_along_has_the_depth_from_there() -> None:
    spread = np.array(place_covariance(2.0, (1.0, 0.0), 0.1, 0.0, 0.0))
    assert np.allclose(spread, 4.0 * np.array([[1, 0, 0.1], [0, 1, 0], [0.1, 0, 0.01]]))


def test_a_line_leaves_out_what_lies_off_it() -> None:
    t = np.array([0.0, 50.0, 100.0, 150.0, 200.0])
    values = 40 + 0.1 * t
    values[2] += 9.0
    line = fit_line(t, values, np.full(5, 0.2), 200.0)
    assert line is not None
    assert np.allclose(line.values, (40, 60)) and line.slope == pytest.approx(0.1)
    disparity, std = line.at(100.0)
    assert disparity == pytest.approx(50.0) and 0.05 < std < 0.15
    assert fit_line(t[:1], values[:1], np.full(1, 0.2), 200.0) is None
    assert fit_line(t[:2] * 0.1, values[:2], np.full(2, 0.2), 200.0) is None


def test_axes_and_their_covariances(geometry: StereoGeometry) -> None:
    ends = np.array([(-0.03, 0.02, 0.06), (0.005, -0.005, 0.1)])
    seen = seen_at(ends)
    along = seen[1, :2] - seen[0, :2]
    length = float(np.linalg.norm(along))
    known = np.diag([0.05, 0.08]) ** 2
    true = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    line = ShaftLine(length, tuple(seen[:, 2].tolist()), tuple(map(tuple, known.tolist())))
    axis, covariance, std = axis_of(geometry, line, seen[0, :2], along / length, 0.5)
    assert np.allclose(axis, true, atol=1e-9)
    rng = np.random.default_rng(1)
    turned = []
    for _ in range(TRIALS // 4):
        moved = seen.copy()
        moved[:, 2] += rng.normal(0, (0.05, 0.08))
        moved[:, :2] += rng.normal(0, 0.5, 2)[:, None] * np.array([-along[1], along[0]]) / length
        points = points_of(geometry, moved)
        turned.append((points[1] - points[0]) / np.linalg.norm(points[1] - points[0]))
    seen_spread = np.cov(np.array(turned).T)
    assert np.allclose(seen_spread, covariance, atol=0.15 * np.abs(covariance).max())
    assert std == pytest.approx(float(np.sqrt(np.linalg.eigvalsh(seen_spread)[-1])), rel=0.1)


@pytest.mark.parametrize("end", [0, 1])
def test_an_end_off_along_its_ray_turns_an_axis_by_as_much_of_its_length(geometry: StereoGeometry, end: int) -> None:
    """Across the line of sight by its whole, along it not at all."""
    still = ((0.0, 0.0), (0.0, 0.0))
    ends = np.array([(0.0, 0.0, 0.1), (0.03, 0.0, 0.1)])  # the first straight ahead, the second beside it
    seen = seen_at(ends)
    length = float(np.linalg.norm(seen[1, :2] - seen[0, :2]))
    line = ShaftLine(length, tuple(seen[:, 2].tolist()), still)
    stds = tuple(0.002 * (place == end) for place in (0, 1))
    _, covariance, std = axis_of(geometry, line, seen[0, :2], np.array([1.0, 0.0]), 0.0, stds)
    across = 1.0 if end == 0 else 0.1 / math.hypot(0.03, 0.1)
    assert std == pytest.approx(0.002 * across / 0.03, rel=1e-6)
    assert np.allclose(covariance, np.diag([0.0, 0.0, std**2]), atol=1e-12)


def borders(start: DoubleArray, end: DoubleArray, radius: float) -> DoubleArray:
    """Directions of two points of each border of a cylinder: where rays touch it, by its cross-sections."""
    axis = (end - start) / np.linalg.norm(end - start)
    made = np.zeros((2, 2, 2))
    for place, point in enumerate((start, end)):
        across = point - (point @ axis) * axis  # towards the axis, in the plane of the section
        distance = np.linalg.norm(across)
        ahead = across / distance
        aside = np.cross(axis, ahead)
        for side, sign in enumerate((-1.0, 1.0)):
            sine = radius / distance
            touch = point - radius * sine * ahead + sign * radius * np.sqrt(1 - sine**2) * aside
            made[side, place] = touch[:2] / touch[2]
    return made


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((-0.03, 0.02, 0.06), (0.0, 0.0, 0.1)),
        ((0.04, 0.0, 0.1), (0.0, 0.01, 0.1)),
        ((0.0, -0.05, 0.12), (0.0, 0.0, 0.07)),
    ],
)
def test_the_borders_of_a_cylinder_tell_its_axis(
    start: tuple[float, float, float], end: tuple[float, float, float]
) -> None:
    first, last = np.array(start), np.array(end)
    made = borders(first, last, 0.004)
    along = last[:2] / last[2] - first[:2] / first[2]
    pose = pose_of(made, 0.004, along)
    assert pose is not None
    axis = (last - first) / np.linalg.norm(last - first)
    assert np.allclose(pose.direction, axis, atol=1e-9)
    assert np.allclose(pose.at(np.array([*(last[:2] / last[2]), 1.0])), last, atol=1e-9)
    assert np.allclose(pose.at(np.array([*(first[:2] / first[2]), 1.0])), first, atol=1e-9)


def outline(start: DoubleArray, end: DoubleArray, radius: float) -> ShaftOutline:
    """The same as offsets from a line, px."""
    at = borders(start, end, radius) * 1000.0
    origin, back = end[:2] / end[2] * 1000.0, start[:2] / start[2] * 1000.0
    along = (origin - back) / np.linalg.norm(origin - back)
    aside = np.array([-along[1], along[0]])
    ends = (-float(np.linalg.norm(origin - back)), -10.0)
    offsets = np.zeros((2, 2))
    for side in (0, 1):
        t, off = (at[side] - origin) @ along, (at[side] - origin) @ aside
        offsets[side] = np.interp(ends, t, off) if ends[1] <= max(t) else np.polyval(np.polyfit(t, off, 1), ends)
    offsets = np.sort(offsets, axis=0)
    known = np.stack([np.array([[1.3, 1.0], [1.0, 1.2]])] * 2) * 0.25
    return ShaftOutline(origin, along, ends, offsets, known)


def test_distance_by_width_and_its_spread() -> None:
    start, end = np.array((-0.03, 0.025, 0.07)), np.array((0.0, 0.0, 0.09))
    made = outline(start, end, 0.004)
    ray = (end[:2] / end[2])[None]
    found = width_pose(made, 1000.0, np.zeros(2), (0.008, 0.0001), ray, 0.0)
    assert found is not None
    _, axis_spread, points, spreads = found
    assert np.allclose(points[0], end, atol=1e-4)
    rng = np.random.default_rng(2)
    drawn, axes = [], []
    for _ in range(TRIALS // 4):
        offsets = np.stack([rng.multivariate_normal(made.offsets[side], made.covariance[side]) for side in (0, 1)])
        moved = ShaftOutline(made.origin, made.along, made.ends, offsets, made.covariance)
        pose = pose_of(moved.border_points(offsets) / 1000.0, 0.004 + rng.normal(0, 0.00005), made.along)
        assert pose is not None
        drawn.append(pose.at(np.array([*ray[0], 1.0])))
        axes.append(pose.direction)
    assert np.allclose(np.cov(np.array(drawn).T), spreads[0], atol=0.15 * np.abs(spreads[0]).max())
    assert np.allclose(np.cov(np.array(axes).T), axis_spread, atol=0.15 * np.abs(axis_spread).max())


def test_borders_that_are_none() -> None:
    same = np.array([[[0.0, 0.0], [0.1, 0.1]]] * 2)
    assert pose_of(same, 0.004, np.array([1.0, 0.0])) is None
