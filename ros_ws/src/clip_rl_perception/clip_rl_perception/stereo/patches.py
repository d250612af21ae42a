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

from clip_rl_perception.arrays import BoolArray, DoubleArray, FloatArray
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.eye_view import EyeView, Words
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

THINNED = 4
"""Pixels of a block's side from which on half of them are read."""


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
    if not count:
        return Patches(gray, np.zeros_like(gray), np.zeros_like(gray))
    reach = np.array([(width - 1) / 2, (height - 1) / 2])
    places = np.array([(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)]) * reach  # (9, 2)
    nodes = geometry.original(eye, (centres[:, None] + steps[:, None, None] * places).reshape(-1, 2))
    nodes = nodes.reshape(count, 3, 3, 2).transpose(0, 3, 1, 2)
    maps = np.nan_to_num(_parabolas(height) @ nodes @ _parabolas(width).T, nan=-1e6).astype(np.float32)
    # A parabola between nodes that lie inside may leave them by little: a border of one block is read beyond.
    lows, highs = nodes.min(axis=(2, 3)).tolist(), nodes.max(axis=(2, 3)).tolist()
    for index, step in enumerate(steps.tolist()):
        _read(view, maps[index], (*lows[index], *highs[index]), step, gray[index])
    x, y = maps[:, 0], maps[:, 1]
    inside = (x >= 0) & (x <= view.size[0] - 1) & (y >= 0) & (y <= view.size[1] - 1)
    if view.instances is None:
        return Patches(gray, np.zeros_like(gray), inside.astype(np.float32))
    owners = _owners(view.instances, view.size, maps, inside)
    own = owners == np.array(numbers, np.uint16)[:, None, None]
    own &= owners > 0
    free = inside & (own | (owners == 0))
    return Patches(gray, own.astype(np.float32), free.astype(np.float32))


def _read(
    view: EyeView, places: FloatArray, border: tuple[float, float, float, float], step: float, gray: FloatArray
) -> None:
    """One part of the picture, made of blocks of pixels about as large as a step."""
    if not all(map(math.isfinite, border)):
        return
    width, height = view.size
    shrink = max(1, round(step * 0.75))
    shrink -= shrink % 2 if shrink >= THINNED else 0
    # Whole blocks around what is needed, inside the picture.
    left, top = (max(0, (math.floor(low) - shrink) // shrink * shrink) for low in border[:2])
    right = min(width, math.ceil(border[2]) + 2 * shrink + 1)
    bottom = min(height, math.ceil(border[3]) + 2 * shrink + 1)
    if right - left < shrink or bottom - top < shrink:
        return
    columns, rows = (right - left) // shrink, (bottom - top) // shrink
    # Of large blocks every other row and column: their mean is as good, and reading them is what takes time.
    every = 2 if shrink >= THINNED and shrink % 2 == 0 else 1
    part = view.image[top : top + rows * shrink : every, left : left + columns * shrink : every]
    # Of colours green: the one of which cameras have most, and a third of the work.
    small: Any = np.ascontiguousarray(part[..., 1] if part.ndim == 3 else part)
    if shrink > 1:
        small = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixels that are read lie half a step before the middle of what they stand for.
    start = np.array([left - every / 2, top - every / 2], np.float32)[:, None, None]
    scaled = (places - start) * np.float32(1 / shrink) - np.float32(0.5)
    cv2.remap(
        small.astype(np.float32), scaled[0], scaled[1], cv2.INTER_LINEAR, dst=gray, borderMode=cv2.BORDER_REPLICATE
    )


def _owners(instances: Words, size: tuple[int, int], maps: FloatArray, inside: BoolArray) -> Words:
    """Numbers at the nearest pixels of `instances`, which may be smaller than the image; 0 outside."""
    height, width = instances.shape
    scale = np.array([width / size[0], height / size[1]], np.float32)[:, None, None]
    cells = ((maps + np.float32(0.5)) * scale).astype(np.int32)
    flat = np.clip(cells[:, 1], 0, height - 1) * width + np.clip(cells[:, 0], 0, width - 1)
    found = instances.reshape(-1)[flat] if instances.flags.c_contiguous else instances[flat // width, flat % width]
    return np.asarray(found * inside, np.uint16)


@functools.lru_cache(maxsize=16)
def _parabolas(count: int) -> DoubleArray:
    """(count, 3): weights of the nodes at -1, 0, 1 at `count` places from -1 to 1 (Lagrange)."""
    at = np.linspace(-1.0, 1.0, count)
    return np.column_stack([at * (at - 1) / 2, 1 - at * at, at * (at + 1) / 2])
