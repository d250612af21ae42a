# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `axis`: what is measured on the cells of every instrument, before and after its line is fitted.

Notation: instrument i covers `cells[starts[i] : starts[i + 1]]`, cell number r * width + c, of the grid;
`along` and `across` are distances from the middle of its cells along its direction and at right angles to it.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper

CENTRE_X, CENTRE_Y, DIRECTION_X, DIRECTION_Y, LENGTH, WIDTH, IS_LONG = range(7)
"""Columns of a shape."""
_LONG = 2.0
"""Ratio of lengths along and across above which a shape has a direction of its own."""
_BEND = np.cos(np.deg2rad(25.0))
"""Cosine of the angle between axis and farthest cells beyond which the instrument counts as bent."""


@compiled
def measure_shapes(cells, starts, entries, height, width):
    """Middle, direction and size of each instrument, and for long ones the middles of the slices across them.

    Args:
        cells: int32 (n,).
        starts: int64 (m + 1,).
        entries: float64 (m, 2) of (column, row), NaN where there is none.
        height: of the grid.
        width: of the grid.

    Returns:
        shapes float64 (m, 7); points float32 (p, 2) of (along, across); their starts int64 (m + 1,): no points where
        there are too few for a line.
    """
    count = len(starts) - 1
    shapes = np.zeros((count, 7))
    longest = height + width + 2
    points, point_starts = np.empty((count * longest, 2), np.float32), np.zeros(count + 1, np.int64)
    for i in range(count):
        _measure_shape(cells, starts[i], starts[i + 1], width, entries, shapes, i)
        filled = point_starts[i]
        if shapes[i, IS_LONG]:
            filled = _middles(cells, starts[i], starts[i + 1], width, entries, shapes, i, points, filled, longest)
        point_starts[i + 1] = filled
    return shapes, points, point_starts


@helper
def _measure_shape(cells, first, last, width, entries, shapes, i):
    """Direction of largest spread, and length and width of a rectangle with the same spreads."""
    n = float(last - first)
    x = y = xx = xy = yy = 0.0
    for j in range(first, last):
        x += cells[j] % width
        y += cells[j] // width
    x /= n
    y /= n
    for j in range(first, last):
        dx, dy = cells[j] % width - x, cells[j] // width - y
        xx += dx * dx
        xy += dx * dy
        yy += dy * dy
    # A uniform strip of length l has variance l^2 / 12; each cell's own extent adds 1 / 12.
    xx, xy, yy = xx / n + 1 / 12, xy / n, yy / n + 1 / 12
    spread = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    along, across = np.sqrt(6 * (xx + yy + spread)), np.sqrt(max(0.0, 6 * (xx + yy - spread)))
    # The eigenvector of the larger eigenvalue, from whichever row of the matrix is safer; to the left or down.
    if n < 2 or (abs(xy) < 1e-12 and xx > yy):
        axis_x, axis_y = 1.0, 0.0
    elif spread == 0:
        axis_x, axis_y = 0.0, 1.0
    elif xx >= yy:
        axis_x, axis_y = yy - xx - spread, -2 * xy
    else:
        axis_x, axis_y = 2 * xy, yy - xx + spread
    norm = np.sqrt(axis_x * axis_x + axis_y * axis_y)
    axis_x, axis_y = axis_x / norm, axis_y / norm
    is_long = along >= _LONG * across
    if not np.isnan(entries[i, 0]):
        off = (entries[i, 0] - x) * axis_x + (entries[i, 1] - y) * axis_y
        if abs(off) < 0.2 * along:
            # It meets the border in the middle of its long side: lying along the border when it is very long.
            is_long = along >= 2 * _LONG * across
    shapes[i, CENTRE_X], shapes[i, CENTRE_Y] = x, y
    shapes[i, DIRECTION_X], shapes[i, DIRECTION_Y] = axis_x, axis_y
    shapes[i, LENGTH], shapes[i, WIDTH] = along, across
    shapes[i, IS_LONG] = 1.0 if is_long else 0.0


