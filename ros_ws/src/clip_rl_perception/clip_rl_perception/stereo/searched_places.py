"""Places of the left eye that are looked for in the right one, all of a moment at once."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from clip_rl_perception.arrays import DoubleArray, FloatArray
from clip_rl_perception.stereo.disparity import STRIP, Match, MatchConfig, match
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.pairing import JAWS
from clip_rl_perception.stereo.patches import Patches, take_patches
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

ROW_STD = 0.05
"""How far apart both eyes' borders of one thing lie for their backgrounds, samples."""


@dataclasses.dataclass
class SearchedPlace:
    """A place of the left eye that is looked for in the right one."""

    pair: int
    """Of which pair it is."""
    name: str
    """Of the keypoint; empty for the others along the shaft."""
    at: DoubleArray
    """(2,) px of the virtual camera."""
    expected: float
    """Disparity, px."""
    reach: float
    """How far from it is searched, px."""
    step: float
    """px between samples."""
    found: Match | None = None

    @property
    def disparity(self) -> float:
        """As found, px; NaN before."""
        return self.expected - self.found.shift * self.step if self.found else math.nan

    @property
    def std(self) -> float:
        """Of the disparity, px."""
        return self.found.std * self.step if self.found else math.nan


def compare(
    geometry: StereoGeometry,
    views: tuple[EyeView, EyeView],
    places: list[SearchedPlace],
    numbers: list[list[int]],
    calibration_px: float,
    config: MatchConfig,
) -> None:
    """Look for all places; what is found is put into them.

    Args:
        geometry: of the pair of eyes.
        views: left and right frame.
        places: what is looked for.
        numbers: of the instruments of each place in `instances`, of the left eye and of the right one.
        calibration_px: how far calibration shifts places and disparities.
        config: of the comparison.
    """
    if not places:
        return
    centres = np.stack([place.at for place in places])
    steps = np.array([place.step for place in places])
    expected = np.array([place.expected for place in places])
    eyes = (geometry.left, geometry.right)
    moved = (centres, centres - np.column_stack([expected, np.zeros(len(places))]))
    patches = [
        take_patches(geometry, eye, view, at, steps, number, STRIP)
        for eye, view, at, number in zip(eyes, views, moved, numbers, strict=True)
    ]
    jaws = [place.name in JAWS for place in places]
    weights = tuple(_weights(patch, jaws) for patch in patches)
    ranges = np.array([place.reach for place in places]) / steps
    row_stds = np.hypot(calibration_px / steps, ROW_STD)
    found = match(patches[0], patches[1], (weights[0], weights[1]), ranges, row_stds, config)
    for place, each in zip(places, found, strict=True):
        place.found = each


def _weights(patches: Patches, jaws: list[bool]) -> FloatArray:
    """What of each part counts: the instrument's borders.

    The front of a shaft is nearer than its axis, its borders are as far: they tell the disparity of the axis.
    """
    made = np.empty_like(patches.own)
    small, large = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)
    for index, jaw in enumerate(jaws):
        own = patches.own[index]
        made[index] = cv2.dilate(own, small) - cv2.erode(own, small if jaw else large)
    made *= patches.free
    return made
