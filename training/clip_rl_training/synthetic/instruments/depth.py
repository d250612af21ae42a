"""How deep an instrument's parts lie before a stereo endoscope, and what its right eye sees of them.

Every part lies in a plane, see `drawing/eyes.py`. A shaft is as thick all along, so its width in the picture tells its
depth, and the trapezoid that it is drawn as is the exact picture of a shaft tilted in depth. What follows on the shaft
points away from the lens as far as it is foreshortened. The plane of a part holds its axis and outline; where it is
round, its surface stands out before the plane by up to its radius, so the right eye sees it turned a little.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, DoubleArray

from clip_rl_training.synthetic.drawing.eyes import Nearness, nearness_at
from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes
from clip_rl_training.synthetic.drawing.shapes import Points, transform
from clip_rl_training.synthetic.instruments.geometry import Part
from clip_rl_training.synthetic.instruments.kinematics import Placement, joint_homographies

SHAFT_RADIUS_MM = 4.0
"""Of da Vinci instruments."""
_BEFORE = {"wrist": "shaft", "yaw": "wrist", "jaws": "yaw", "upper": "yaw", "lower": "yaw"}
"""What each joint sits on."""


def part_nearness(placement: Placement, time: float, focal: float) -> list[Nearness]:
    """The plane of each part of the design at `time` in s, before a camera of focal length `focal` px."""
    frames, design = joint_homographies(placement, time), placement.design
    found = {"shaft": _shaft_nearness(placement, frames["shaft"], focal)}
    reaches = {"wrist": design.wrist_length, "yaw": design.yaw_length}
    reaches |= {part.joint: float(part.outline[:, 0].max()) for part in design.parts}
    sine = float(np.sqrt(1.0 - placement.bend[2] ** 2))
    for joint, before in _BEFORE.items():
        reach = max(reaches.get(joint, 1.0), 0.5)
        origin, beside, ahead = transform(np.array([[0.0, 0.0], [0.0, 1.0], [reach, 0.0]]), frames[joint])
        near = float(nearness_at(found[before], origin))
        unit = float(np.linalg.norm(beside - origin)) / (focal * near)  # of the part's coordinates, mm
        found[joint] = _along(origin, near, ahead, 1.0 / (1.0 / near + reach * unit * sine))
    return [found[part.joint] for part in design.parts]


def _shaft_nearness(placement: Placement, frame: Points, focal: float) -> Nearness:
    """By the width of the shaft in the picture, at its end and a way back."""
    back = float(placement.design.parts[0].outline[:, 0].min()) / 2.0
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [back, 0.0], [back, 1.0]])
    end, beside, entry, entry_beside = transform(corners, frame)
    per_px = 1.0 / (focal * SHAFT_RADIUS_MM * placement.thickness)
    width, entry_width = float(np.linalg.norm(beside - end)), float(np.linalg.norm(entry_beside - entry))
    return _along(end, width * per_px, entry, entry_width * per_px)


def _along(start: Points, near: float, stop: Points, other: float) -> Nearness:
    """The plane that changes from `near` to `other` between two points, and not beside the line through them."""
    way = stop - start
    slope = way * ((other - near) / max(float(way @ way), 1e-9))
    return np.array([slope[0], slope[1], near - float(slope @ start)])


@dataclasses.dataclass(frozen=True)
class SeenAside:
    """A part before the right eye."""

    left: Points
    """Homography of the part's coordinates to the left picture, (3, 3)."""
    nearness: Nearness
    """Of its plane."""
    focal: float
    """px."""
    middle: tuple[float, float]
    """Principal point of the left picture, (x, y) px."""
    baseline_mm: float

    def surface(self, part: Part, patch: ByteArray, scale: float, origin: tuple[float, float]) -> ByteArray:
        """The part's painted surface as it lies on the outline that the right eye sees, uint8 (rows, columns, 3).

        A point of a cylinder at the angle t from where it is nearest to the lens stands ``r cos t`` before the plane,
        and the right eye sees it further left than the axis for that, which turns the cylinder. Seen slantwise it is
        farther from the plane along the ray: with N X = 1 the plane, ``r cos t |N| z`` in depth.

        Args:
            part: The part; a flat one is not changed.
            patch: As of `render_patch`, with its `scale` and `origin`.
            scale: Patch pixels per local unit.
            origin: Local (u, v) of its top-left corner.
        """
        if part.profile != "round":
            return patch
        rows, columns = patch.shape[:2]
        u = (np.arange(columns) + 0.5) / scale + origin[0]
        v = (np.arange(rows) + 0.5) / scale + origin[1]
        middle = (float(part.outline[:, 1].min()) + float(part.outline[:, 1].max())) / 2
        half = max(float(np.ptp(part.outline[:, 1])) / 2, 1e-3)
        axis = transform(np.stack([u, np.full_like(u, middle)], axis=1), self.left)
        beside = transform(np.stack([u, np.full_like(u, middle + 1.0)], axis=1), self.left) - axis
        along = (transform(np.stack([u + 0.01, np.full_like(u, middle)], axis=1), self.left) - axis) / 0.01
        near = nearness_at(self.nearness, axis)
        normal = np.array([*(self.focal * self.nearness[:2]), float(nearness_at(self.nearness, np.array(self.middle)))])
        lift = half * np.linalg.norm(beside, axis=1) / self.focal  # radius over depth
        lift = lift * np.linalg.norm(normal) / near
        # The right picture's axes in local units: the plane itself is seen sheared there.
        shear = self.focal * self.baseline_mm * self.nearness[:2]
        along, beside = (each - np.stack([each @ shear, np.zeros_like(u)], axis=1) for each in (along, beside))
        area = along[:, 0] * beside[:, 1] - along[:, 1] * beside[:, 0]
        to_u, to_v = beside[:, 1] / area, -along[:, 1] / area  # of a px along x

        def aside(cosine: DoubleArray) -> DoubleArray:
            return np.asarray(self.focal * self.baseline_mm * near * (lift * cosine / (1.0 - lift * cosine)))

        level = np.clip((v[:, None] - middle) / half, -1.0, 1.0)
        turn = np.arctan(aside(np.ones_like(u)) * to_v / half)
        angle = np.arcsin(level) + turn
        # The closed form holds for shifts as the cosine; depth makes them a little more.
        better = np.clip(level + aside(np.cos(angle)) * to_v / half, -1.0, 1.0)
        angle = np.where(np.abs(angle) < 1.0, np.arcsin(better), angle)
        shift = aside(np.cos(angle))
        from_u, from_v = u + shift * to_u, middle + half * np.sin(angle)
        map_x = ((from_u - origin[0]) * scale - 0.5).astype(np.float32)
        map_y = ((from_v - origin[1]) * scale - 0.5).astype(np.float32)
        return as_bytes(cv2.remap(patch, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
