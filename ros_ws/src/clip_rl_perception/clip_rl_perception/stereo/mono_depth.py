"""How far a shaft is by its known diameter and the width that one eye sees.

A cylinder's borders are the planes through the eye that touch it: its axis is parallel to both, and as far from each as
its radius (Doignon and de Mathelin 2007, A degenerate conic-based method for a direct fitting and 3-D pose of cylinders
with a single perspective view, ICRA). Errors are carried on to first order.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.shaft_outline import ShaftOutline

DELTA_PX = 0.05
"""Step of the numeric derivatives."""
CHANGES = np.concatenate([np.zeros((1, 2, 2)), np.eye(4).reshape(4, 2, 2)])
"""None, and each of the offsets (border, end) alone."""


@dataclasses.dataclass(frozen=True)
class ShaftPose:
    """The axis of a shaft, in metres."""

    foot: DoubleArray
    """(3,) the point of the axis nearest to the eye."""
    direction: DoubleArray
    """(3,) unit vector from the entry to the end."""

    def at(self, ray: DoubleArray) -> DoubleArray:
        """(3,) the point on the eye's ray (x, y, 1) where it passes the axis nearest."""
        return np.asarray(_points(self.foot[None], self.direction[None], ray[None, None, :2])[0, 0], np.float64)


def pose_of(borders: DoubleArray, radius: float, along: DoubleArray) -> ShaftPose | None:
    """The axis of a cylinder whose borders are seen at directions `borders` (2 borders, 2 ends, 2); None for none.

    Args:
        borders: x and y with z = 1, of the rectified eye; of each border two points.
        radius: of the cylinder, m.
        along: (2,) direction in the picture in which the axis points.
    """
    found = _axes(borders[None], radius, along)
    return None if found is None else ShaftPose(found[0][0], found[1][0])


def width_pose(
    outline: ShaftOutline,
    focal: float,
    centre: DoubleArray,
    diameter: tuple[float, float],
    rays: DoubleArray,
    place_std: float,
) -> tuple[ShaftPose, DoubleArray, DoubleArray, DoubleArray] | None:
    """The shaft's axis and the points of it that are seen along `rays`, with covariances.

    Args:
        outline: borders, px of the virtual camera.
        focal: of that camera.
        centre: of that camera, (2,).
        diameter: of the shaft and its standard deviation, m.
        rays: (n, 2), x and y with z = 1.
        place_std: of where those rays go, px in each direction.

    Returns:
        The pose, covariance (3, 3) of its direction, points (n, 3) and their covariances (n, 3, 3); None where the
        borders are none of a cylinder before the eye.
    """
    radius = diameter[0] / 2
    # As it is, with each of the four offsets changed, and with the keypoints themselves moved along and across.
    count = len(CHANGES)
    offsets = outline.offsets + DELTA_PX * CHANGES
    found = _axes((outline.border_points(offsets) - centre) / focal, radius, outline.along)
    if found is None:
        return None
    feet, directions = (np.concatenate([each, each[:1], each[:1]]) for each in found)
    ways = DELTA_PX / focal * np.stack([outline.along, outline.aside])
    seen = np.concatenate([np.broadcast_to(rays, (count, *rays.shape)), rays + ways[:, None]])
    points = _points(feet, directions, seen)
    values = np.concatenate([directions[:count], points[:count].reshape(count, -1)], axis=1)
    jacobian = (values[1:] - values[0]).T / DELTA_PX
    known = np.zeros((4, 4))
    known[:2, :2], known[2:, 2:] = outline.covariance
    covariance = jacobian @ known @ jacobian.T
    bigger = np.concatenate([np.zeros(3), values[0, 3:] / radius]) * (diameter[1] / 2)  # all points go out with it
    covariance += np.outer(bigger, bigger)
    each = np.stack([covariance[3 * i + 3 : 3 * i + 6, 3 * i + 3 : 3 * i + 6] for i in range(len(rays))])
    for moved in points[count:]:
        change = (moved - points[0]) / DELTA_PX
        each += place_std**2 * change[:, :, None] * change[:, None, :]
    return ShaftPose(feet[0], directions[0]), covariance[:3, :3], points[0], each


def _axes(borders: DoubleArray, radius: float, along: DoubleArray) -> tuple[DoubleArray, DoubleArray] | None:
    """Feet and directions, (p, 3) each, of the axes of `pose_of` for p pairs of borders; None where one has none."""
    rays = np.concatenate([borders, np.ones((*borders.shape[:-1], 1))], axis=-1)
    normals = _cross(rays[:, :, 0], rays[:, :, 1])
    normals /= np.sqrt((normals * normals).sum(axis=-1, keepdims=True))
    middle = rays.mean(axis=(1, 2))
    normals *= np.sign((normals * middle[:, None]).sum(axis=-1, keepdims=True))  # both towards the axis
    one, other = normals[:, 0], normals[:, 1]
    direction = _cross(one, other)
    length = np.sqrt((direction * direction).sum(axis=1, keepdims=True))
    if not (length > 1e-9).all():
        return None
    direction /= length
    foot = (one + other) * (radius / (1.0 + (one * other).sum(axis=1, keepdims=True)))  # as far from both planes
    if ((foot * middle).sum(axis=1) <= 0).any():
        return None
    # The picture of the axis moves towards the end of the shaft.
    moved = direction[:, :2] - middle[:, :2] * direction[:, 2:]
    return foot, np.where((moved @ along >= 0)[:, None], direction, -direction)


def _cross(one: DoubleArray, other: DoubleArray) -> DoubleArray:
    """Of vectors along the last axis; numpy's own takes several times as long for so few."""
    return one[..., _NEXT] * other[..., _LAST] - one[..., _LAST] * other[..., _NEXT]


_NEXT, _LAST = [1, 2, 0], [2, 0, 1]


def _points(feet: DoubleArray, directions: DoubleArray, rays: DoubleArray) -> DoubleArray:
    """(p, n, 3): points of p axes on rays (p, n, 2), as of `ShaftPose.at`."""
    # |ray z - foot - direction s| is least where what it has across the axis is normal to what the ray has there.
    ahead = np.concatenate([rays, np.ones((*rays.shape[:-1], 1))], axis=-1)
    normals = ahead - (ahead @ directions[:, :, None]) * directions[:, None]
    return np.asarray(
        ahead * ((normals @ feet[:, :, None]) / (normals * ahead).sum(axis=-1, keepdims=True)), np.float64
    )