@helper
def _middles(cells, first, last, width, entries, shapes, i, points, filled, longest):
    """Write the middles of the slices that tell the axis, near the entry where the shape is long; returns their end."""
    axis_x, axis_y = shapes[i, DIRECTION_X], shapes[i, DIRECTION_Y]
    length, breadth = shapes[i, LENGTH], shapes[i, WIDTH]
    least = np.inf
    for j in range(first, last):
        dx, dy = cells[j] % width - shapes[i, CENTRE_X], cells[j] // width - shapes[i, CENTRE_Y]
        least = min(least, dx * axis_x + dy * axis_y)
    sums = np.zeros((longest, 3))
    for j in range(first, last):
        dx, dy = cells[j] % width - shapes[i, CENTRE_X], cells[j] // width - shapes[i, CENTRE_Y]
        along, across = dx * axis_x + dy * axis_y, dy * axis_x - dx * axis_y
        place = int(np.rint(along - least))
        sums[place, 0] += 1
        sums[place, 1] += along
        sums[place, 2] += across
    has_entry = not np.isnan(entries[i, 0]) and length >= 3 * breadth
    from_x, from_y = entries[i, 0] - shapes[i, CENTRE_X], entries[i, 1] - shapes[i, CENTRE_Y]
    entry = from_x * axis_x + from_y * axis_y
    lowest, highest, nearest = np.inf, -np.inf, np.inf
    for k in range(longest):
        if sums[k, 0] > 0:
            sums[k, 1] /= sums[k, 0]
            sums[k, 2] /= sums[k, 0]
            lowest, highest = min(lowest, sums[k, 1]), max(highest, sums[k, 1])
            nearest = min(nearest, abs(sums[k, 1] - entry))
    # Slices that are cut obliquely at the border, or by the end, have their middle off the axis.
    trim = min(0.5 * breadth, 0.2 * length)
    end = filled
    for k in range(longest):
        if sums[k, 0] == 0 or sums[k, 1] <= lowest + trim or sums[k, 1] >= highest - trim:
            continue
        if has_entry and abs(sums[k, 1] - entry) > nearest + 0.67 * length:
            continue
        points[end, 0], points[end, 1] = sums[k, 1], sums[k, 2]
        end += 1
    return end if end - filled >= 4 else filled


