"""Where the close-up of an instrument is cut, and how it is turned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clip_rl_perception.naming.working_end import MARGIN, close_up, working_end
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Box, Instrument, Keypoint

VIEW = make_letterbox((512, 640), (256, 320))
"""Half the size: a node of the grid is 8 px wide."""


def shaft(columns: int = 50, rows: tuple[int, int] = (28, 34)) -> Instrument:
    """From the left border, 8 px times (rows) wide."""
    footprint = np.zeros((64, 80), np.uint8)
    footprint[rows[0] : rows[1], :columns] = 1
    box = Box(0, rows[0] * 8, columns * 8, (rows[1] - rows[0]) * 8)
    tip = (columns * 8.0, (rows[0] + rows[1]) * 4.0)
    return Instrument(1, 0.9, box, tip, (1.0, 0.0), float(footprint.sum() * 64), True, footprint=footprint)


def told(*points: tuple[str, float, float, bool]) -> tuple[Keypoint, ...]:
    return tuple(Keypoint(name, x, y, 1.0, visible) for name, x, y, visible in points)


def test_without_keypoints_it_is_the_last_piece_of_the_axis() -> None:
    square = working_end(shaft(), VIEW)
    assert square is not None
    assert square.width == square.height
    assert square.width == pytest.approx(MARGIN * 2.5 * 48, abs=16)
    assert square.x + square.width / 2 == pytest.approx(400 - 2.5 * 48 / 2, abs=8)
    assert square.y + square.height / 2 == pytest.approx(248, abs=8)


def test_with_keypoints_it_holds_wrist_and_tips() -> None:
    points = told(
        ("entry", 0, 248, True), ("wrist", 400, 248, True), ("tip_1", 470, 200, True), ("tip_2", 480, 290, False)
    )
    square = working_end(dataclasses.replace(shaft(), keypoints=points), VIEW)
    assert square is not None
    for point in points[1:]:
        assert square.x <= point.x < square.x + square.width and square.y <= point.y < square.y + square.height
    assert square.width == pytest.approx(MARGIN * (90 + 0.25 * 48), abs=3)


def test_a_tube_shows_its_end() -> None:
    points = told(("entry", 0, 248, True), ("tip_1", 400, 248, True))
    square = working_end(dataclasses.replace(shaft(), keypoints=points), VIEW)
    assert square is not None and square.x < 290 and square.x + square.width >= 400


def test_what_is_out_of_sight_is_not_shown() -> None:
    hidden = told(("entry", 0, 248, True), ("wrist", 400, 248, False), ("tip_1", 700, 248, False))
    assert working_end(dataclasses.replace(shaft(), keypoints=hidden), VIEW) is None
    assert working_end(dataclasses.replace(shaft(), footprint=None), VIEW) is None
    assert working_end(dataclasses.replace(shaft(), footprint=np.zeros((64, 80), np.uint8)), VIEW) is None


def test_it_never_leaves_the_content() -> None:
    points = told(("wrist", 630, 500, True), ("tip_1", 900, 600, False), ("tip_2", 2000, -40, False))
    view = make_letterbox((512, 640), (256, 320))
    for item in (dataclasses.replace(shaft(), keypoints=points), shaft(80, (0, 64)), shaft(1, (0, 1))):
        square = working_end(item, view)
        assert square is not None and square.width == square.height >= 1
        assert square.x >= 0 and square.y >= 0
        assert square.x + square.width <= 640 and square.y + square.height <= 512


def test_eight_turns_are_the_quarter_turns_and_their_mirror_images() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    shown = [close_up(rgb, Box(5, 3, 32, 32), 32, turn) for turn in range(8)]
    cut = rgb[3:35, 5:37]
    np.testing.assert_array_equal(shown[0], cut)
    np.testing.assert_array_equal(shown[2], cut[::-1, ::-1])
    np.testing.assert_array_equal(shown[4], cut[:, ::-1])
    assert len({picture.tobytes() for picture in shown}) == 8
    for picture in shown:
        assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert close_up(rgb, Box(0, 0, 7, 7), 32).shape == (32, 32, 3)
    assert close_up(rgb, Box(0, 0, 40, 40), 16).shape == (16, 16, 3)
