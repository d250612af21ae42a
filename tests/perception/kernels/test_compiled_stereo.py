"""The compiled loops of stereo against the same written down plainly."""

from __future__ import annotations

import dataclasses

import numpy as np
import plain_stereo as plain
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.disparity import REACH, SIDE, STRIP, MatchConfig, compared_columns, match
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.patches import Patches, border_weights, nodes_of, parabolas, take_patches
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry, stereo_geometry
from stereo_scene import Rig, Tool, views

RIG = Rig(distortion=(-0.25, 0.05, 0.001, -0.0005, 0.0), turned=(0.01, 0.015, -0.01))
TOOLS = [
    Tool((-0.02, 0.09, 0.03), (-0.012, 0.004, 0.085), ((-0.008, -0.006, 0.09), (-0.014, -0.006, 0.091))),
    Tool((0.1, -0.05, 0.05), (0.02, -0.012, 0.1), ((0.012, -0.008, 0.104), (0.014, -0.002, 0.104))),
]
COUNT = 40


@pytest.fixture(scope="module")
def eyes() -> tuple[EyeView, EyeView]:
    return views(RIG, TOOLS)


def geometry(rig: Rig = RIG) -> StereoGeometry:
    return stereo_geometry(rig.info(0), rig.info(1), rig.size, rig.size, rectified=False)


