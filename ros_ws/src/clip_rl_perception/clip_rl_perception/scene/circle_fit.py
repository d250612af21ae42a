"""Fits the circular border of an endoscope's picture to the places where a dark surround ends."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.arrays import ByteArray, DoubleArray
from clip_rl_perception.scene.types import Box

_HYPOTHESES = 64
"""Circles through three random border points that are tried."""
_TOLERANCE = 1.0
"""Distance of a border point from a circle that still supports it, small pixels."""


def fit_circle(small: ByteArray, scale: float, crop: Box, threshold: float) -> tuple[float, float, float] | None:
    """Find the circle that separates a dark surround from the content.

    Border points are where rows and columns first become bright, seen from each side; instruments and dark tissue move
    some of them inwards, so the circle is chosen by consensus (RANSAC, seeded: the same picture gives the same circle)
    and then fitted to its supporters (Kasa's least squares).

    Args:
        small: brightness of the whole frame at a small size, uint8 (h, w).
        scale: small pixels per frame pixel.
        crop: rectangle inside which to look, frame pixels.
        threshold: brightness above which a pixel is content.

    Returns:
        (cx, cy, radius) in frame pixels; None when no circle has dark all around, is bright inside, and is supported in
        three of its quarters and by half of its visible border.
    """
    left, top = round(crop.x * scale), round(crop.y * scale)
    right, bottom = round((crop.x + crop.width) * scale), round((crop.y + crop.height) * scale)
    part = small[top:bottom, left:right]
    height, width = part.shape
    if min(height, width) < 16:
        return None
    points = _border_points(part, threshold)
    if len(points) < 16:
        return None
    circle = _consensus(points, height, width)
    if circle is None or not _is_plausible(part, points, circle, threshold):
        return None
    # Small pixel i covers frame pixels whose centres run from i / scale - 0.5 + 0.5 / scale.
    return (
        float((circle[0] + left + 0.5) / scale - 0.5),
        float((circle[1] + top + 0.5) / scale - 0.5),
        float(circle[2] / scale),
    )


def _border_points(part: ByteArray, threshold: float) -> DoubleArray:
    """Where brightness first passes the threshold along rows and columns, from both ends: (n, 2) of (x, y).

    Lines that are bright from their first pixel on touch the rim, not the border, and give no point.
    """
    found = []
    for image, transposed in ((part, False), (part.T, True)):
        for lines, mirrored in ((image, False), (image[:, ::-1], True)):
            bright = lines > threshold
            # Two bright neighbours: a single one is noise in the surround.
            bright[:, :-1] &= bright[:, 1:]
            first = bright.argmax(axis=1)
            rows = np.flatnonzero((first > 0) & bright.any(axis=1))
            columns = first[rows]
            before = lines[rows, columns - 1].astype(np.float64)
            after = lines[rows, columns].astype(np.float64)
            place = columns - 1 + (threshold - before) / np.maximum(after - before, 1e-6)
            if mirrored:
                place = lines.shape[1] - 1 - place
            found.append(np.stack([rows, place] if transposed else [place, rows], axis=-1))
    return np.concatenate(found).astype(np.float64)


def _consensus(points: DoubleArray, height: int, width: int) -> DoubleArray | None:
    random = np.random.default_rng(0)
    triples = points[random.integers(0, len(points), (_HYPOTHESES, 3))]
    circles = _through_three(triples)
    shorter, longer = min(height, width), max(height, width)
    usable = (
        np.isfinite(circles).all(axis=1)
        & (circles[:, 2] > 0.25 * shorter)
        & (circles[:, 2] < 0.9 * longer)
        & (np.abs(circles[:, 0] - (width - 1) / 2) < 0.25 * width)
        & (np.abs(circles[:, 1] - (height - 1) / 2) < 0.25 * height)
    )
    circles = circles[usable]
    if len(circles) == 0:
        return None
    off = np.abs(np.hypot(points[:, 0] - circles[:, :1], points[:, 1] - circles[:, 1:2]) - circles[:, 2:])
    best: DoubleArray = circles[np.argmax((off < _TOLERANCE).sum(axis=1))]
    for _ in range(3):
        support = points[np.abs(np.hypot(points[:, 0] - best[0], points[:, 1] - best[1]) - best[2]) < _TOLERANCE]
        if len(support) < 12:
            return None
        best = _least_squares(support)
    return best if np.isfinite(best).all() else None


def _through_three(triples: DoubleArray) -> DoubleArray:
    """Circles (n, 3) of (cx, cy, r) through points (n, 3, 2); not finite where these lie on a line."""
    a, b, c = triples[:, 0], triples[:, 1], triples[:, 2]
    ab, ac = b - a, c - a
    double_area = 2 * (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    ab_square, ac_square = (ab**2).sum(axis=1), (ac**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (ac[:, 1] * ab_square - ab[:, 1] * ac_square) / double_area
        y = (ab[:, 0] * ac_square - ac[:, 0] * ab_square) / double_area
    return np.stack([a[:, 0] + x, a[:, 1] + y, np.hypot(x, y)], axis=-1)


def _least_squares(points: DoubleArray) -> DoubleArray:
    """Kasa's fit: x^2 + y^2 = 2 cx x + 2 cy y + (r^2 - cx^2 - cy^2), linear in its unknowns."""
    centre = points.mean(axis=0)
    shifted = points - centre
    matrix = np.column_stack([2 * shifted, np.ones(len(points))])
    solution = np.linalg.lstsq(matrix, (shifted**2).sum(axis=1), rcond=None)[0]
    radius = np.sqrt(max(solution[2] + solution[0] ** 2 + solution[1] ** 2, 0.0))
    return np.array([solution[0] + centre[0], solution[1] + centre[1], radius])


def _is_plausible(part: ByteArray, points: DoubleArray, circle: DoubleArray, threshold: float) -> bool:
    height, width = part.shape
    square = (np.arange(width) - circle[0]) ** 2 + (np.arange(height)[:, None] - circle[1]) ** 2
    outside, inside = square > (circle[2] + 1.5) ** 2, square < (circle[2] - 1.5) ** 2
    if outside.mean() < 0.015 or not inside.any():
        return False
    bright = part > threshold
    if bright[outside].mean() > 0.03 or bright[inside].mean() < 0.4:
        return False
    # How much of the border that could be seen was seen, by quarter.
    angles = np.linspace(-np.pi, np.pi, 72, endpoint=False) + np.pi / 72
    border_x, border_y = circle[0] + circle[2] * np.cos(angles), circle[1] + circle[2] * np.sin(angles)
    visible = (border_x > 1.5) & (border_x < width - 2.5) & (border_y > 1.5) & (border_y < height - 2.5)
    off = np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1]) - circle[2]
    support = points[np.abs(off) < _TOLERANCE]
    places = np.arctan2(support[:, 1] - circle[1], support[:, 0] - circle[0])
    seen = np.zeros(72, bool)
    seen[np.floor((places + np.pi) / (2 * np.pi) * 72).astype(int) % 72] = True
    quarters = [(seen & visible)[i : i + 18].sum() >= 0.4 * visible[i : i + 18].sum() for i in range(0, 72, 18)]
    has_border = [visible[i : i + 18].sum() >= 2 for i in range(0, 72, 18)]
    good = sum(q and h for q, h in zip(quarters, has_border, strict=True))
    supported = (seen & visible).sum() >= 0.5 * visible.sum()
    return bool(visible.sum() >= 8 and sum(has_border) >= 3 and good >= 3 and supported)
