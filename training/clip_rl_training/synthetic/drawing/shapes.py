"""Outlines and their filling: the only place where polygons become pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, DoubleArray, FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes, as_floats

Points = DoubleArray
"""Polygon corners or path points, (N, 2) as x, y."""

_SHIFT = 4
_LARGE = 60_000
"""Pixels from which a coarser grid will do."""


def fill(size: tuple[int, int], outlines: Sequence[Points]) -> ByteArray:
    """Coverage 0..255 of polygons, uint8 (H, W); a polygon inside another is a hole (even-odd rule).

    A pixel at (x, y) is the unit square round that point. Coverage is counted on a grid of 4x4 or, for large areas, 2x2
    points per pixel: OpenCV's own anti-aliased filling widens every edge by three quarters of a pixel.
    """
    height, width = size
    finer = 4 if height * width < _LARGE else 2
    canvas = np.zeros((height * finer, width * finer), np.uint8)
    limit = float(1 << 14)
    fixed = [
        np.round((((np.clip(points, -limit, limit) + 0.5) * finer) - 0.5) * (1 << _SHIFT)).astype(np.int32)
        for points in outlines
    ]
    cv2.fillPoly(canvas, fixed, 255, cv2.LINE_8, _SHIFT)
    return as_bytes(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA))


def fill_alpha(size: tuple[int, int], outlines: Sequence[Points], softness: float = 0.0) -> FloatArray:
    """Coverage 0..1, float32 (H, W), with edges blurred by `softness` px; wide blurs work on a reduced grid."""
    height, width = size
    shrink = max(1, int(softness / 3))
    if shrink > 1:
        small = (max(4, height // shrink), max(4, width // shrink))
        factor = np.array([small[1] / width, small[0] / height])
        coverage = fill(small, [points * factor for points in outlines])
        blurred = cv2.GaussianBlur(coverage, (0, 0), softness / shrink)
        coverage = as_bytes(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))
    else:
        coverage = fill(size, outlines)
        if softness > 0.3:
            coverage = as_bytes(cv2.GaussianBlur(coverage, (0, 0), softness))
    return as_floats(coverage.astype(np.float32) * np.float32(1.0 / 255.0))


def seam(size: tuple[int, int], outline: Points, narrow: float, wide: float, towards: float) -> FloatArray:
    """Coverage 0..1, float32 (H, W), of a thing that lies over its surroundings on one side and passes into them on the
    other: its edge is blurred by `narrow` px in the direction `towards` (rad) and by up to `wide` px on the far side.

    One half is reached on the same line as with `fill_alpha`, so a label that begins there is as exact as its outline.
    """
    alpha = fill_alpha(size, [outline], wide)
    middle, half = (outline.min(axis=0) + outline.max(axis=0)) / 2, max(float(np.ptp(outline, axis=0).max()) / 2, 1.0)
    columns = (np.arange(size[1], dtype=np.float32) - np.float32(middle[0])) * np.float32(np.cos(towards) / half)
    rows = (np.arange(size[0], dtype=np.float32) - np.float32(middle[1])) * np.float32(np.sin(towards) / half)
    columns *= np.float32(0.6)
    rows *= np.float32(0.6)
    sharpness = np.clip(rows[:, None] + (columns + np.float32(0.5))[None, :], 0, 1)
    sharpness *= sharpness
    sharpness *= np.float32(max(wide / max(narrow, 0.3), 1.0) - 1)
    sharpness += 1
    alpha -= np.float32(0.5)
    alpha *= sharpness
    alpha += np.float32(0.5)
    return as_floats(np.clip(alpha, 0, 1, out=alpha))


def blob_outline(
    rng: np.random.Generator, center: tuple[float, float], long: float, short: float, angle: float, wobble: float
) -> Points:
    """An ellipse with an uneven rim, (64, 2): harmonics 2 to 7 of relative size `wobble`."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radius = np.ones(64)
    for harmonic in range(2, 8):
        radius += wobble / harmonic * rng.normal() * np.cos(harmonic * turn + rng.uniform(0, 2 * np.pi))
    along, across = long * radius * np.cos(turn), short * radius * np.sin(turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([center[0] + along * cosine - across * sine, center[1] + along * sine + across * cosine], axis=1)


def transform(points: Points, homography: Points) -> Points:
    """Points through a 3x3 homography."""
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:3])


def bounds(points: Points, size: tuple[int, int], margin: int = 2) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom (exclusive) of the points within an image of `size`, or None where they lie outside."""
    height, width = size
    left, top = np.floor(points.min(axis=0)).astype(int) - margin
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + margin + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right - left < 1 or bottom - top < 1:
        return None
    return int(left), int(top), int(right), int(bottom)


class Patch(NamedTuple):
    """Where an outline lies in an image."""

    window: tuple[slice, slice]
    """Rows and columns."""
    size: tuple[int, int]
    """(H, W) of the window, px."""
    outline: Points
    """In the window's coordinates."""


def patch(outline: Points, size: tuple[int, int], margin: int) -> Patch | None:
    """The window round an outline, `margin` px wider, in an image of `size`; None where it lies outside."""
    box = bounds(outline, size, margin)
    if box is None:
        return None
    left, top, right, bottom = box
    return Patch((slice(top, bottom), slice(left, right)), (bottom - top, right - left), outline - (left, top))


def disc_or_box(center: tuple[float, float], half: tuple[float, float], roundness: float) -> Points:
    """A box with rounded corners, (N, 2); roundness 1 with equal half sides is a circle, 0 a rectangle."""
    radius = roundness * min(half)
    corners = ((1, 1, 0.0), (-1, 1, 0.5), (-1, -1, 1.0), (1, -1, 1.5))
    points = []
    for sign_x, sign_y, start in corners:
        turn = (start + np.linspace(0, 0.5, 24)) * np.pi
        x = center[0] + sign_x * (half[0] - radius) + radius * np.cos(turn)
        y = center[1] + sign_y * (half[1] - radius) + radius * np.sin(turn)
        points.append(np.stack([x, y], axis=1))
    return np.concatenate(points)


def ribbon(path: Points, half: float | DoubleArray) -> Points:
    """Outline of a stroke of half-width `half` along `path`, one number or one per point."""
    half = np.broadcast_to(half, len(path))[:, None]
    step = np.gradient(path, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-6)
    return np.concatenate([path + normal * half, (path - normal * half)[::-1]])