def anywhere(seed: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Places inside and outside the picture, steps from less than a pixel to large blocks, numbers of instruments."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((-60, -60), (700, 570), (COUNT, 2))
    centres[0] = np.nan
    centres[1] = 1e7
    return centres, rng.uniform(0.75, 14.0, COUNT), rng.integers(0, 3, COUNT).tolist()


def parts_of(view: EyeView, eye: EyeGeometry, seed: int) -> tuple[Patches, Patches]:
    """As they are compiled, and plainly."""
    centres, steps, numbers = anywhere(seed)
    whole = np.full(COUNT, STRIP[1] // 2)
    made = take_patches(geometry(), eye, view, centres, steps, numbers, whole, STRIP)
    return made, plain.take_patches(geometry(), eye, view, centres, steps, numbers, STRIP)


def test_samples_of_a_part_lie_where_the_lens_has_them() -> None:
    rig = geometry()
    centres, steps = np.array([(80.0, 60.0), (320.0, 256.0), (560.0, 440.0)]), np.array([0.8, 1.0, 1.4])
    height, width = STRIP
    maps = parabolas(height) @ nodes_of(rig, rig.right, centres, steps, STRIP) @ parabolas(width).T
    down, across = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    offsets = np.stack([across, down], axis=-1).reshape(-1, 2)
    for told, centre, step in zip(maps, centres, steps, strict=True):
        seen = rig.original(rig.right, centre + step * offsets)
        assert np.abs(told.reshape(2, -1).T - seen).max() < 0.05


def as_gray(image: ByteArray) -> ByteArray:
    return np.ascontiguousarray(image[..., 1])


def as_mirrored(image: ByteArray) -> ByteArray:
    return image[::-1, ::-1]


def as_rows_apart(image: ByteArray) -> ByteArray:
    return np.pad(image, ((0, 0), (0, 5), (0, 0)))[:, :-5]


@pytest.mark.parametrize("form", [np.array, as_gray, as_mirrored, as_rows_apart])
def test_parts_are_those_of_the_plain_way(eyes: tuple[EyeView, EyeView], form: object) -> None:
    view = dataclasses.replace(eyes[0], image=form(eyes[0].image))  # type: ignore[operator]
    made, expected = parts_of(view, geometry().left, 1)
    np.testing.assert_array_equal(made.own, expected.own)
    np.testing.assert_array_equal(made.free, expected.free)
    assert expected.own.any() and expected.free.any() and not expected.free.all()
    # OpenCV before 5 reads between blocks at 32 places alone.
    np.testing.assert_allclose(made.gray, expected.gray, atol=4.0)
    assert np.abs(made.gray - expected.gray).mean() < 0.1


def test_masks_of_half_the_size_and_none(eyes: tuple[EyeView, EyeView]) -> None:
    owners = eyes[1].instances
    assert owners is not None
    for instances in (owners[::2, ::2], None):
        made, expected = parts_of(dataclasses.replace(eyes[1], instances=instances), geometry().right, 2)
        np.testing.assert_array_equal(made.own, expected.own)
        np.testing.assert_array_equal(made.free, expected.free)


def test_of_what_is_not_asked_for_nothing_is_read(eyes: tuple[EyeView, EyeView]) -> None:
    centres, steps, numbers = anywhere(3)
    half, middle = np.arange(COUNT) % (STRIP[1] // 2), STRIP[1] // 2
    view, eye = eyes[0], geometry().left
    made = take_patches(geometry(), eye, view, centres, steps, numbers, half, STRIP)
    whole = take_patches(geometry(), eye, view, centres, steps, numbers, np.full(COUNT, middle), STRIP)
    inside = np.abs(np.arange(STRIP[1]) - middle) <= half[:, None]
    np.testing.assert_allclose(made.gray, whole.gray * inside[:, None], atol=1e-3)
    np.testing.assert_array_equal(made.own, whole.own)


def test_borders_are_those_of_the_plain_way(eyes: tuple[EyeView, EyeView]) -> None:
    made, _ = parts_of(eyes[0], geometry().left, 4)
    radii = [1 + index % 2 for index in range(COUNT)]
    expected = plain.border_weights(made, radii)
    assert expected.any()
    np.testing.assert_array_equal(border_weights(made, radii), expected)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_what_the_plain_way_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right, weights = drawn(rng), drawn(rng), rng.uniform(0, 1, (2, COUNT, *STRIP)).astype(np.float32)
    weights[weights < 0.6] = 0
    for index in range(COUNT):  # most show the same, moved, brighter and noisy
        if index % 4:
            right.gray[index] = 0.8 * np.roll(left.gray[index], int(rng.integers(-9, 10)), axis=1) + 20
            right.gray[index] += rng.normal(0, 0.1 + index, STRIP)
    weights[:, 3] = 0
    left.gray[7] = right.gray[7] = 50
    ranges, row_stds, config = rng.uniform(0, 14, COUNT), rng.uniform(0, 0.5, COUNT), MatchConfig()
    expected = plain.search(left, right, (weights[0], weights[1]), ranges, row_stds, config)
    for gray, half in zip((left.gray, right.gray), compared_columns(ranges), strict=True):
        gray[np.broadcast_to((np.abs(np.arange(STRIP[1]) - STRIP[1] // 2) > half[:, None])[:, None], gray.shape)] = 0
    made = match(left, right, (weights[0], weights[1]), ranges, row_stds, config)
    # Of what is all the same, single precision leaves a likeness that is rounding alone.
    assert made[7].score == 0
    expected[7, 0] = 0
    told = 0
    for one, (score, _, _, _, _, shift, std) in zip(made, expected.tolist(), strict=True):
        assert one.score == pytest.approx(score, abs=1e-3)
        if score > 0.6:
            assert one.shift == pytest.approx(shift, abs=1e-3) and one.std == pytest.approx(std, rel=1e-3)
            told += not one.reason
    assert told >= 5


def drawn(rng: np.random.Generator) -> Patches:
    """Smooth patterns, of which a few are out of sight in part."""
    coarse = rng.uniform(0, 255, (COUNT, STRIP[0] // 2 + 2, STRIP[1] // 2 + 2)).astype(np.float32)
    gray = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, : STRIP[0], : STRIP[1]]
    gray = (gray + np.roll(gray, 1, axis=1) + np.roll(gray, 1, axis=2)) / 3
    free = np.ones_like(gray)
    free[::5, :, : REACH + SIDE // 3] = 0
    return Patches(np.ascontiguousarray(gray), np.ones_like(gray), free)
