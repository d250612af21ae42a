"""Random smooth fields: the clouds, stains and folds that corruptions are made of. Sizes are relative to the image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray


def smooth_field(random: np.random.Generator, size: tuple[int, int], cells: float) -> FloatArray:
    """Smooth noise in 0..1 with about `cells` bumps along the shorter side, float32 (H, W)."""
    height, width = size
    shorter = min(height, width)
    rows, columns = (max(2, round(cells * side / shorter)) + 2 for side in (height, width))
    grid = random.random((min(rows, 512), min(columns, 512)), np.float32)
    field = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(field, 0, 1), np.float32)


def clouds(random: np.random.Generator, size: tuple[int, int], cells: float, octaves: int = 4) -> FloatArray:
    """Sum of smooth fields of rising frequency and falling weight, stretched to 0..1, float32 (H, W)."""
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        total += smooth_field(random, size, cells * 2**octave) * np.float32(0.5**octave)
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def largest_share(field: FloatArray, share: float) -> BoolArray:
    """The `share` of pixels where the field is largest, bool (H, W)."""
    if share <= 0:
        return np.zeros(field.shape, np.bool_)
    step = max(1, int((field.size / 100_000) ** 0.5))  # a sample tells the quantile well enough
    return np.asarray(field >= np.quantile(field[::step, ::step], max(0.0, 1.0 - share)), np.bool_)


def from_the_border(random: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A field that falls from one random side of the image towards the other along a wavy front, float32 (H, W)."""
    height, width = size
    angle = float(random.uniform(0, 2 * np.pi))
    y = (np.arange(height, dtype=np.float32) / height - 0.5)[:, None]
    x = (np.arange(width, dtype=np.float32) / width - 0.5)[None]
    ramp = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    return np.asarray(ramp + 0.35 * smooth_field(random, size, 3), np.float32)


def blend(rgb: ByteArray, color: npt.NDArray[Any], alpha: FloatArray) -> ByteArray:
    """`rgb` under `color` ((3,) or (H, W, 3), 0..255) with opacity `alpha` (H, W); uint8 (H, W, 3)."""
    return to_bytes(rgb + (np.asarray(color, np.float32) - rgb) * np.asarray(alpha, np.float32)[..., None])


def to_bytes(image: npt.NDArray[Any]) -> ByteArray:
    """Rounded and clipped to 0..255, uint8."""
    return np.asarray(np.clip(image + 0.5, 0, 255.5), np.uint8)


def blurred(image: npt.NDArray[Any], sigma: float) -> npt.NDArray[Any]:
    """Gaussian blur of `sigma` px; unchanged below 0.05 px. Wide blurs work on a reduced image: it looks the same."""
    if sigma < 0.05:
        return image
    height, width = image.shape[:2]
    step = min(max(1, int(sigma / 3)), height, width)
    if step == 1:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)).reshape(image.shape)
    small = cv2.resize(image, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)).reshape(image.shape)
