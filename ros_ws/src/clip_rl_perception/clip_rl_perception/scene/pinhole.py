"""The pinhole camera: pixels to points on a plane before the camera.

Optical frame of REP-103: x to the right, y down, z forward, metres.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray


def roi_of(info: Any) -> tuple[int, int, int, int]:
    """x, y, width, height of a sensor_msgs/CameraInfo's region of interest, px of its full size; zeros: all of it."""
    roi = info.roi
    return int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)


def shown_part(size: tuple[int, int], roi: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """x, y, width, height of what images show of a calibrated (width, height): its region of interest, else all.

    Binning needs nothing more: images are smaller by it than what they show. A region that is not whole in the
    calibrated size is none.
    """
    inside = all(begin + side <= whole or not whole for begin, side, whole in zip(roi[:2], roi[2:], size, strict=True))
    return roi if roi[2] > 0 and roi[3] > 0 and inside else (0, 0, *size)


@dataclasses.dataclass(frozen=True)
class Pinhole:
    """A projection without distortion: ``u = (fx X + tx) / Z + cx``, ``v = (fy Y + ty) / Z + cy``."""

    fx: float
    fy: float
    cx: float
    cy: float
    tx: float = 0.0
    """Of the right camera of a rectified pair: -fx times the baseline, px m."""
    ty: float = 0.0

    @classmethod
    def assumed(cls, width: int, height: int, fov_deg: float) -> Pinhole:
        """A camera that looks through the image's middle and sees `fov_deg` from its left to its right border."""
        focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)

    @classmethod
    def calibrated(
        cls,
        p: Sequence[float],
        k: Sequence[float],
        calibrated_size: tuple[int, int],
        size: tuple[int, int],
        roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Pinhole | None:
        """The projection of a sensor_msgs/CameraInfo, for an image that may have been scaled since.

        Args:
            p: its 3x4 projection matrix, row by row; used where it is filled, as RViz uses it.
            k: its 3x3 camera matrix, row by row; used otherwise.
            calibrated_size: its (width, height); zeros: the image's own.
            size: (width, height) of the image.
            roi: the part of the calibrated size that the image shows, as of `roi_of`.

        Returns:
            None when the camera is not calibrated (REP-104: K is zero), or by numbers that are none.
        """
        if p[0] > 0 and p[5] > 0:
            values = (p[0], p[5], p[2], p[6], p[3], p[7])
        elif k[0] > 0 and k[4] > 0:
            values = (k[0], k[4], k[2], k[5], 0.0, 0.0)
        else:
            return None
        fx, fy, cx, cy, tx, ty = (float(value) for value in values)
        if not all(map(math.isfinite, (fx, fy, cx, cy, tx, ty))):
            return None
        x, y, shown_width, shown_height = shown_part(calibrated_size, roi)
        across = size[0] / shown_width if shown_width > 0 else 1.0
        down = size[1] / shown_height if shown_height > 0 else 1.0
        # Pixel centres are whole numbers: a border at -0.5 stays one when the image is scaled.
        centre = ((cx - x + 0.5) * across - 0.5, (cy - y + 0.5) * down - 0.5)
        return cls(fx * across, fy * down, *centre, tx * across, ty * down)

    def points(self, pixels: npt.ArrayLike, depth: float) -> DoubleArray:
        """Points on the plane ``Z = depth`` that are seen at `pixels`.

        Args:
            pixels: (n, 2), x and y.
            depth: metres.

        Returns:
            (n, 3), metres.
        """
        x, y = np.asarray(pixels, np.float64).reshape(-1, 2).T
        across = ((x - self.cx) * depth - self.tx) / self.fx
        down = ((y - self.cy) * depth - self.ty) / self.fy
        return np.stack([across, down, np.full_like(across, depth)], axis=1)
