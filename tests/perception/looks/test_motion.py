"""Optical flow on pictures whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.looks.motion import motion_between, picture_of


def texture(shift: tuple[int, int] = (0, 0), size: tuple[int, int] = (144, 176), seed: int = 3) -> ByteArray:
    """A picture of soft spots, moved by (x, y) px."""
    large = np.random.default_rng(seed).integers(0, 256, (60, 60), dtype=np.uint8)
    canvas = cv2.resize(large, (480, 480), interpolation=cv2.INTER_CUBIC)
    top, left = 100 - shift[1], 100 - shift[0]
    grey = np.asarray(canvas[top : top + size[0], left : left + size[1]], np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("shift", [(0, 0), (4, 0), (0, -3), (6, 5)])
def test_nodes_come_from_where_they_were(shift: tuple[int, int]) -> None:
    motion = motion_between(texture(), texture(shift), 12.0)
    rows, columns = np.mgrid[:72, :88]
    inside = (slice(8, -8), slice(8, -8))
    # Two pixels of these pictures are one node.
    np.testing.assert_allclose(np.median((motion.columns - columns)[inside]), -shift[0] / 2, atol=0.1)
    np.testing.assert_allclose(np.median((motion.rows - rows)[inside]), -shift[1] / 2, atol=0.1)
    assert np.median(motion.fit[inside]) > 0.8


def test_a_map_moves_with_the_scene_and_what_comes_into_sight_has_none() -> None:
    motion = motion_between(texture(), texture((8, 0)), 12.0)
    before = np.zeros((72, 88), np.float32)
    before[30:40, 40:50] = 1
    moved = motion.move(before)
    rows, columns = np.nonzero(moved > 0.5)
    assert (rows.min(), rows.max()) == (30, 39) and abs(columns.min() - 44) <= 1 and abs(columns.max() - 53) <= 1
    weight = motion.move(np.ones((72, 88), np.float32), cv2.BORDER_CONSTANT)
    assert weight[:, 0].max() < 0.5 and weight[10:-10, 20:70].min() > 0.9


def test_another_scene_does_not_fit() -> None:
    motion = motion_between(texture(), texture(seed=8), 12.0)
    assert motion.fit.mean() < 0.3


@pytest.mark.parametrize("size", [(2, 2), (8, 300), (31, 31), (33, 34), (47, 300)])
def test_any_size_has_a_motion(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    motion = motion_between(picture, picture, 12.0)
    assert motion.fit.shape == (size[0] // 2, size[1] // 2) and motion.fit.min() == 1.0
    np.testing.assert_array_equal(motion.columns, np.broadcast_to(np.arange(size[1] // 2), motion.columns.shape))


def test_the_number_of_threads_changes_nothing() -> None:
    before = cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            found.append(motion_between(texture(), texture((5, 3)), 12.0))
    finally:
        cv2.setNumThreads(before)
    for motion in found[1:]:
        np.testing.assert_array_equal(motion.columns, found[0].columns)
        np.testing.assert_array_equal(motion.fit, found[0].fit)


def test_a_change_of_colour_alone_does_not_fit() -> None:
    """Steel before tissue is often as bright as the tissue."""
    before, now = (np.full((64, 64, 3), color, np.uint8) for color in ((170, 80, 75), (106, 106, 106)))
    assert cv2.cvtColor(before, cv2.COLOR_RGB2GRAY)[0, 0] == cv2.cvtColor(now, cv2.COLOR_RGB2GRAY)[0, 0]
    assert motion_between(before, now, 12.0).fit.max() < 0.01


def test_the_picture_is_half_the_size() -> None:
    rgb = np.full((88, 112, 3), (255, 0, 9), np.uint8)
    picture = picture_of(rgb)
    assert picture.shape == (44, 56, 3) and (picture == (255, 0, 9)).all()
