"""Shrinking by whole blocks against the plain mean and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clip_rl_perception.kernels.block_mean import LARGEST, block_mean, can_take
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.scene.types import Box, ContentArea


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("factors", [(1, 1), (2, 3), (3, 3), (4, 2), (5, 5), (LARGEST, LARGEST)])
def test_it_is_the_rounded_mean_of_each_block(factors: tuple[int, int]) -> None:
    factor_x, factor_y = factors
    image = noise(67, 95)
    height, width = 67 // factor_y, 95 // factor_x
    whole = image[: height * factor_y, : width * factor_x].astype(np.float64)
    mean = whole.reshape(height, factor_y, width, factor_x, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(block_mean(image, factor_x, factor_y), np.floor(mean + 0.5 + 1e-9))


def test_extremes_do_not_overflow() -> None:
    bright = np.full((LARGEST, LARGEST, 3), 255, np.uint8)
    np.testing.assert_array_equal(block_mean(bright, LARGEST, LARGEST), [[[255, 255, 255]]])


def test_the_division_is_exact_at_every_step_of_the_rounding() -> None:
    for side in range(1, LARGEST + 1):
        for total in range(0, 255 * side * side + 1, max(1, side * side // 3)):
            block = np.full(side * side, total // (side * side), np.uint8)
            block[: total % (side * side)] += 1
            mean = block_mean(np.repeat(block, 3).reshape(side, side, 3), side, side)
            assert mean[0, 0, 0] == (2 * total + side * side) // (2 * side * side)


def test_rows_may_lie_apart_and_pixels_may_not() -> None:
    image = noise(60, 90)
    window = image[5:50, 7:70]
    assert can_take(window, 3, 3)
    np.testing.assert_array_equal(block_mean(window, 3, 3), block_mean(np.ascontiguousarray(window), 3, 3))
    assert not can_take(image[:, ::2], 3, 3)
    assert not can_take(image[..., ::-1], 3, 3)
    assert not can_take(image, LARGEST + 1, 3)


def test_it_stands_for_opencvs() -> None:
    image = noise(66, 96)
    expected = cv2.resize(image, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(block_mean(image, 3, 3), expected)


@pytest.mark.parametrize("size", [(600, 750), (100, 120), (64, 96)])
@pytest.mark.parametrize("area", [None, ContentArea(Box(11, 7, 60, 50))])
def test_the_network_sees_a_turned_view_as_its_copy(size: tuple[int, int], area: ContentArea | None) -> None:
    bgr = noise(*size)
    bgr.setflags(write=False)
    view = make_letterbox(size, (64, 96), area)
    turned = bgr[..., ::-1]
    np.testing.assert_array_equal(to_network(turned, view), to_network(np.ascontiguousarray(turned), view))
