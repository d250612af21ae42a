"""One camera of a rectified pair: pixels of its images to directions in the rectified frame, and back.

A direction is (x, y) with z = 1 in the rectified frame, whose rows both eyes of a pair share (REP-104). Images that are
rectified already are mapped by P alone, raw ones by K, D and R.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.errors import ClipRlError

FISHEYE = ("equidistant", "fisheye")
"""Distortion models of cv2.fisheye, 4 coefficients."""
COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,), "fisheye": (4,)}
"""How many coefficients a distortion model may have."""
ASPECT = 0.02
"""How much the ratio of width to height may differ between camera_info and image, as a part of it."""
CENTRAL = (0.25, 0.75)
"""Where the optical axis of a lens meets its picture, as parts of its width and height."""


class GeometryError(ClipRlError, ValueError):
    """A calibration cannot be used; one line says what is wrong with it, what was expected and what to do."""


@dataclasses.dataclass(frozen=True)
class CameraInfo:
    """A sensor_msgs/CameraInfo by its numbers; two that are equal are the same calibration."""

    width: int
    height: int
    k: tuple[float, ...]
    """9 numbers."""
    d: tuple[float, ...]
    distortion_model: str
    r: tuple[float, ...]
    """9 numbers."""
    p: tuple[float, ...]
    """12 numbers."""

    @classmethod
    def of(cls, message: Any) -> CameraInfo:
        """Of a message, rclpy's or rosbags'."""
        k, d, r, p = (tuple(map(_number, getattr(message, name))) for name in "kdrp")
        return cls(int(message.width), int(message.height), k, d, str(message.distortion_model), r, p)


def _number(value: Any) -> float:
    """One object for every NaN: tuples then are equal, and a calibration with NaN is the same one each time."""
    number = float(value)
    return math.nan if math.isnan(number) else number


@dataclasses.dataclass(frozen=True)
class EyeGeometry:
    """Pixels of one eye's images, x to the right, y down, to directions in the rectified frame, and back."""

    size: tuple[int, int]
    """(width, height) of the images, px."""
    focal: tuple[float, float]
    """Of P at this size, px."""
    centre: tuple[float, float]
    """Of P at this size, px."""
    offset: float
    """Where the eye stands on the rectified x axis, m: -Tx / fx of P."""
    lens: tuple[DoubleArray, DoubleArray, DoubleArray, bool] | None = None
    """K, D, R and whether it is a fish eye; None for images that are rectified already."""

    def directions(self, pixels: npt.ArrayLike) -> DoubleArray:
        """Directions at pixels (n, 2), float64 (n, 2); NaN where the lens model has none."""
        points = np.asarray(pixels, np.float64).reshape(-1, 2)
        if self.lens is None:
            return (points - self.centre) / self.focal
        k, d, r, fisheye = self.lens
        if not len(points):
            return points
        undistort = cv2.fisheye.undistortPoints if fisheye else cv2.undistortPoints
        return np.asarray(undistort(points[:, None], k, d, R=r, P=np.eye(3)), np.float64).reshape(-1, 2)

    def pixels(self, directions: npt.ArrayLike) -> DoubleArray:
        """Pixels (n, 2) at which directions (n, 2) are seen, float64."""
        along = np.asarray(directions, np.float64).reshape(-1, 2)
        if self.lens is None:
            return along * self.focal + self.centre
        k, d, r, fisheye = self.lens
        if not len(along):
            return along
        turned = np.column_stack([along, np.ones(len(along))]) @ r  # R^T of each
        flat = turned[:, None, :2] / turned[:, None, 2:]
        if fisheye:
            seen = cv2.fisheye.distortPoints(flat, k, d)
        else:
            rays = np.concatenate([flat, np.ones((len(flat), 1, 1))], axis=2)
            seen, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), k, d)
        return np.asarray(seen, np.float64).reshape(-1, 2)

    def sees(self, pixels: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which pixels (n, 2) lie inside the picture."""
        points = np.asarray(pixels, np.float64).reshape(-1, 2)
        inside = (points >= -0.5) & (points <= np.array(self.size) - 0.5)
        return np.asarray(inside.all(axis=1), np.bool_)


def eye_geometry(side: str, info: CameraInfo, size: tuple[int, int], *, rectified: bool) -> EyeGeometry:
    """The geometry of one eye's images.

    Args:
        side: "left" or "right", for messages.
        info: its calibration.
        size: (width, height) of its images; they may have been scaled since the calibration.
        rectified: they are rectified already.

    Raises:
        GeometryError: the calibration is none, contradicts itself, or is of another picture.
    """
    name = f"{side} camera_info"
    numbers = (*info.k, *info.d, *info.r, *info.p)
    if (len(info.k), len(info.r), len(info.p)) != (9, 9, 12) or not all(map(math.isfinite, numbers)):
        raise GeometryError(f"{name} has numbers that are missing or not finite; expected K, R and P; calibrate again")
    if info.p[0] <= 0 or info.p[5] <= 0:
        raise GeometryError(f"{name} is not calibrated (P is zero); expected a stereo calibration; see REP-104")
    width, height = info.width or size[0], info.height or size[1]
    across, down = size[0] / width, size[1] / height
    if abs(across / down - 1) > ASPECT:
        raise GeometryError(
            f"{name} is of {width}x{height}, the image is {size[0]}x{size[1]}: turned or cut; calibrate at that size"
        )
    p = _scaled(np.reshape(info.p, (3, 4)), across, down)
    if abs(p[0, 0] / p[1, 1] - 1) > 0.2 or abs(p[1, 3]) > 1e-3 * abs(p[0, 3]) + 1e-9:
        raise GeometryError(
            f"{name}: P is not that of eyes side by side; expected fx about fy, and no Ty; calibrate again"
        )
    lens = None
    if not rectified:
        k = _scaled(np.reshape(info.k, (3, 3)), across, down)
        lens = _lens(name, info, k)
        _check_size(name, k, p, size)
    return EyeGeometry(
        size, (p[0, 0], p[1, 1]), (p[0, 2], p[1, 2]), -p[0, 3] / p[0, 0], None if _is_plain(lens, p) else lens
    )


def _scaled(matrix: DoubleArray, across: float, down: float) -> DoubleArray:
    """Of an image that was scaled; pixel centres are whole numbers, so a border at -0.5 stays one."""
    made = np.array(matrix, np.float64)
    made[0] *= across
    made[1] *= down
    made[0, 2] += 0.5 * across - 0.5
    made[1, 2] += 0.5 * down - 0.5
    return made


def _lens(name: str, info: CameraInfo, k: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray, bool]:
    if k[0, 0] <= 0 or k[1, 1] <= 0:
        raise GeometryError(f"{name} has no K, which raw images need; calibrate, or use images that are rectified")
    r = np.reshape(info.r, (3, 3)).astype(np.float64)
    if np.abs(r @ r.T - np.eye(3)).max() > 1e-2 or np.linalg.det(r) < 0:
        raise GeometryError(f"{name}: R is no rotation; expected that of a stereo calibration; calibrate again")
    model, d = info.distortion_model, np.array(info.d, np.float64)
    if not d.any():
        return k, np.zeros(5), r, False
    if model not in COEFFICIENTS or len(d) not in COEFFICIENTS[model]:
        known = ", ".join(sorted(COEFFICIENTS))
        raise GeometryError(f"{name}: {len(d)} coefficients of '{model}' are not known; expected one of {known}")
    return k, d, r, model in FISHEYE


def _check_size(name: str, k: DoubleArray, p: DoubleArray, size: tuple[int, int]) -> None:
    """K of another picture has its centre elsewhere."""
    low, high = CENTRAL
    places = (k[0, 2] / size[0], k[1, 2] / size[1])
    if not all(low < place < high for place in places):
        raise GeometryError(
            f"{name}: K has its centre at {k[0, 2]:.0f}, {k[1, 2]:.0f} of a {size[0]}x{size[1]} image: "
            "it is of another size; calibrate at this one"
        )
    if not 0.4 < p[0, 0] / k[0, 0] < 2.5:
        raise GeometryError(
            f"{name}: P sees with {p[0, 0]:.0f} px, K with {k[0, 0]:.0f} px: one is of another size; calibrate again"
        )


def _is_plain(lens: tuple[DoubleArray, DoubleArray, DoubleArray, bool] | None, p: DoubleArray) -> bool:
    """Whether raw images are rectified as they are."""
    if lens is None:
        return True
    k, d, r, _ = lens
    return not d.any() and np.allclose(r, np.eye(3), atol=1e-9) and np.allclose(k, p[:, :3], rtol=1e-9)
