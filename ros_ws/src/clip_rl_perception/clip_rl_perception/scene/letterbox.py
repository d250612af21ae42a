"""The way from a frame to the network input and back: crop to the content, keep the aspect ratio, pad.

Three coordinate systems, each with its origin at the centre of its top-left element: frame pixels (full size), network
pixels, and nodes of the logit grid: node g lies at network pixel ``g * stride + (stride - 1) / 2``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, described
from clip_rl_perception.kernels.block_mean import block_mean, can_take
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox

PAD_RGB = (123, 117, 104)
"""Padding colour: CLIP's mean colour, so that padding is about 0 after normalisation."""

STRIDE = 4
"""Network pixels per logit."""


def make_letterbox(
    frame_size: tuple[int, int], network_size: tuple[int, int], content: ContentArea | None = None
) -> Letterbox:
    """View of a frame: its content area scaled to fit the network input, centred, the rest padding.

    Args:
        frame_size: (height, width) of the frame, px.
        network_size: (H, W) of the network input, px.
        content: what to show; None shows the whole frame.

    Raises:
        ValueError: a size is not positive, or the crop is empty or not inside the frame.
    """
    height, width = frame_size
    if min(*frame_size, *network_size) < 1:
        raise ValueError(f"frame size {frame_size} and network size {network_size} must be at least 1x1")
    content = content or ContentArea(Box(0, 0, width, height))
    crop = content.crop
    fits = min(crop.x, crop.y) >= 0 and crop.x + crop.width <= width and crop.y + crop.height <= height
    if min(crop.width, crop.height) < 1 or not fits:
        raise ValueError(f"{crop} is not a part of a {width}x{height} frame")
    scale = min(network_size[0] / crop.height, network_size[1] / crop.width)
    view = Letterbox((height, width), network_size, crop, scale, 0, 0, content.circle, content.corner_radius)
    shown_height, shown_width = shown_size(view)
    pad_x, pad_y = (network_size[1] - shown_width) // 2, (network_size[0] - shown_height) // 2
    return dataclasses.replace(view, pad_x=pad_x, pad_y=pad_y)


def shown_size(view: Letterbox) -> tuple[int, int]:
    """(height, width) in network pixels of the crop inside the network input; at least 1x1, at most the input size."""
    return (
        max(1, min(view.network_size[0], round(view.crop.height * view.scale))),
        max(1, min(view.network_size[1], round(view.crop.width * view.scale))),
    )


