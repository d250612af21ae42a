"""Keypoints as both eyes see them to keypoints in space, all of a moment at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from clip_rl_perception.stereo.shaft_width import matrix_of, vector_of
from clip_rl_perception.stereo.space_types import Keypoint3D, Source
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry
from clip_rl_perception.stereo.triangulation import covariances_of, place_covariance, points_of


@dataclasses.dataclass(frozen=True)
class Told:
    """A keypoint that both eyes tell."""

    name: str
    seen: tuple[float, float, float]
    """Place and disparity, px of the virtual camera."""
    place_std: float
    """Of the place in each direction, px."""
    along: tuple[float, float]
    """Unit vector along the instrument in the picture."""
    slope: float
    """Change of the disparity along it, px per px."""
    disparity_std: float
    """Of the disparity at the place, px."""
    moved: tuple[float, float]
    """How far it moved between the stamps of both eyes, px."""
    along_ray: float
    """How far off it lies along the line of sight for what is compared not being what it is on, m."""
    score: float
    """As of Keypoint3D."""


def in_space(geometry: StereoGeometry, points: Sequence[Keypoint3D | Told], calibration_px: float) -> list[Keypoint3D]:
    """The points in their order, what is told with its position and covariance.

    Args:
        geometry: of the pair of eyes.
        points: of any number of instruments.
        calibration_px: how far calibration shifts places and disparities.
    """
    told = [point for point in points if isinstance(point, Told)]
    seen = np.array([point.seen for point in told], np.float64).reshape(-1, 3)
    there = seen[:, :2].copy()
    there[:, 0] -= seen[:, 2]
    inside = geometry.right.sees(geometry.original(geometry.right, there)).tolist()
    spreads = np.array([_spread(point, calibration_px) for point in told], np.float64).reshape(-1, 3, 3)
    positions, covariances = points_of(geometry, seen), covariances_of(geometry, seen, spreads)
    rays = positions / positions[:, 2:] * np.array([[point.along_ray] for point in told]).reshape(-1, 1)
    covariances += rays[:, :, None] * rays[:, None]
    made = iter(
        Keypoint3D(
            point.name,
            source=Source.STEREO,
            position=vector_of(position),
            covariance=matrix_of(covariance),
            disparity=point.seen[2],
            disparity_std=math.hypot(point.disparity_std, calibration_px),
            score=point.score,
        )
        if sees
        else Keypoint3D(point.name, "outside the picture in the right eye", score=point.score)
        for point, sees, position, covariance in zip(told, inside, positions, covariances, strict=True)
    )
    return [next(made) if isinstance(point, Told) else point for point in points]


def _spread(point: Told, calibration_px: float) -> list[list[float]]:
    """Covariance of place and disparity, px^2."""
    made = place_covariance(point.place_std, point.along, point.slope, point.disparity_std, calibration_px)
    made[2][2] += point.moved[0] ** 2
    made[1][1] += point.moved[1] ** 2 / 4
    return made
