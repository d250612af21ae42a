"""Log-probabilities on the logit grid -> label map and confidence at the size of the frame.

Ours: F.interpolate and argmax take over 100 times as long (docs/results/performance.md), OpenCV by classes 3 and more.

What they are: the log-probabilities, bilinearly interpolated (half-pixel centres, edges repeated) from the grid nodes
to the frame pixels through the `Letterbox`; the label is the class with the largest value, the first one on ties;
confidence is its softmax probability after division by the calibration's temperature, x 255. `reference_maps` computes
just that, plainly. `full_size_maps` gives the same at a fraction of the cost (compiled in `label_map_kernels`): labels
exactly, but for rounding; confidence nearly everywhere within one step of 255.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray, DoubleArray, FloatArray
from clip_rl_perception.kernels import label_map_kernels as kernels
from clip_rl_perception.labels import UNLABELLED
from clip_rl_perception.scene.letterbox import content_mask, frame_to_grid, make_letterbox
from clip_rl_perception.scene.types import Letterbox


def full_size_maps(
    log_probs: FloatArray,
    view: Letterbox,
    *,
    winners: ByteArray | None = None,
    temperature: float = 1.0,
    want_confidence: bool = False,
) -> tuple[ByteArray, ByteArray | None]:
    """Label map, and confidence where it is wanted, at the size of the frame.

    Args:
        log_probs: finite float32 (K, h, w), h and w being `view.network_size` over the stride.
        view: where the grid lies in the frame.
        winners: uint8 (h, w) from `grid_winners(log_probs)` where the caller has it already.
        temperature: of the calibration, above 0; larger is less sure. Does not change labels.
        want_confidence: compute the second map.

    Returns:
        Class ids, uint8 (height, width), 255 outside the content; probability of those classes x 255, uint8 (height,
        width), 0 outside the content, or None.

    Raises:
        ValueError: `temperature` is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    values = pixel_major(log_probs)
    winners = grid_winners(log_probs) if winners is None else np.ascontiguousarray(winners, np.uint8)
    cells, crop = _cells(view, log_probs.shape[1:]), view.crop
    labels = np.empty(view.frame_size, np.uint8)
    kernels.fill_labels(winners, values, *cells, crop.x, crop.y, labels)
    _clear_outside(labels, view, UNLABELLED)
    if not want_confidence:
        return labels, None
    confidence = np.empty(view.frame_size, np.uint8)
    kernels.fill_confidence(winners, values, np.float32(1 / temperature), *cells, crop.x, crop.y, confidence)
    _clear_outside(confidence, view, 0)
    return labels, confidence