def to_network(rgb: ByteArray, view: Letterbox, out: ByteArray | None = None) -> ByteArray:
    """Draw the frame as the network sees it.

    Shrinking averages: whole pixel blocks first (as `cv2.INTER_AREA`), the rest of the way bilinear, at the exact
    `view.scale` rather than at a ratio of rounded sizes, so that `network_to_frame` holds to a hundredth of a pixel.

    Args:
        rgb: uint8 (height, width, 3) of `view.frame_size`; strided views are fine, `bgr[..., ::-1]` costs nothing.
        view: how to show it.
        out: uint8 (H, W, 3), C-contiguous, to write into; None makes a new one.

    Returns:
        uint8 (H, W, 3) of `view.network_size`: `out` where it was given.

    Raises:
        ValueError: `rgb` or `out` has another shape or dtype.
    """
    _expect("rgb", rgb, (*view.frame_size, 3))
    height, width = view.network_size
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    _expect("out", out, (height, width, 3))
    crop = view.crop
    image = rgb[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    reversed_channels = image.strides[2] == -1
    if reversed_channels:  # a view of BGR as RGB: turned round when it is small
        image = image[..., ::-1]
    factor = max(1, math.floor(1.0 / view.scale))
    factor_x, factor_y = min(factor, crop.width), min(factor, crop.height)
    if max(factor_x, factor_y) > 2 and can_take(image, factor_x, factor_y):
        image = block_mean(image, factor_x, factor_y)
    elif factor_x > 1 or factor_y > 1:
        blocks = image[: crop.height // factor_y * factor_y, : crop.width // factor_x * factor_x]
        image = _scale(blocks, 1.0 / factor_x, 1.0 / factor_y, cv2.INTER_AREA)
    image = _scale(image, view.scale * factor_x, view.scale * factor_y, cv2.INTER_LINEAR)
    if reversed_channels:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    shown_height, shown_width = shown_size(view)
    top, left = view.pad_y, view.pad_x
    image = image[:shown_height, :shown_width]
    bottom, right = top + image.shape[0], left + image.shape[1]
    out[top:bottom, left:right] = image
    # Blocks leave out up to one network pixel at the far edges: repeat the last row and column there.
    out[top:bottom, right : left + shown_width] = out[top:bottom, right - 1 : right]
    out[bottom : top + shown_height, left : left + shown_width] = out[bottom - 1 : bottom, left : left + shown_width]
    out[:top] = PAD_RGB
    out[top + shown_height :] = PAD_RGB
    out[:, :left] = PAD_RGB
    out[:, left + shown_width :] = PAD_RGB
    return out


def _scale(image: ByteArray, scale_x: float, scale_y: float, interpolation: int) -> ByteArray:
    """Resize by exact factors; OpenCV keeps them only when it may choose the size, which it must not when that is 0."""
    if scale_x == 1.0 and scale_y == 1.0:
        return image
    width, height = round(image.shape[1] * scale_x), round(image.shape[0] * scale_y)
    if width < 1 or height < 1:
        return np.asarray(cv2.resize(image, (max(1, width), max(1, height)), interpolation=cv2.INTER_AREA), np.uint8)
    if (height, width) == image.shape[:2]:  # OpenCV's resize would copy, whatever the factors
        back = np.array([[1 / scale_x, 0, 0.5 / scale_x - 0.5], [0, 1 / scale_y, 0.5 / scale_y - 0.5]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(image, back, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, np.uint8)
    return np.asarray(cv2.resize(image, None, fx=scale_x, fy=scale_y, interpolation=interpolation), np.uint8)


def _expect(name: str, value: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape != shape:
        raise ValueError(f"{name} is {described(value)}; expected uint8 {shape}")


def frame_to_network(points: npt.ArrayLike, view: Letterbox) -> DoubleArray:
    """Frame pixels (..., 2) of (x, y) -> network pixels (..., 2)."""
    points = np.asarray(points, np.float64)
    origin = np.array([view.crop.x, view.crop.y], np.float64)
    return (points - origin + 0.5) * view.scale - 0.5 + np.array([view.pad_x, view.pad_y], np.float64)


def network_to_frame(points: npt.ArrayLike, view: Letterbox) -> DoubleArray:
    """Network pixels (..., 2) of (x, y) -> frame pixels (..., 2): the inverse of `frame_to_network`."""
    points = np.asarray(points, np.float64)
    origin = np.array([view.crop.x, view.crop.y], np.float64)
    return (points - np.array([view.pad_x, view.pad_y], np.float64) + 0.5) / view.scale - 0.5 + origin


def frame_to_grid(points: npt.ArrayLike, view: Letterbox, stride: int = STRIDE) -> DoubleArray:
    """Frame pixels (..., 2) of (x, y) -> logit grid coordinates (..., 2) of (column, row)."""
    return (frame_to_network(points, view) + 0.5) / stride - 0.5


def grid_to_frame(points: npt.ArrayLike, view: Letterbox, stride: int = STRIDE) -> DoubleArray:
    """Logit grid coordinates (..., 2) of (column, row) -> frame pixels (..., 2) of (x, y)."""
    return network_to_frame((np.asarray(points, np.float64) + 0.5) * stride - 0.5, view)


def inside_content(points: npt.ArrayLike, view: Letterbox) -> BoolArray:
    """Whether frame points (..., 2) of (x, y) show the patient: inside the crop and its circle or rounded corners."""
    points = np.asarray(points, np.float64)
    return _inside(points[..., 0], points[..., 1], view)


def _inside(x: npt.NDArray[Any], y: npt.NDArray[Any], view: Letterbox) -> BoolArray:
    crop = view.crop
    left, right = crop.x - 0.5, crop.x + crop.width - 0.5
    top, bottom = crop.y - 0.5, crop.y + crop.height - 0.5
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    if view.circle is not None:
        centre_x, centre_y, radius = view.circle
        return np.asarray(inside & ((x - centre_x) ** 2 + (y - centre_y) ** 2 <= radius**2), np.bool_)
    if view.corner_radius > 0:
        radius = view.corner_radius
        # Distance beyond the straight part of each side: a corner is where both are positive.
        over_x = np.maximum(np.maximum(left + radius - x, x - (right - radius)), 0)
        over_y = np.maximum(np.maximum(top + radius - y, y - (bottom - radius)), 0)
        return np.asarray(inside & (over_x**2 + over_y**2 <= radius**2), np.bool_)
    return np.asarray(inside, np.bool_)


@functools.lru_cache(maxsize=4)
def content_mask(view: Letterbox) -> ByteArray | None:
    """Full-size mask of the content, uint8 (height, width): 255 inside, 0 outside. Read-only, shared between calls.

    None when every pixel of the crop shows the patient: then the crop says all.
    """
    if view.circle is None and view.corner_radius <= 0:
        return None
    height, width = view.frame_size
    mask = np.zeros((height, width), np.uint8)
    columns = np.arange(width, dtype=np.float32)
    for start in range(0, height, 256):  # in bands, so that temporaries stay small for large frames
        rows = np.arange(start, min(start + 256, height), dtype=np.float32)
        mask[start : start + len(rows)][_inside(columns[None, :], rows[:, None], view)] = 255
    mask.setflags(write=False)
    return mask


@functools.lru_cache(maxsize=8)
def grid_content_mask(view: Letterbox, stride: int = STRIDE) -> BoolArray:
    """Which logit nodes show the patient, bool (h, w): their centres lie in the content. Read-only, shared.

    A content area so small or thin that it holds no centre keeps the nodes nearest to the crop's middle row or column.
    """
    rows, columns = view.network_size[0] // stride, view.network_size[1] // stride
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    mask = inside_content(grid_to_frame(grid, view, stride), view)
    if not mask.any():
        crop = view.crop
        middle = [crop.x + (crop.width - 1) / 2, crop.y + (crop.height - 1) / 2]
        column, row = np.rint(frame_to_grid(middle, view, stride)).astype(int)
        far = [crop.x + crop.width, crop.y + crop.height]
        (left, top), (right, bottom) = frame_to_grid([[crop.x, crop.y], far], view, stride)
        row, column = min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
        mask[row, max(0, math.floor(left)) : math.ceil(right) + 1] = True
        mask[max(0, math.floor(top)) : math.ceil(bottom) + 1, column] = True
    mask.setflags(write=False)
    return mask
