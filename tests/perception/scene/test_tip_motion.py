"""How fast tips move, by points on them that are followed from the picture before."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.tip_motion import tip_velocities
from clip_rl_perception.scene.types import Box, Instrument

SIZE = (288, 352)
VIEW = make_letterbox((576, 704), SIZE)
"""Two frame pixels are a network pixel, eight a node."""


def texture(height: int, width: int, seed: int) -> ByteArray:
    spots = np.random.default_rng(seed).integers(0, 256, (height // 14 + 1, width // 14 + 1, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def shown(upper: int, lower: int) -> ByteArray:
    """Network picture of two textured bars from the left on texture at rest, which end in these columns."""
    rgb = texture(*SIZE, 1)
    for seed, (end, top) in enumerate(((upper, 60), (lower, 180)), start=2):
        rgb[top : top + 40, :end] = texture(40, 400, seed)[:, 400 - end :]
    return rgb


def bar(end: int, top: int) -> Instrument:
    footprint = np.zeros((72, 88), np.uint8)
    footprint[top // 4 : top // 4 + 10, : end // 4] = 1
    tip = (2.0 * end, 2.0 * top + 40)
    return Instrument(1, 0.9, Box(0, 2 * top, 2 * end, 80), tip, (1.0, 0.0), 1.0, True, footprint=footprint)


def small(rgb: ByteArray) -> ByteArray:
    return np.asarray(cv2.resize(rgb, (SIZE[1] // 2, SIZE[0] // 2), interpolation=cv2.INTER_AREA), np.uint8)


BEFORE, NOW = small(shown(160, 200)), small(shown(166, 198))
TOOLS = (bar(166, 60), bar(198, 180))


def test_each_tip_moves_as_the_picture_under_it_does() -> None:
    fast, slow = tip_velocities(TOOLS, BEFORE, NOW, VIEW, 0.04)
    assert fast == pytest.approx((300, 0), abs=15)  # 6 of the network's pixels, 12 of the frame's, in 40 ms
    assert slow == pytest.approx((-100, 0), abs=15)
    assert tip_velocities(TOOLS, NOW, NOW, VIEW, 0.04) == [(0.0, 0.0), (0.0, 0.0)]


def test_a_smooth_bar_moves_as_its_end_does() -> None:
    pictures = []
    for end in (160, 166):
        rgb = texture(*SIZE, 1)
        rgb[60:100, :end] = (200, 205, 210)
        pictures.append(small(rgb))
    ((across, down),) = tip_velocities((bar(166, 60),), *pictures, VIEW, 0.04)  # type: ignore[misc]
    assert 150 < across < 330 and abs(down) < 60


def test_it_is_px_of_the_frame_and_seconds() -> None:
    (once, _), (later, _) = (tip_velocities(TOOLS, BEFORE, NOW, VIEW, seconds) for seconds in (0.04, 0.08))
    assert once is not None and later == pytest.approx((once[0] / 2, once[1] / 2))
    whole = tip_velocities(TOOLS, shown(160, 200), shown(166, 198), VIEW, 0.04)  # pictures of the network's size
    assert whole[0] == pytest.approx((300, 0), abs=15)
    close = make_letterbox(SIZE, SIZE)  # a frame of the network's size
    (near,) = tip_velocities((dataclasses.replace(TOOLS[0], tip=(166.0, 80.0)),), BEFORE, NOW, close, 0.04)
    assert near == pytest.approx((150, 0), abs=10)


def test_a_tip_beside_its_footprint_moves_as_what_is_nearest() -> None:
    away = dataclasses.replace(TOOLS[0], tip=(450.0, 160.0))
    (velocity,) = tip_velocities((away,), BEFORE, NOW, VIEW, 0.04)
    assert velocity is not None and velocity[0] > 150


def test_what_is_not_known_is_none() -> None:
    bare, nowhere = (
        dataclasses.replace(TOOLS[0], footprint=footprint) for footprint in (None, np.zeros((72, 88), np.uint8))
    )
    assert tip_velocities((bare, nowhere), BEFORE, NOW, VIEW, 0.04) == [None, None]
    assert tip_velocities(TOOLS, None, NOW, VIEW, 0.04) == [None, None]
    assert tip_velocities(TOOLS, BEFORE, NOW, VIEW, 0.0) == [None, None]
    assert tip_velocities((), BEFORE, NOW, VIEW, 0.04) == []
    elsewhere = small(texture(*SIZE, 9))  # a cut: no point comes back
    assert tip_velocities(TOOLS, elsewhere, NOW, VIEW, 0.04) == [None, None]
