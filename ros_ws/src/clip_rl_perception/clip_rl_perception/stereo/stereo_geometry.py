"""The two eyes of an endoscope together: one virtual camera for both, disparities to metres.

Both eyes are thought of as looking through the same virtual camera, whose rows are common: `focal` px, its middle at
(`centre_x`, `centre_y`). A point at depth z is seen `focal * baseline / z` px further left by the right eye.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.camera_geometry import CameraInfo, EyeGeometry, GeometryError, eye_geometry

NO_BASELINE_M = 1e-5
"""A distance between the eyes that counts as none."""
BASELINES_M = (0.5e-3, 0.1)
"""Distances between the eyes of endoscopes and small stereo cameras."""

SAME = 0.01
"""How much what both eyes' P share may differ, as a part of it."""


@dataclasses.dataclass(frozen=True)
class StereoGeometry:
    """A rectified pair; see the module."""

    left: EyeGeometry
    right: EyeGeometry
    baseline: float
    """m."""

    @property
    def focal(self) -> float:
        """Of the virtual camera, px: the left eye's."""
        return self.left.focal[0]

    @functools.cached_property
    def centre(self) -> DoubleArray:
        """Of the virtual camera, px, (2,)."""
        return np.array(self.left.centre, np.float64)

    def rectified(self, eye: EyeGeometry, pixels: npt.ArrayLike) -> DoubleArray:
        """Pixels (n, 2) of an eye's images in the virtual camera, (n, 2) px."""
        return eye.directions(pixels) * self.focal + self.centre

    def original(self, eye: EyeGeometry, points: npt.ArrayLike) -> DoubleArray:
        """Pixels (n, 2) of an eye's images at places (n, 2) of the virtual camera."""
        return eye.pixels((np.asarray(points, np.float64).reshape(-1, 2) - self.centre) / self.focal)

    def disparity(self, depth: float) -> float:
        """Of something at z = `depth` m, px."""
        return self.focal * self.baseline / depth


def stereo_geometry(
    left: CameraInfo,
    right: CameraInfo,
    left_size: tuple[int, int],
    right_size: tuple[int, int],
    *,
    rectified: bool,
    baseline_m: float = 0.0,
) -> StereoGeometry:
    """The pair that two calibrations describe.

    The left optical frame is that in which P of the left eye projects: the rectified one, as in stereo_image_proc.

    Args:
        left: calibration of the left eye.
        right: of the right eye.
        left_size: (width, height) of the left images.
        right_size: of the right ones; they may differ, each by its own calibration.
        rectified: images are rectified already.
        baseline_m: distance between the eyes that counts in place of the calibration's; 0: the calibration's.

    Raises:
        GeometryError: a calibration cannot be used, or the two are not those of eyes side by side.
    """
    eyes = (
        eye_geometry("left", left, left_size, rectified=rectified),
        eye_geometry("right", right, right_size, rectified=rectified),
    )
    baseline = eyes[1].offset - eyes[0].offset
    if abs(baseline) < NO_BASELINE_M:
        _check_alone(eyes, (left, right), given=bool(baseline_m))
    if baseline < -NO_BASELINE_M:
        raise GeometryError(
            "left and right camera_info are swapped: by their P the right eye stands left of the left one; "
            "swap the two topics"
        )
    if not baseline_m and not BASELINES_M[0] <= baseline <= BASELINES_M[1]:
        millimetres = f" as if {baseline:.3g} were millimetres" if 0.5 <= baseline <= 100 else ""
        raise GeometryError(
            f"the baseline is {baseline:.3g} m{millimetres}; expected {BASELINES_M[0]:g} to {BASELINES_M[1]:g} m; "
            "calibrate with squares in metres, or set baseline_mm"
        )
    if rectified and (left.width, left.height) == (right.width, right.height):
        _check_same_view(left, right)
    return StereoGeometry(*eyes, baseline_m or baseline)


def _check_alone(eyes: tuple[EyeGeometry, EyeGeometry], infos: tuple[CameraInfo, CameraInfo], *, given: bool) -> None:
    """Without Tx a given distance is enough only where both eyes surely look the same way: rectified images do."""
    alone = any(eye.lens is not None for eye in eyes) and all(np.allclose(info.r, np.eye(3).ravel()) for info in infos)
    if given and not alone:
        return
    way = "" if alone else ", or set baseline_mm"
    raise GeometryError(
        "the baseline is 0: P of the right camera_info has no Tx; expected -fx times the eyes' distance in metres; "
        f"calibrate as a pair{way}" + (": each eye was calibrated alone (R is the identity)" if alone else "")
    )


def _check_same_view(left: CameraInfo, right: CameraInfo) -> None:
    """Raise `GeometryError` where P of rectified images of one size are not those of one pair."""
    for name, at, scale in (("fx", 0, left.p[0]), ("fy", 5, left.p[5]), ("cy", 6, left.height or left.p[5])):
        if abs(left.p[at] - right.p[at]) > SAME * scale:
            raise GeometryError(
                f"P of left and right camera_info have {name} {left.p[at]:.1f} and {right.p[at]:.1f}; expected the "
                "same of both eyes of a rectified pair: they are of two calibrations; calibrate as a pair"
            )


def lone_geometry(left: CameraInfo, size: tuple[int, int], *, rectified: bool) -> StereoGeometry:
    """The left eye alone, in place of both: the baseline is NaN. Raises `GeometryError`."""
    eye = eye_geometry("left", left, size, rectified=rectified)
    return StereoGeometry(eye, eye, math.nan)
