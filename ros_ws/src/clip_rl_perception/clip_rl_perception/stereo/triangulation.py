"""Places and disparities in the virtual camera to points in metres, with covariance (first order)."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry


def points_of(geometry: StereoGeometry, seen: DoubleArray) -> DoubleArray:
    """Points (n, 3), m, of places and disparities `seen` (n, 3): u, v, d, px; d is above 0."""
    reach = geometry.baseline / seen[:, 2]
    flat = (seen[:, :2] - geometry.centre) * reach[:, None]
    return np.concatenate([flat, geometry.focal * reach[:, None]], axis=1)


def covariances_of(geometry: StereoGeometry, seen: DoubleArray, covariances: DoubleArray) -> DoubleArray:
    """Covariances (n, 3, 3), m^2, of points whose places and disparities have `covariances` (n, 3, 3), px^2.

    With X = B / d (u - c_u, v - c_v, f): J = B / d [[1, 0], [0, 1], [0, 0]] for u and v, -X / d for d.
    """
    jacobians = np.zeros((len(seen), 3, 3))
    jacobians[:, 0, 0] = jacobians[:, 1, 1] = geometry.baseline / seen[:, 2]
    jacobians[:, :, 2] = -points_of(geometry, seen) / seen[:, 2:]
    return np.asarray(jacobians @ covariances @ jacobians.transpose(0, 2, 1), np.float64)


def place_covariance(
    place_std: float, along: tuple[float, float], slope: float, disparity_std: float, calibration_std: float
) -> list[list[float]]:
    """Covariance, 3 rows of 3, px^2, of u, v, d of a keypoint on something that is straight.

    Who tells the keypoint `place_std` px too far along the instrument also tells the depth there, which differs.

    Args:
        place_std: of the keypoint's place in each direction, px.
        along: unit vector (2,) along the instrument in the picture.
        slope: change of the disparity along it, px per px.
        disparity_std: of the disparity at the place, px.
        calibration_std: how far calibration shifts a place, and the disparity, px.
    """
    x, y = along
    square, common = place_std * place_std, calibration_std * calibration_std
    return [
        [square + common, 0.0, square * x * slope],
        [0.0, square + common, square * y * slope],
        [square * x * slope, square * y * slope, square * slope * slope + common + disparity_std * disparity_std],
    ]
