"""How a scene moved from one picture to the next, and where the moved picture fits: dense optical flow (DIS).

Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search", as OpenCV has it. At half the network's size it
takes a fraction of a millisecond; the number of threads does not change its result.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray

_SMALLEST = 32
"""Pictures with a shorter side, px, are taken to be at rest: patches of the flow do not fit into them."""
_SCALE = 2
"""Network pixels per pixel of the pictures that are compared, which is half a logit node."""


@dataclasses.dataclass(frozen=True)
class Motion:
    """Where each logit node was in the picture before."""

    columns: FloatArray
    """Column on the grid of the frame before, (h, w)."""
    rows: FloatArray
    """Row on it, (h, w)."""
    fit: FloatArray
    """How well the moved picture fits this one, 0 to 1, (h, w)."""

    def move(self, grid: FloatArray, border: int = cv2.BORDER_REPLICATE) -> FloatArray:
        """A map (h, w) of the frame before on this frame's grid; BORDER_CONSTANT gives 0 to what was out of sight."""
        return np.asarray(cv2.remap(grid, self.columns, self.rows, cv2.INTER_LINEAR, borderMode=border), np.float32)


def picture_of(network_rgb: ByteArray) -> ByteArray:
    """The picture that motion is measured on, half the network's size: uint8 RGB (H / 2, W / 2, 3)."""
    height, width = network_rgb.shape[0] // _SCALE, network_rgb.shape[1] // _SCALE
    return np.asarray(cv2.resize(network_rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def motion_between(before: ByteArray, now: ByteArray, tolerance: float) -> Motion:
    """How the scene moved.

    Args:
        before: picture of the frame before, as `picture_of` gives it.
        now: picture of this frame.
        tolerance: difference at which `fit` is 1/e: of the channel that differs most (steel on tissue may differ in
            colour alone), mean of 3x3 pixels, 0 to 255.
    """
    height, width = now.shape[:2]
    if min(height, width) < _SMALLEST:
        flow = np.zeros((height, width, 2), np.float32)
    else:
        # One object for each call: it keeps pictures inside, and streams may share a process.
        dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (now, before)]
        flow = np.asarray(dis.calc(grey[0], grey[1], None), np.float32)
    columns, rows = _nodes(height, width)
    moved = cv2.remap(
        before, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    red, green, blue = cv2.split(cv2.absdiff(moved, now))
    error = cv2.blur(cv2.max(cv2.max(red, green), blue).astype(np.float32), (3, 3))
    size = (width // 2, height // 2)
    at_nodes = np.asarray(cv2.resize(flow, size, interpolation=cv2.INTER_AREA), np.float32) / 2
    error = np.asarray(cv2.resize(error, size, interpolation=cv2.INTER_AREA), np.float32)
    columns, rows = _nodes(size[1], size[0])
    fit = np.exp(-error / np.float32(tolerance))
    return Motion(np.add(columns, at_nodes[..., 0]), np.add(rows, at_nodes[..., 1]), fit)


@functools.lru_cache(maxsize=8)
def _nodes(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return columns, rows