@compiled
def find_tips(cells, starts, entries, width, shapes, lines, left, top, right, bottom):
    """Axis and tip of each instrument.

    Args:
        cells: as of `measure_shapes`, with starts, entries and width.
        starts: the same.
        entries: the same.
        width: the same.
        shapes: from `measure_shapes`.
        lines: direction of the line through its points, (along, across), float64 (m, 2); NaN where there is none.
        left: of the content, as `top`, `right`, `bottom`, in cells.
        top: the same.
        right: the same.
        bottom: the same.

    Returns:
        float64 (m, 6): direction, tip and reach of each, (x, y) in cells.
    """
    axes = np.empty((len(starts) - 1, 6))
    for i in range(len(starts) - 1):
        first, last = starts[i], starts[i + 1]
        x, y, axis_x, axis_y = shapes[i, 0], shapes[i, 1], shapes[i, 2], shapes[i, 3]
        has_entry = not np.isnan(entries[i, 0])
        from_x, from_y = x - entries[i, 0], y - entries[i, 1]
        if shapes[i, IS_LONG]:
            if not np.isnan(lines[i, 0]):
                one, two = lines[i, 0], lines[i, 1]
                axis_x, axis_y = one * axis_x - two * axis_y, one * axis_y + two * axis_x
                norm = np.sqrt(axis_x * axis_x + axis_y * axis_y)
                axis_x, axis_y = axis_x / norm, axis_y / norm
        elif has_entry and np.sqrt(from_x * from_x + from_y * from_y) > 0.5:
            # Only just in view: it is wider along the border than it reaches in.
            norm = np.sqrt(from_x * from_x + from_y * from_y)
            axis_x, axis_y = from_x / norm, from_y / norm

        low, high = np.inf, -np.inf
        for j in range(first, last):
            along = (cells[j] % width - x) * axis_x + (cells[j] // width - y) * axis_y
            low, high = min(low, along), max(high, along)
        # Away from the entry, or else from the end nearer to the border.
        from_entry = from_x * axis_x + from_y * axis_y
        if has_entry and abs(from_entry) > 0.1 * (high - low + 1.0):
            turn = from_entry <= 0
        else:
            near = min(x + low * axis_x - left, right - x - low * axis_x)
            near = min(near, y + low * axis_y - top, bottom - y - low * axis_y)
            far = min(x + high * axis_x - left, right - x - high * axis_x)
            far = min(far, y + high * axis_y - top, bottom - y - high * axis_y)
            turn = near > far
        if turn:
            axis_x, axis_y, low = -axis_x, -axis_y, -high
        start_x, start_y = x + low * axis_x, y + low * axis_y
        if has_entry:
            start_x, start_y = entries[i, 0], entries[i, 1]
        reach_x, reach_y = axis_x, axis_y
        if shapes[i, IS_LONG]:
            bent, far_x, far_y = _bent_end(cells, first, last, width, start_x, start_y, axis_x, axis_y)
            if bent:
                reach_x, reach_y = far_x, far_y
        axes[i, 0], axes[i, 1], axes[i, 4], axes[i, 5] = axis_x, axis_y, reach_x, reach_y
        last_along, middle = _end(cells, first, last, width, x, y, reach_x, reach_y, shapes[i, WIDTH])
        axes[i, 2] = x + (last_along + 0.5) * reach_x - middle * reach_y
        axes[i, 3] = y + (last_along + 0.5) * reach_y + middle * reach_x
    return axes


@helper
def _bent_end(cells, first, last, width, start_x, start_y, axis_x, axis_y):
    """Whether the farthest cells lie off the axis, and the unit vector to them."""
    farthest = 0.0
    for j in range(first, last):
        dx, dy = cells[j] % width - start_x, cells[j] // width - start_y
        farthest = max(farthest, np.sqrt(dx * dx + dy * dy))
    n = far_x = far_y = 0.0
    for j in range(first, last):
        dx, dy = cells[j] % width - start_x, cells[j] // width - start_y
        if np.sqrt(dx * dx + dy * dy) >= farthest - 1:
            n += 1
            far_x += dx
            far_y += dy
    norm = max(np.sqrt(far_x * far_x + far_y * far_y), 1e-9 * n)
    far_x, far_y = far_x / norm, far_y / norm
    facing = far_x * axis_x + far_y * axis_y
    return 0 < facing < _BEND, far_x, far_y


@helper
def _end(cells, first, last, width, x, y, reach_x, reach_y, breadth):
    """How far the last cells along `reach` are, and the middle across it of what sticks out there."""
    most = -np.inf
    for j in range(first, last):
        most = max(most, (cells[j] % width - x) * reach_x + (cells[j] // width - y) * reach_y)
    band = most - max(1.0, 0.25 * breadth)
    # Sorted across; open claspers end in two groups, and the one that reaches farthest is the tip.
    places, reaches = np.empty(last - first), np.empty(last - first)
    n = 0
    for j in range(first, last):
        dx, dy = cells[j] % width - x, cells[j] // width - y
        along, across = dx * reach_x + dy * reach_y, dy * reach_x - dx * reach_y
        if along < band:
            continue
        k = n
        while k > 0 and places[k - 1] > across:
            places[k], reaches[k] = places[k - 1], reaches[k - 1]
            k -= 1
        places[k], reaches[k] = across, along
        n += 1
    best = 0
    for k in range(1, n):
        if reaches[k] > reaches[best]:
            best = k
    low = high = best
    while low > 0 and places[low] - places[low - 1] <= 1.6:
        low -= 1
    while high < n - 1 and places[high + 1] - places[high] <= 1.6:
        high += 1
    middle = 0.0
    for k in range(low, high + 1):
        middle += places[k]
    return most, middle / (high - low + 1)
