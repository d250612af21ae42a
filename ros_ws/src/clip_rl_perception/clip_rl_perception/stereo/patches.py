"""Small rectified parts of an eye's picture, in gray and with the instrument's pixels marked.

The map from a part to pixels of the image is smooth: it is computed at nine nodes and interpolated between them by
parabolas, which for parts of a hundred pixels is right to hundredths of a pixel. Only what a part covers is read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray, FloatArray
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

OTHERS = 0.5
"""Share of a sample that another instrument covers above which the sample is that one's."""


@dataclasses.dataclass(frozen=True)
class Patches:
    """Parts of one eye's picture, float32 (n, height, width) each."""

    gray: FloatArray
    """0 to 255; 0 outside the picture."""
    own: FloatArray
    """Share of each sample that the instrument covers, 0 to 1."""
    free: FloatArray
    """0 where a sample lies outside the picture or on another instrument, else 1."""


def take_patches(
    geometry: StereoGeometry,
    eye: EyeGeometry,
    view: EyeView,
    centres: DoubleArray,
    steps: DoubleArray,
    numbers: list[int],
    shape: tuple[int, int],
) -> Patches:
    """Parts around places of the virtual camera.

    Args:
        geometry: of the pair.
        eye: the eye's own.
        view: its frame.
        centres: (n, 2), px of the virtual camera.
        steps: (n,), px between samples.
        numbers: of the instrument of each part in `instances`; 0: none, nothing is its own.
        shape: (height, width) of a part, samples, both odd.
    """
    height, width = shape
    count = len(centres)
    gray = np.zeros((count, height, width), np.float32)
    own, free = np.zeros_like(gray), np.zeros_like(gray)
    if not count:
        return Patches(gray, own, free)
    reach = np.array([(width - 1) / 2, (height - 1) / 2])
    places = np.array([(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)]) * reach  # (9, 2)
    nodes = geometry.original(eye, (centres[:, None] + steps[:, None, None] * places).reshape(-1, 2))
    nodes = nodes.reshape(count, 3, 3, 2).transpose(0, 3, 1, 2)
    maps = (_parabolas(height) @ nodes @ _parabolas(width).T).astype(np.float32)  # (n, 2, height, width)
    borders = np.concatenate([maps.min(axis=(2, 3)), maps.max(axis=(2, 3))], axis=1).tolist()
    for index in range(count):
        _read(view, maps[index], borders[index], numbers[index], float(steps[index]), (gray, own, free), index)
    return Patches(gray, own, free)


def _read(
    view: EyeView,
    places: FloatArray,
    border: list[float],
    number: int,
    step: float,
    into: tuple[FloatArray, FloatArray, FloatArray],
    index: int,
) -> None:
    gray, own, free = (array[index] for array in into)
    if not all(map(math.isfinite, border)):
        return
    width, height = view.size
    shrink = max(1, round(step * 0.75))
    # Whole blocks around what is needed, inside the picture.
    left, top = (max(0, (math.floor(low) - shrink) // shrink * shrink) for low in border[:2])
    right, bottom = (
        min(width, math.ceil(border[2]) + 2 * shrink + 1),
        min(height, math.ceil(border[3]) + 2 * shrink + 1),
    )
    if right - left < shrink or bottom - top < shrink:
        return
    columns, rows = (right - left) // shrink, (bottom - top) // shrink
    right, bottom = left + columns * shrink, top + rows * shrink
    small = _block(view.image[top:bottom, left:right], (columns, rows))
    x = (places[0] - left + 0.5) / shrink - 0.5
    y = (places[1] - top + 0.5) / shrink - 0.5
    cv2.remap(small, x, y, cv2.INTER_LINEAR, dst=gray, borderMode=cv2.BORDER_REPLICATE)
    free[:] = (places[0] >= 0) & (places[0] <= width - 1) & (places[1] >= 0) & (places[1] <= height - 1)
    if view.instances is not None and number:
        _mark(view, places, border, number, own, free)


def _block(part: npt.NDArray[np.uint8], size: tuple[int, int]) -> FloatArray:
    made: Any = np.ascontiguousarray(part)
    if made.shape[1::-1] != size:
        made = cv2.resize(made, size, interpolation=cv2.INTER_AREA)
    if made.ndim == 3:
        made = cv2.cvtColor(made, cv2.COLOR_RGB2GRAY)
    return np.asarray(made, np.float32)


def _mark(
    view: EyeView, places: FloatArray, border: list[float], number: int, own: FloatArray, free: FloatArray
) -> None:
    """Nearest pixels of `instances`, which may be smaller than the image."""
    assert view.instances is not None
    height, width = view.instances.shape
    across, down = width / view.size[0], height / view.size[1]
    columns = np.clip(((places[0] + 0.5) * across).astype(np.int32), 0, width - 1)
    rows = np.clip(((places[1] + 0.5) * down).astype(np.int32), 0, height - 1)
    owners = view.instances[rows, columns]
    own[:] = (owners == number) * free
    free[:] *= (owners == number) | (owners == 0)


@functools.lru_cache(maxsize=16)
def _parabolas(count: int) -> DoubleArray:
    """(count, 3): weights of the nodes at -1, 0, 1 at `count` places from -1 to 1 (Lagrange)."""
    at = np.linspace(-1.0, 1.0, count)
    return np.column_stack([at * (at - 1) / 2, 1 - at * at, at * (at + 1) / 2])
