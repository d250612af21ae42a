"""Camera models as ROS knows them (sensor_msgs/CameraInfo), from a calibration file or a field of view."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clip_rl_perception.atomic_write import write_bytes
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.messages import message_types

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

FIELD_OF_VIEW = 70.0
"""Horizontal, degrees: about that of stereo endoscopes; stands in where no calibration is given."""

_SHAPES = {"camera_matrix": 9, "rectification_matrix": 9, "projection_matrix": 12}


class CalibrationError(ClipRlError, ValueError):
    """A calibration file cannot be used; the message names it and the entry."""


@dataclasses.dataclass(frozen=True)
class CameraModel:
    """Intrinsics of one camera; matrices row by row, lengths in px."""

    width: int
    height: int
    k: tuple[float, ...]
    """Camera matrix, 9 numbers."""
    d: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Distortion coefficients."""
    distortion_model: str = "plumb_bob"
    r: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    """Rectification, 9 numbers."""
    p: tuple[float, ...] = ()
    """Projection, 12 numbers; empty: K without baseline."""

    @property
    def projection(self) -> tuple[float, ...]:
        """P, 12 numbers."""
        k = self.k
        return self.p or (k[0], k[1], k[2], 0.0, k[3], k[4], k[5], 0.0, k[6], k[7], k[8], 0.0)

    def message(self, stamp_ns: int, frame_id: str) -> Any:
        """The CameraInfo of the image with this stamp and frame."""
        types = message_types.typestore().types
        return types[CAMERA_INFO](
            header=message_types.header(stamp_ns, frame_id),
            height=self.height,
            width=self.width,
            distortion_model=self.distortion_model,
            d=np.array(self.d, np.float64),
            k=np.array(self.k, np.float64),
            r=np.array(self.r, np.float64),
            p=np.array(self.projection, np.float64),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )


def pinhole(width: int, height: int, *, field_of_view: float = FIELD_OF_VIEW, baseline_m: float = 0.0) -> CameraModel:
    """A camera without distortion that looks along the middle of its picture.

    Args:
        width: px.
        height: px.
        field_of_view: horizontal, degrees, above 0 and below 180.
        baseline_m: how far right of the left camera it is, m; enters P as -fx x baseline (REP 104, CameraInfo.msg).

    Raises:
        CalibrationError: an impossible field of view.
    """
    if not 0.0 < field_of_view < 180.0:
        raise CalibrationError(f"a field of view of {field_of_view:g} degrees is impossible; expected 0 to 180")
    focal = width / 2.0 / math.tan(math.radians(field_of_view) / 2.0)
    x, y = (width - 1) / 2.0, (height - 1) / 2.0
    projection = (focal, 0.0, x, -focal * baseline_m, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0)
    return CameraModel(width, height, (focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0), p=projection)


def write_calibration(path: Path, camera: CameraModel, name: str) -> None:
    """Write a model as ROS's camera_calibration does (YAML), `name` as its camera_name. Raises `ClipRlError`."""

    def matrix(values: tuple[float, ...], rows: int) -> dict[str, Any]:
        return {"rows": rows, "cols": len(values) // rows, "data": [float(value) for value in values]}

    entries: dict[str, Any] = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": name,
        "camera_matrix": matrix(camera.k, 3),
        "distortion_model": camera.distortion_model,
        "distortion_coefficients": matrix(camera.d, 1),
        "rectification_matrix": matrix(camera.r, 3),
        "projection_matrix": matrix(camera.projection, 3),
    }
    write_bytes(path, yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=1000).encode())


def load_calibration(path: str | Path) -> CameraModel:
    """Read a file as ROS's camera_calibration writes it (YAML). Raises `CalibrationError`."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"calibration {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path}: not YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise CalibrationError(f"{path}: expected image_width, image_height, camera_matrix and so on")
    matrices = {name: _numbers(data, name, path) for name in (*_SHAPES, "distortion_coefficients")}
    for name, count in _SHAPES.items():
        if len(matrices[name]) != count:
            raise CalibrationError(f"{path}: {name} has {len(matrices[name])} numbers; expected {count}")
    width, height = data.get("image_width"), data.get("image_height")
    if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
        raise CalibrationError(f"{path}: image_width and image_height are {width} and {height}; expected pixels")
    return CameraModel(
        width,
        height,
        k=matrices["camera_matrix"],
        d=matrices["distortion_coefficients"],
        distortion_model=str(data.get("distortion_model", "plumb_bob")),
        r=matrices["rectification_matrix"],
        p=matrices["projection_matrix"],
    )


def _numbers(data: dict[str, Any], name: str, path: str | Path) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in data[name]["data"])
    except (KeyError, TypeError, ValueError):
        raise CalibrationError(f"{path}: {name}: expected 'data' with a list of numbers") from None
