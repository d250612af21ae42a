"""Axis and tip of one instrument from its cells, written down plainly: what `scene.axis` computes for all at once."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import DoubleArray

_LONG = 2.0
"""Ratio of lengths along and across above which a shape has a direction of its own."""
_BEND = np.cos(np.deg2rad(25.0))
"""Cosine of the angle between axis and farthest cells beyond which the instrument counts as bent."""


def fit_axis(
    cells: DoubleArray, entry: DoubleArray | None, border: DoubleArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Direction, tip and the direction along which the tip is the last point, each (2,).

    Args:
        cells: covered nodes, (n, 2) of (column, row), n > 0.
        entry: middle of the contact with the border; None where there is none: then the end nearer to the border counts
            as the one that it comes from.
        border: the content's (left, top, right, bottom), (4,).
    """
    centre = cells.mean(axis=0)
    direction, length, width = _long_axis(cells, centre)
    is_long = length >= _LONG * width
    if entry is not None and abs((entry - centre) @ direction) < 0.2 * length:
        # It meets the border in the middle of its long side: lying along the border when it is very long.
        is_long = length >= 2 * _LONG * width
    if is_long:
        direction = _middle_line(cells, centre, direction, length, width, entry)
    elif entry is not None and np.hypot(*(centre - entry)) > 0.5:
        # Only just in view: it is wider along the border than it reaches in.
        direction = (centre - entry) / np.hypot(*(centre - entry))
    direction = _towards_tip(cells, centre, direction, entry, border)

    along = (cells - centre) @ direction
    start = centre + along.min() * direction if entry is None else entry
    reach = direction
    if is_long:
        distance = np.hypot(*(cells - start).T)
        far = cells[distance >= distance.max() - 1].mean(axis=0) - start
        far /= max(float(np.hypot(*far)), 1e-9)
        if 0 < far @ direction < _BEND:
            reach = far
    return direction, _end(cells, centre, reach, width), reach


def _long_axis(cells: DoubleArray, centre: DoubleArray) -> tuple[DoubleArray, float, float]:
    """Direction of largest spread, and length and width of a rectangle with the same spreads."""
    if len(cells) < 2:
        return np.array([1.0, 0.0]), 1.0, 1.0
    offset = cells - centre
    values, vectors = np.linalg.eigh(offset.T @ offset / len(cells) + np.eye(2) / 12)
    # A uniform strip of length l has variance l^2 / 12; each cell's own extent adds 1 / 12.
    width, length = np.sqrt(12 * values).tolist()
    return vectors[:, 1], length, width


def _middle_line(
    cells: DoubleArray,
    centre: DoubleArray,
    direction: DoubleArray,
    length: float,
    width: float,
    entry: DoubleArray | None,
) -> DoubleArray:
    """Robust direction of the middles of the slices across `direction`, near the entry where the shape is long."""
    across = np.array([-direction[1], direction[0]])
    along = (cells - centre) @ direction
    slices = np.rint(along - along.min()).astype(int)
    counts = np.bincount(slices)
    used = counts > 0
    middle_along = np.bincount(slices, along)[used] / counts[used]
    middle_across = np.bincount(slices, (cells - centre) @ across)[used] / counts[used]
    keep = np.ones(len(middle_along), bool)
    # Slices that are cut obliquely at the border, or by the end, have their middle off the axis.
    trim = min(0.5 * width, 0.2 * length)
    keep &= (middle_along > middle_along.min() + trim) & (middle_along < middle_along.max() - trim)
    if entry is not None and length >= 3 * width:
        from_entry = np.abs(middle_along - (entry - centre) @ direction)
        keep &= from_entry <= from_entry.min() + 0.67 * length
    if keep.sum() < 4:
        return direction
    points = np.stack([middle_along[keep], middle_across[keep]], axis=-1).astype(np.float32)
    step = cv2.fitLine(points, cv2.DIST_HUBER, 0, 0.01, 0.01).ravel()[:2].astype(np.float64)
    line = step[0] * direction + step[1] * across
    return np.asarray(line / np.hypot(*line), np.float64)


def _towards_tip(
    cells: DoubleArray, centre: DoubleArray, direction: DoubleArray, entry: DoubleArray | None, border: DoubleArray
) -> DoubleArray:
    """Turn the direction so that it points away from the entry, or else from the end nearer to the border."""
    along = (cells - centre) @ direction
    length, back = float(np.ptp(along)) + 1.0, np.asarray(-direction, np.float64)
    if entry is not None:
        from_entry = float((centre - entry) @ direction)
        if abs(from_entry) > 0.1 * length:
            return direction if from_entry > 0 else back
    ends = centre + np.array([[along.min()], [along.max()]]) * direction
    room = np.minimum(ends - border[:2], border[2:] - ends).min(axis=1)
    return direction if room[0] <= room[1] else back


def _end(cells: DoubleArray, centre: DoubleArray, reach: DoubleArray, width: float) -> DoubleArray:
    """The last point along `reach`: half a cell beyond the last cells, in the middle of what sticks out there."""
    side = np.array([-reach[1], reach[0]])
    along, across = (cells - centre) @ reach, (cells - centre) @ side
    last = along.max()
    band = along >= last - max(1.0, 0.25 * width)
    # Open claspers end in two groups; the one that reaches farthest is the tip.
    order = np.argsort(across[band])
    places, reaches = across[band][order], along[band][order]
    groups = np.cumsum(np.concatenate([[0], (np.diff(places) > 1.6).astype(int)]))
    best = groups[np.argmax(reaches)]
    middle: DoubleArray = centre + (last + 0.5) * reach + places[groups == best].mean() * side
    return middle