def full_size_disagreement(grid: FloatArray, view: Letterbox) -> ByteArray:
    """How much looks disagree, at the size of the frame.

    Args:
        grid: bits, float32 (h, w), as of `Scene.disagreement`; above 1 counts as 1.
        view: where the grid lies in the frame.

    Returns:
        Bits x 255, bilinear between nodes, uint8 (height, width), 0 outside the content.
    """
    levels = np.rint(np.clip(grid, 0, 1) * 255).astype(np.uint8)
    (left, top), (right, bottom) = frame_to_grid([[0, 0], [1, 1]], view, view.network_size[0] // grid.shape[0])
    to_grid = np.array([[right - left, 0, left], [0, bottom - top, top]])
    full = cv2.warpAffine(
        levels,
        to_grid,
        (view.frame_size[1], view.frame_size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    found = np.asarray(full, np.uint8)
    _clear_outside(found, view, 0)
    return found


def pixel_major(log_probs: FloatArray) -> FloatArray:
    """(K, h, w) as contiguous float32 (h, w, K): no copy of what engines return that have it so in memory."""
    return np.ascontiguousarray(np.moveaxis(log_probs, 0, 2), np.float32)


def grid_winners(log_probs: FloatArray) -> ByteArray:
    """Class with the largest value at each node, the first one on ties: float32 (K, h, w) -> uint8 (h, w)."""
    winners: ByteArray = kernels.argmax(pixel_major(log_probs))
    return winners


def warm_up() -> None:
    """Compile what `full_size_maps` needs, once per process, so that the first frame does not wait for it."""
    full_size_maps(np.zeros((2, 2, 2), np.float32), make_letterbox((8, 8), (8, 8)), want_confidence=True)


def reference_maps(
    log_probs: FloatArray, view: Letterbox, *, temperature: float = 1.0, band: int = 64
) -> tuple[ByteArray, ByteArray]:
    """What `full_size_maps` stands for, written down plainly in double precision: the yardstick of tests and benches.

    Args:
        log_probs: float32 (K, h, w).
        view: where the grid lies in the frame.
        temperature: of the calibration.
        band: rows worked on at a time, to bound memory.

    Returns:
        Class ids and probability x 255, as in `full_size_maps`.
    """
    planes = np.asarray(log_probs, np.float64)
    _, grid_height, grid_width = planes.shape
    height, width = view.frame_size
    left, right, along_x = _neighbours(view, width, grid_width, axis=0)
    above, below, along_y = _neighbours(view, height, grid_height, axis=1)
    across = planes[:, :, left] * (1 - along_x) + planes[:, :, right] * along_x
    labels, confidence = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    for start in range(0, height, band):
        rows = slice(start, min(start + band, height))
        part = along_y[rows, None]
        values = across[:, above[rows]] * (1 - part) + across[:, below[rows]] * part
        labels[rows] = values.argmax(axis=0)
        values -= values.max(axis=0)
        confidence[rows] = np.rint(255 / np.exp(values / temperature).sum(axis=0))
    _clear_outside(labels, view, UNLABELLED)
    _clear_outside(confidence, view, 0)
    return labels, confidence


def _neighbours(view: Letterbox, length: int, nodes: int, axis: int) -> tuple[Any, Any, DoubleArray]:
    """Of each pixel along an axis: the nodes before and after it, and how far it lies between them."""
    position = _grid_positions(view, np.arange(length), nodes, axis)
    before = np.floor(position).astype(np.intp)
    return np.clip(before, 0, nodes - 1), np.clip(before + 1, 0, nodes - 1), position - before


def _grid_positions(view: Letterbox, pixels: npt.NDArray[Any], nodes: int, axis: int) -> DoubleArray:
    stride = view.network_size[1 - axis] // nodes
    points = np.zeros((len(pixels), 2))
    points[:, axis] = pixels
    return frame_to_grid(points, view, stride)[:, axis]


@functools.lru_cache(maxsize=8)
def _cells(view: Letterbox, grid: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """First crop pixel of each cell, int64 (nodes + 2), and each crop pixel's place in its cell: of columns, of rows.

    Cell i lies between nodes i - 1 and i; the first and last lie between a node and the edge of the grid. Places of
    columns end with zeros, as `label_map_kernels` wants them.
    """
    result: list[Any] = []
    for axis, (first, length, nodes) in enumerate(
        ((view.crop.x, view.crop.width, grid[1]), (view.crop.y, view.crop.height, grid[0]))
    ):
        position = _grid_positions(view, first + np.arange(length), nodes, axis)
        before = np.floor(position)
        cell = np.clip(before, -1, nodes - 1).astype(np.int64) + 1
        result += [np.searchsorted(cell, np.arange(nodes + 2)).astype(np.int64), (position - before).astype(np.float32)]
    starts_x, along_x, starts_y, along_y = result
    return starts_x, np.pad(along_x, (0, kernels.width_in_vectors(starts_x))), starts_y, along_y


def _clear_outside(full: ByteArray, view: Letterbox, value: int) -> None:
    """Set what lies outside the content to `value`, 0 or 255."""
    crop = view.crop
    full[: crop.y] = value
    full[crop.y + crop.height :] = value
    full[crop.y : crop.y + crop.height, : crop.x] = value
    full[crop.y : crop.y + crop.height, crop.x + crop.width :] = value
    mask = content_mask(view)
    if mask is None:
        return
    if value == 0:
        cv2.bitwise_and(full, mask, dst=full)
    else:
        cv2.bitwise_or(full, cv2.bitwise_not(mask), dst=full)
