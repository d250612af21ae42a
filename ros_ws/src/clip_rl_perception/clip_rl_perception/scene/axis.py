"""Shaft axis and tip of instruments from the grid cells that they cover, for models without an instance head.

The axis is a robust line (cv2.fitLine with Huber's distance) through the middles of slices across the long direction,
so that neither the oblique cut at the border nor open claspers turn it. The tip is the far end; where a bent wrist
takes the far end off the axis, the end of the line from the entry to the farthest cells. Where an instrument meets no
border, the end nearer to it counts as the one that it comes from.
"""

from __future__ import annotations

import cv2
import numpy as np

from clip_rl_perception.arrays import DoubleArray

_LONG = 2.0
"""Ratio of lengths along and across above which a shape has a direction of its own."""
_BEND = np.cos(np.deg2rad(25.0))
"""Cosine of the angle between axis and farthest cells beyond which the instrument counts as bent."""


def fit_axis(cells: DoubleArray, entry: DoubleArray, border: tuple[float, float, float, float]) -> DoubleArray:
    """Fit axis and tip of one instrument.

    Args:
        cells: covered nodes, (n, 2) of (column, row), n > 0.
        entry: middle of the contact with the border, (2,); NaN where there is none.
        border: the content's (left, top, right, bottom), cells.

    Returns:
        (6,), each (x, y) in grid coordinates: unit vector along the shaft, from the entry towards the tip; the tip;
        unit vector along which the tip is the last point, which is the first or that of a bent end.
    """
    centre, entered = cells.mean(axis=0), bool(np.isfinite(entry[0]))
    offset = cells - centre
    values, vectors = np.linalg.eigh(offset.T @ offset / len(cells) + np.eye(2) / 12)
    # A uniform strip of length l has variance l^2 / 12; each cell's own extent adds 1 / 12.
    width, length = np.sqrt(12 * values).tolist()
    direction = vectors[:, 1]
    is_long = length >= _LONG * width
    if entered and abs((entry - centre) @ direction) < 0.2 * length:
        # It meets the border in the middle of its long side: lying along the border when it is very long.
        is_long = length >= 2 * _LONG * width
    if is_long:
        direction = _middle_line(offset, direction, length, width, entry - centre)
    elif entered and np.hypot(*(centre - entry)) > 0.5:
        # Only just in view: it is wider along the border than it reaches in.
        direction = (centre - entry) / np.hypot(*(centre - entry))
    along = offset @ direction
    from_entry = float((centre - entry) @ direction)
    if abs(from_entry) > 0.1 * (np.ptp(along) + 1):
        direction = direction if from_entry > 0 else -direction
    else:  # no entry, or one that does not say
        ends = centre + np.array([[along.min()], [along.max()]]) * direction
        room = np.minimum(ends - border[:2], np.array(border[2:]) - ends).min(axis=1)
        direction = direction if room[0] <= room[1] else -direction
    reach = direction
    if is_long:
        start = entry if entered else centre + (offset @ direction).min() * direction
        distance = np.hypot(*(cells - start).T)
        far = cells[distance >= distance.max() - 1].mean(axis=0) - start
        far /= max(float(np.hypot(*far)), 1e-9)
        if 0 < far @ direction < _BEND:
            reach = far
    return np.concatenate([direction, centre + _end(offset, reach, width), reach])


def _middle_line(
    offset: DoubleArray, direction: DoubleArray, length: float, width: float, entry: DoubleArray
) -> DoubleArray:
    """Robust direction of the middles of the slices across `direction`, near the entry where the shape is long."""
    along, across = offset @ direction, offset @ np.array([-direction[1], direction[0]])
    slices = np.rint(along - along.min()).astype(int)
    counts = np.bincount(slices)
    used = counts > 0
    middles = np.stack([np.bincount(slices, values)[used] / counts[used] for values in (along, across)], axis=1)
    # Slices that are cut obliquely at the border, or by the end, have their middle off the axis.
    trim = min(0.5 * width, 0.2 * length)
    keep = (middles[:, 0] > middles[:, 0].min() + trim) & (middles[:, 0] < middles[:, 0].max() - trim)
    if np.isfinite(entry[0]) and length >= 3 * width:
        from_entry = np.abs(middles[:, 0] - entry @ direction)
        keep &= from_entry <= from_entry.min() + 0.67 * length
    if keep.sum() < 4:
        return direction
    step = cv2.fitLine(middles[keep].astype(np.float32), cv2.DIST_HUBER, 0, 0.01, 0.01)[:2, 0].astype(np.float64)
    line = step[0] * direction + step[1] * np.array([-direction[1], direction[0]])
    return np.asarray(line / np.hypot(*line), np.float64)


def _end(offset: DoubleArray, reach: DoubleArray, width: float) -> DoubleArray:
    """The last point along `reach`: half a cell beyond the last cells, in the middle of what sticks out there."""
    side = np.array([-reach[1], reach[0]])
    along, across = offset @ reach, offset @ side
    band = along >= along.max() - max(1.0, 0.25 * width)
    # Open claspers end in two groups; the one that reaches farthest is the tip.
    order = np.argsort(across[band])
    places, reaches = across[band][order], along[band][order]
    groups = np.cumsum(np.concatenate([[0], np.diff(places) > 1.6]))
    best = groups[np.argmax(reaches)]
    end: DoubleArray = (along.max() + 0.5) * reach + places[groups == best].mean() * side
    return end
