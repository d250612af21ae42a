"""A made-up moment of two eyes, so that what is compiled at its first use is compiled before frames come."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels import compiled
from clip_rl_perception.scene.types import Box, Instrument, Keypoint
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.shaft_width import ShaftSizes
from clip_rl_perception.stereo.stereo_geometry import stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoConfig, StereoMatcher

_WIDTH, _HEIGHT = 320, 256
_FOCAL, _BASELINE_M, _DISPARITY = 300.0, 0.005, 15
"""px, m, px: 0.1 m away."""
_SHAFT = (0, 112, 160, 32)
"""x, y, width, height, px, in the left eye."""


def compiles_anew() -> bool:
    """Whether no earlier process kept the machine code of the matcher."""
    return not compiled.is_warm("strip_kernels")


def warm_up() -> None:
    """Match once: an instrument before a wall of noise."""
    noise = np.random.default_rng(0).integers(60, 200, (_HEIGHT, _WIDTH + _DISPARITY), np.uint8)
    left, right = _view(noise, 0), _view(noise, _DISPARITY)
    size = _WIDTH, _HEIGHT
    geometry = stereo_geometry(_info(0.0), _info(_BASELINE_M), size, size, rectified=True)
    StereoMatcher(geometry, StereoConfig(shafts=ShaftSizes(8.0))).match(left, right)


def _view(noise: np.ndarray, shift: int) -> EyeView:
    x, y, width, height = _SHAFT
    image = np.ascontiguousarray(np.repeat(noise[:, shift : shift + _WIDTH, None], 3, axis=2))
    end = x + width - shift
    owners = np.zeros((_HEIGHT, _WIDTH), np.uint16)
    owners[y : y + height, x:end] = 1
    row = y + height / 2
    points = (("entry", 2.0), ("wrist", end - 40.0), ("tip_1", end - 8.0))
    tag = Instrument(
        1, 0.9, Box(x, y, end, height), (end - 8.0, row), (1.0, 0.0), float(end * height), True, track_id=1, age=5,
        keypoints=tuple(Keypoint(name, at, row, 0.9, True) for name, at in points),
    )  # fmt: skip
    return EyeView(image, owners, (tag,), ("instrument",))


def _info(baseline_m: float) -> CameraInfo:
    cx, cy = (_WIDTH - 1) / 2, (_HEIGHT - 1) / 2
    k = (_FOCAL, 0.0, cx, 0.0, _FOCAL, cy, 0.0, 0.0, 1.0)
    p = (_FOCAL, 0.0, cx, -_FOCAL * baseline_m, 0.0, _FOCAL, cy, 0.0, 0.0, 0.0, 1.0, 0.0)
    return CameraInfo(_WIDTH, _HEIGHT, k, (0.0,) * 5, "plumb_bob", (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), p)
