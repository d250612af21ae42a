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


@dataclasses.dataclass(frozen=True)
class ShaftPose:
    """The axis of a shaft, in metres."""

    foot: DoubleArray
    """(3,) the point of the axis nearest to the eye."""
    direction: DoubleArray
    """(3,) unit vector from the entry to the end."""

    def at(self, ray: DoubleArray) -> DoubleArray:
        """(3,) the point on the eye's ray (x, y, 1) where it passes the axis nearest."""
        # |ray z - foot - direction s| is least where what it has across the axis is normal to what the ray has there.
        normal = ray - float(ray @ self.direction) * self.direction
        return np.asarray(ray * (float(normal @ self.foot) / float(normal @ ray)), np.float64)


def pose_of(borders: DoubleArray, radius: float, along: DoubleArray) -> ShaftPose | None:
    """The axis of a cylinder whose borders are seen at directions `borders` (2 borders, 2 ends, 2); None for none.

    Args:
        borders: x and y with z = 1, of the rectified eye; of each border two points.
        radius: of the cylinder, m.
        along: (2,) direction in the picture in which the axis points.
    """
    rays = np.concatenate([borders, np.ones((2, 2, 1))], axis=2)
    normals = np.stack([_cross(*pair) for pair in rays])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    middle = rays.mean(axis=(0, 1))
    normals *= np.sign(normals @ middle)[:, None]  # both towards the axis
    direction = _cross(normals[0], normals[1])
    length = np.linalg.norm(direction)
    if not length > 1e-9:
        return None
    direction /= length
    foot = (normals[0] + normals[1]) * (radius / (1.0 + float(normals[0] @ normals[1])))  # as far from both planes
    if foot @ middle <= 0:
        return None
    # The picture of the axis moves towards the end of the shaft.
    moved = direction[:2] - middle[:2] * direction[2]
    return ShaftPose(foot, direction if moved @ along >= 0 else -direction)


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

    def found(offsets: DoubleArray, radius: float) -> tuple[ShaftPose | None, DoubleArray]:
        pose = pose_of((outline.border_points(offsets) - centre) / focal, radius, outline.along)
        return pose, np.zeros(0) if pose is None else _stacked(pose, rays)

    radius = diameter[0] / 2
    pose, values = found(outline.offsets, radius)
    if pose is None:
        return None
    columns = []
    for border, end in ((0, 0), (0, 1), (1, 0), (1, 1)):
        changed = outline.offsets.copy()
        changed[border, end] += DELTA_PX
        other, moved = found(changed, radius)
        if other is None:
            return None
        columns.append((moved - values) / DELTA_PX)
    jacobian = np.stack(columns, axis=1)
    known = np.zeros((4, 4))
    known[:2, :2], known[2:, 2:] = outline.covariance
    covariance = jacobian @ known @ jacobian.T
    points = values[3:].reshape(-1, 3)
    bigger = np.concatenate([np.zeros(3), values[3:] / radius]) * (diameter[1] / 2)  # all points go out with it
    covariance += np.outer(bigger, bigger)
    each = np.stack([covariance[3 * i + 3 : 3 * i + 6, 3 * i + 3 : 3 * i + 6] for i in range(len(rays))])
    for way in (outline.along, outline.aside):  # where the keypoint itself is
        moved = _stacked(pose, rays + DELTA_PX / focal * way)[3:].reshape(-1, 3)
        change = (moved - points) / DELTA_PX
        each += place_std**2 * change[:, :, None] * change[:, None, :]
    return pose, covariance[:3, :3], points, each


def _cross(one: DoubleArray, other: DoubleArray) -> DoubleArray:
    """Of two vectors; numpy's own takes ten times as long for so few."""
    (a, b, c), (d, e, f) = one.tolist(), other.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def _stacked(pose: ShaftPose, rays: DoubleArray) -> DoubleArray:
    """Direction and the points along rays, (3 + 3 n,)."""
    ahead = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    normals = ahead - (ahead @ pose.direction)[:, None] * pose.direction
    points = ahead * ((normals @ pose.foot) / (normals * ahead).sum(axis=1))[:, None]
    return np.concatenate([pose.direction, points.ravel()])
