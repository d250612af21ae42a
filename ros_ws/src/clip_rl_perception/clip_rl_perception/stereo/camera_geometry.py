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
from clip_rl_perception.scene.pinhole import roi_of, shown_part

FISHEYE = ("equidistant", "fisheye")
"""Distortion models of cv2.fisheye, 4 coefficients."""
COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,), "fisheye": (4,)}
"""How many coefficients a distortion model may have."""
ASPECT = 0.02
"""How much the ratio of width to height may differ between camera_info and image, as a part of it."""
CENTRAL = (1 / 3, 2 / 3)
"""Where the optical axis of a lens meets its picture, as parts of its width and height."""
RECTIFIED_CENTRAL = (0.3, 0.7)
"""The same of pictures that were rectified, which turns eyes that look at one place outwards."""
STEPS = 100
"""Of inverting a lens model, at most; wide lenses need dozens near the border."""
CLOSE_PX = 0.1
"""How near a direction must be seen to the pixel that it was made of."""
BENT = (0.5, 3.0)
"""How much further from the axis a lens looks than a pinhole, at the middles of a picture's four sides."""


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
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    """What images show of it, x, y, width, height; of no width: all of it. K and P are of the whole."""

    @classmethod
    def of(cls, message: Any) -> CameraInfo:
        """Of a message, rclpy's or rosbags'."""
        k, d, r, p = (tuple(map(_number, getattr(message, name))) for name in "kdrp")
        return cls(int(message.width), int(message.height), k, d, str(message.distortion_model), r, p, roi_of(message))


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
    folds: bool = False
    """Near its border the lens model has pixels that no direction leads to; each is looked after then."""

    def directions(self, pixels: npt.ArrayLike) -> DoubleArray:
        """Directions at pixels (n, 2), float64 (n, 2); NaN where the lens model has none."""
        points = np.asarray(pixels, np.float64).reshape(-1, 2)
        if self.lens is None:
            return (points - self.centre) / self.focal
        if not len(points):
            return points
        along = _straightened(points, *self.lens)
        if self.folds:
            along[~(np.abs(self.pixels(along) - points).max(axis=1) <= CLOSE_PX)] = math.nan
        return along

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
    x, y, width, height = shown_part((info.width or size[0], info.height or size[1]), info.roi)
    across, down = size[0] / width, size[1] / height
    if info.roi[2] and (x, y, width, height) != info.roi:
        raise GeometryError(
            f"{name}: its roi, {info.roi[2]}x{info.roi[3]} from {info.roi[0]}, {info.roi[1]}, does not lie in its "
            f"{width}x{height}; expected K, P and width, height of the whole sensor; see REP-104"
        )
    cut = f" (its roi, from {x}, {y})" if info.roi[2] else ""
    if abs(across / down - 1) > ASPECT or (cut and across > 1):
        raise GeometryError(
            f"{name} is of {width}x{height}{cut}, the image is {size[0]}x{size[1]}: turned or cut; calibrate at that "
            "size"
        )
    p = _scaled(np.reshape(info.p, (3, 4)), (x, y), across, down)
    if abs(p[0, 0] / p[1, 1] - 1) > 0.2 or abs(p[1, 3]) > 1e-3 * abs(p[0, 3]) + 1e-9:
        raise GeometryError(
            f"{name}: P is not that of eyes side by side; expected fx about fy, and no Ty; calibrate again"
        )
    lens = None
    if rectified:
        _check_centre(name, "P", info.p, (info.width, info.height), RECTIFIED_CENTRAL)
    else:
        k = _scaled(np.reshape(info.k, (3, 3)), (x, y), across, down)
        lens = _lens(name, info, k)
        _check_centre(name, "K", info.k, (info.width, info.height), CENTRAL)
        _check_focal(name, k, p)
    made = EyeGeometry(
        size, (p[0, 0], p[1, 1]), (p[0, 2], p[1, 2]), -p[0, 3] / p[0, 0], None if _is_plain(lens, p) else lens
    )
    return dataclasses.replace(made, folds=_folds(name, made))


