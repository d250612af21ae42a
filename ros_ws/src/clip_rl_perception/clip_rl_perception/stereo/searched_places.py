"""Places of the left eye that are looked for in the right one, all of a moment at once."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.disparity import STRIP, Match, MatchConfig, compared_columns, match
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.pairing import JAWS
from clip_rl_perception.stereo.patches import border_weights, take_patches
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
    ranges = np.array([place.reach for place in places]) / steps
    patches = [
        take_patches(geometry, eye, view, at, steps, number, reaches, STRIP)
        for eye, view, at, number, reaches in zip(eyes, views, moved, numbers, compared_columns(ranges), strict=True)
    ]
    # The front of a shaft is nearer than its axis, its borders are as far: they tell the disparity of the axis.
    radii = [1 if place.name in JAWS else 2 for place in places]
    weights = (border_weights(patches[0], radii), border_weights(patches[1], radii))
    row_stds = np.hypot(calibration_px / steps, ROW_STD)
    found = match(patches[0], patches[1], weights, ranges, row_stds, config)
    for place, each in zip(places, found, strict=True):
        place.found = each


def warm_up() -> None:
    """Compile, once per process, so that the first moment does not wait for it."""
    eye = EyeGeometry((8, 8), (8.0, 8.0), (4.0, 4.0), 0.0)
    view = EyeView(np.zeros((8, 8, 3), np.uint8), None, ())
    place = SearchedPlace(0, "", np.array([4.0, 4.0]), 0.0, 1.0, 1.0)
    compare(StereoGeometry(eye, eye, 1.0), (view, view), [place], [[0], [0]], 0.0, MatchConfig())
