"""Places and disparities in the virtual camera to points in metres, with covariance (first order)."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry


def points_of(geometry: StereoGeometry, seen: DoubleArray) -> DoubleArray:
    """Points (n, 3), m, of places and disparities `seen` (n, 3): u, v, d, px; d is above 0."""
    reach = geometry.baseline / seen[:, 2]
    flat = (seen[:, :2] - geometry.centre) * reach[:, None]
    return np.column_stack([flat, geometry.focal * reach])


def covariances_of(geometry: StereoGeometry, seen: DoubleArray, covariances: DoubleArray) -> DoubleArray:
    """Covariances (n, 3, 3), m^2, of points whose places and disparities have `covariances` (n, 3, 3), px^2.

    With X = B / d (u - c_u, v - c_v, f): J = B / d [[1, 0], [0, 1], [0, 0]] for u and v, -X / d for d.
    """
    jacobians = np.zeros((len(seen), 3, 3))
    jacobians[:, 0, 0] = jacobians[:, 1, 1] = geometry.baseline / seen[:, 2]
    jacobians[:, :, 2] = -points_of(geometry, seen) / seen[:, 2:]
    return np.asarray(jacobians @ covariances @ jacobians.transpose(0, 2, 1), np.float64)


def place_covariance(
    place_std: float, along: DoubleArray, slope: float, disparity_std: float, calibration_std: float
) -> DoubleArray:
    """Covariance (3, 3), px^2, of u, v, d of a keypoint on something that is straight.

    Who tells the keypoint `place_std` px too far along the instrument also tells the depth there, which differs.

    Args:
        place_std: of the keypoint's place in each direction, px.
        along: unit vector (2,) along the instrument in the picture.
        slope: change of the disparity along it, px per px.
        disparity_std: of the disparity at the place, px.
        calibration_std: how far calibration shifts a place, and the disparity, px.
    """
    on = np.array([along[0], along[1], slope])
    aside = np.array([-along[1], along[0], 0.0])
    made = place_std**2 * (np.outer(on, on) + np.outer(aside, aside))
    made[[0, 1, 2], [0, 1, 2]] += calibration_std**2
    made[2, 2] += disparity_std**2
    return np.asarray(made, np.float64)