def _straightened(points: DoubleArray, k: DoubleArray, d: DoubleArray, r: DoubleArray, fisheye: bool) -> DoubleArray:
    """Directions at pixels (n, 2); what is none may be any number."""
    until = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, STEPS, 1e-7)
    if fisheye:
        found = cv2.fisheye.undistortPoints(points[:, None], k, d, R=r, P=np.eye(3), criteria=until)
    elif hasattr(cv2, "undistortPointsIter"):  # OpenCV 4, whose undistortPoints stops after five steps
        found = cv2.undistortPointsIter(points[:, None], k, d, r, np.eye(3), until)
    else:
        found = cv2.undistortPoints(points[:, None], k, d, R=r, P=np.eye(3), criteria=until)
    return np.asarray(found, np.float64).reshape(-1, 2)


def _folds(name: str, eye: EyeGeometry) -> bool:
    """Whether some pixels of a picture come from nowhere; raises `GeometryError` where the middle does."""
    if eye.lens is None:
        return False
    columns, rows = (np.linspace(-0.5, side - 0.5, 17) for side in eye.size)
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    away = np.abs(eye.pixels(eye.directions(pixels)) - pixels).max(axis=1)
    lost = ~(away <= CLOSE_PX)
    middle = (np.abs((pixels + 0.5) / eye.size - 0.5) <= 0.25).all(axis=1)
    if (lost & middle).any() or _is_absurd(eye):
        raise GeometryError(
            f"{name}: D bends the picture as no lens does, by coefficients {', '.join(f'{v:.3g}' for v in eye.lens[1])}"
            "; calibrate again"
        )
    return bool(lost.any())


def _is_absurd(eye: EyeGeometry) -> bool:
    """Whether the sides of a picture look elsewhere by far than a pinhole's do; fish eyes may."""
    assert eye.lens is not None
    k, d, _, fisheye = eye.lens
    if fisheye or not d.any():
        return False
    (width, height), (x, y) = eye.size, (k[0, 2], k[1, 2])
    sides = np.array([(0.0, y), (width - 1.0, y), (x, 0.0), (x, height - 1.0)])
    plain = np.linalg.norm((sides - (x, y)) / (k[0, 0], k[1, 1]), axis=1)
    bent = np.linalg.norm(_straightened(sides, k, d, np.eye(3), fisheye), axis=1) / plain
    return bool(((bent < BENT[0]) | (bent > BENT[1])).any())


def _scaled(matrix: DoubleArray, corner: tuple[int, int], across: float, down: float) -> DoubleArray:
    """Of an image that begins at `corner` and was scaled; pixel centres are whole numbers: a border stays at -0.5."""
    made = np.array(matrix, np.float64)
    made[0, 2] -= corner[0]
    made[1, 2] -= corner[1]
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
    if not len(d) or (model not in FISHEYE and not d.any()):  # a fish eye without coefficients is none the less one
        return k, np.zeros(5), r, False
    if model not in COEFFICIENTS or len(d) not in COEFFICIENTS[model]:
        known = ", ".join(sorted(COEFFICIENTS))
        raise GeometryError(f"{name}: {len(d)} coefficients of '{model}' are not known; expected one of {known}")
    return k, d, r, model in FISHEYE


def _check_centre(
    name: str, matrix: str, values: tuple[float, ...], size: tuple[int, int], allowed: tuple[float, float]
) -> None:
    """K or P of another picture has its centre elsewhere; both are of the whole, whatever images show of it."""
    low, high = allowed
    x, y = values[2], values[5] if matrix == "K" else values[6]
    if all(size) and not (low < (x + 0.5) / size[0] < high and low < (y + 0.5) / size[1] < high):
        raise GeometryError(
            f"{name}: {matrix} has its centre at {x:.0f}, {y:.0f} of a {size[0]}x{size[1]} image: "
            "it is of another size; calibrate at this one"
        )


def _check_focal(name: str, k: DoubleArray, p: DoubleArray) -> None:
    """P of another picture sees less or more than K does."""
    if not 0.4 < p[0, 0] / k[0, 0] < 2.5:
        raise GeometryError(
            f"{name}: P sees with {p[0, 0]:.0f} px, K with {k[0, 0]:.0f} px: one is of another size; calibrate again"
        )


def _is_plain(lens: tuple[DoubleArray, DoubleArray, DoubleArray, bool] | None, p: DoubleArray) -> bool:
    """Whether raw images are rectified as they are."""
    if lens is None:
        return True
    k, d, r, fisheye = lens
    return not fisheye and not d.any() and np.allclose(r, np.eye(3), atol=1e-9) and np.allclose(k, p[:, :3], rtol=1e-9)
