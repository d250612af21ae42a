# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `label_map`: bilinear interpolation and argmax without interpolating what cannot matter.

Why this is exact and cheap:

- Differences between classes interpolate linearly too. A class that wins all four nodes round a cell therefore wins
  inside it, and nothing is interpolated there; only cells on class boundaries are, some per cent of all.
- There, a class that at no node reaches the mean of the nodes' winners cannot win: the largest of some values is never
  below their mean, and means interpolate linearly. Two or three of K classes remain, so cost hardly depends on K.
- Confidence is 1 / sum of weights, a weight being exp of the difference to the chosen class. The sum is convex along
  each axis, so its largest value in a cell is at a node: cells where that rounds to 255 are filled. Elsewhere each
  notable class is followed on its own and the others as one (the only approximation here); exp of what is linear in x
  and y is a geometric sequence, so that takes four exponentials per class and cell, then products.

Notation: K classes, (h, w) nodes; cell (r, c) holds the pixels between nodes r - 1 and r, c - 1 and c; a place in a
cell is in [0, 1). `starts` are the first crop pixels of cells, int64 (nodes + 2); `along` their places, float32.
Loops are spelled out: array expressions would run as fast and take several times as long to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_SURE = np.float32(255 / 254.6)
"""Sum of weights, the winner's being 1, below which confidence rounds to 255."""
_LEAST = np.float32(0.01)
"""Smallest weight with which a class is followed on its own; lighter ones are taken together."""
_NOTABLE = 8
"""Most classes that a node can put forward to be followed on their own."""
_TINY = np.float32(2e-6)
"""Weight of the remaining classes below which it is rounding of the sum that it is the rest of."""
_FAR = np.float32(30)
"""How far below the winner a log-weight is still told apart; 1e-13 of it."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, without the GIL; keep the machine code on disk where a place for it can be found."""
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no writable cache folder: compiled anew in each process
        return numba.njit(nogil=True, error_model="numpy")(function)


@_compiled
def argmax(log_probs):
    """First class with the largest value: float32 (K, h, w) -> uint8 (h, w)."""
    classes, height, width = log_probs.shape
    best = np.empty((height, width), np.float32)
    winners = np.empty((height, width), np.uint8)
    for k in range(classes):
        for y in range(height):
            for x in range(width):
                if k == 0 or log_probs[k, y, x] > best[y, x]:
                    best[y, x] = log_probs[k, y, x]
                    winners[y, x] = k
    return winners


@_compiled
def fill_labels(winners, log_probs, starts_x, along_x, starts_y, along_y, crop_x, crop_y, labels):
    """Write the labels of the crop's pixels into `labels`, uint8 (height, width)."""
    classes, grid_height, grid_width = log_probs.shape
    best = np.empty((_largest_step(starts_y), _largest_step(starts_x)), np.float32)
    first, last = crop_x + starts_x[0], crop_x + starts_x[grid_width + 1]
    for r in range(grid_height + 1):
        row_from, row_to = starts_y[r], starts_y[r + 1]
        if row_from == row_to:
            continue
        y0, y1 = max(r - 1, 0), min(r, grid_height - 1)
        # All cells of the row as if one class won them; then those where more than one does.
        top = crop_y + row_from
        for c in range(grid_width + 1):
            for x in range(crop_x + starts_x[c], crop_x + starts_x[c + 1]):
                labels[top, x] = winners[y0, max(c - 1, 0)]
        for y in range(top + 1, crop_y + row_to):
            for x in range(first, last):
                labels[y, x] = labels[top, x]
        for c in range(grid_width + 1):
            column_from, column_to = starts_x[c], starts_x[c + 1]
            x0, x1 = max(c - 1, 0), min(c, grid_width - 1)
            a, b, d, e = winners[y0, x0], winners[y0, x1], winners[y1, x0], winners[y1, x1]
            if column_from == column_to or (a == b and a == d and a == e):
                continue
            m0 = _mean(log_probs, a, b, d, e, y0, x0)
            m1 = _mean(log_probs, a, b, d, e, y0, x1)
            m2 = _mean(log_probs, a, b, d, e, y1, x0)
            m3 = _mean(log_probs, a, b, d, e, y1, x1)
            fresh = True
            for k in range(classes):
                v0, v1, v2, v3 = log_probs[k, y0, x0], log_probs[k, y0, x1], log_probs[k, y1, x0], log_probs[k, y1, x1]
                if v0 < m0 and v1 < m1 and v2 < m2 and v3 < m3:
                    continue
                for row in range(row_from, row_to):
                    left = v0 + (v2 - v0) * along_y[row]
                    slope = v1 + (v3 - v1) * along_y[row] - left
                    for column in range(column_from, column_to):
                        value = left + slope * along_x[column]
                        if fresh or value > best[row - row_from, column - column_from]:
                            best[row - row_from, column - column_from] = value
                            labels[crop_y + row, crop_x + column] = k
                fresh = False


@_compiled
def _notable_classes(weights):
    """Per node: how many classes weigh more than `_LEAST`, which ones (the first `_NOTABLE`), and the sum of all."""
    classes, height, width = weights.shape
    counts = np.empty((height, width), np.uint8)
    notable = np.empty((height, width, _NOTABLE), np.uint8)
    sums = np.empty((height, width), np.float32)
    for k in range(classes):
        for y in range(height):
            for x in range(width):
                if k == 0:
                    counts[y, x] = 0
                    sums[y, x] = 0
                sums[y, x] += weights[k, y, x]
                if weights[k, y, x] > _LEAST and counts[y, x] < _NOTABLE:
                    notable[y, x, counts[y, x]] = k
                    counts[y, x] += 1
    return counts, notable, sums


@_compiled
def fill_confidence(
    winners, log_probs, sharpness, weights, starts_x, along_x, starts_y, along_y, crop_x, crop_y, labels, confidence
):
    """Write the probability x 255 of `labels` into `confidence`, uint8 (height, width).

    `sharpness` is 1 / temperature; `weights`, float32 (K, h, w), are exp of the scaled difference to the node's winner.
    """
    classes, grid_height, grid_width = log_probs.shape
    counts, notable, sums = _notable_classes(weights)
    tallest = _largest_step(starts_y)
    total = np.empty((_largest_step(starts_x), tallest), np.float32)
    chosen = np.empty((_largest_step(starts_x), tallest), np.float32)
    weight, across = np.empty(tallest, np.float32), np.empty(tallest, np.float32)
    wanted = np.empty(classes + 1, np.int64)
    is_wanted = np.zeros(classes, np.uint8)
    first, last = crop_x + starts_x[0], crop_x + starts_x[grid_width + 1]
    for r in range(grid_height + 1):
        row_from, row_to = starts_y[r], starts_y[r + 1]
        y0, y1 = max(r - 1, 0), min(r, grid_height - 1)
        rows = row_to - row_from
        for y in range(crop_y + row_from, crop_y + row_to):
            for x in range(first, last):
                confidence[y, x] = 255
        for c in range(grid_width + 1):
            column_from, column_to = starts_x[c], starts_x[c + 1]
            columns = column_to - column_from
            if rows == 0 or columns == 0:
                continue
            x0, x1 = max(c - 1, 0), min(c, grid_width - 1)
            a, b, d, e = winners[y0, x0], winners[y0, x1], winners[y1, x0], winners[y1, x1]
            one = a == b and a == d and a == e
            if one and max(sums[y0, x0], sums[y0, x1], sums[y1, x0], sums[y1, x1]) < _SURE:
                continue

            # Which classes to follow one by one; the others together count as one more.
            count = 0
            for j in range(4):
                y, x = y0 if j < 2 else y1, x0 if j % 2 == 0 else x1
                for n in range(-1, counts[y, x]):
                    k = notable[y, x, n] if n >= 0 else winners[y, x]
                    if not is_wanted[k]:
                        is_wanted[k] = 1
                        wanted[count] = k
                        count += 1
            if not one:
                m0, m1 = _mean(log_probs, a, b, d, e, y0, x0), _mean(log_probs, a, b, d, e, y0, x1)
                m2, m3 = _mean(log_probs, a, b, d, e, y1, x0), _mean(log_probs, a, b, d, e, y1, x1)
                for k in range(classes):
                    if not is_wanted[k] and (
                        log_probs[k, y0, x0] >= m0
                        or log_probs[k, y0, x1] >= m1
                        or log_probs[k, y1, x0] >= m2
                        or log_probs[k, y1, x1] >= m3
                    ):
                        is_wanted[k] = 1
                        wanted[count] = k
                        count += 1
            o0, o1, o2, o3 = sums[y0, x0], sums[y0, x1], sums[y1, x0], sums[y1, x1]
            for i in range(count):
                k = wanted[i]
                is_wanted[k] = 0
                o0 -= weights[k, y0, x0]
                o1 -= weights[k, y0, x1]
                o2 -= weights[k, y1, x0]
                o3 -= weights[k, y1, x1]

            # Weights from here on are relative to class a; where it wins the whole cell it is the chosen one.
            for column in range(columns):
                for row in range(rows):
                    total[column, row] = 1
                    chosen[column, row] = 1
            step_x = along_x[column_from + 1] - along_x[column_from] if columns > 1 else np.float32(0)
            step_y = along_y[row_from + 1] - along_y[row_from] if rows > 1 else np.float32(0)
            place_x, place_y = along_x[column_from], along_y[row_from]
            a0, a1 = _log_weight(log_probs, a, a, sharpness, y0, x0), _log_weight(log_probs, a, b, sharpness, y0, x1)
            a2, a3 = _log_weight(log_probs, a, d, sharpness, y1, x0), _log_weight(log_probs, a, e, sharpness, y1, x1)
            for i in range(count + 1):
                if i < count:
                    k = wanted[i]
                    if k == a:
                        continue
                    d0 = _log_weight(log_probs, k, a, sharpness, y0, x0) - a0
                    d1 = _log_weight(log_probs, k, b, sharpness, y0, x1) - a1
                    d2 = _log_weight(log_probs, k, d, sharpness, y1, x0) - a2
                    d3 = _log_weight(log_probs, k, e, sharpness, y1, x1) - a3
                else:
                    k = -1
                    d0 = (np.log(o0) if o0 > _TINY else -_FAR) - a0
                    d1 = (np.log(o1) if o1 > _TINY else -_FAR) - a1
                    d2 = (np.log(o2) if o2 > _TINY else -_FAR) - a2
                    d3 = (np.log(o3) if o3 > _TINY else -_FAR) - a3
                # Difference at (x, y): d0 + (d1 - d0) x + (d2 - d0) y + twist x y; its exp steps by constant factors.
                twist = d0 - d1 - d2 + d3
                first_weight = np.exp(d0 + (d1 - d0) * place_x + (d2 - d0) * place_y + twist * place_x * place_y)
                first_across = np.exp((d1 - d0 + twist * place_y) * step_x)
                down = np.exp((d2 - d0 + twist * place_x) * step_y)
                across_down = np.exp(twist * step_x * step_y)
                for row in range(rows):
                    weight[row], across[row] = first_weight, first_across
                    first_weight *= down
                    first_across *= across_down
                for column in range(columns):
                    if not one:
                        for row in range(rows):
                            if labels[crop_y + row_from + row, crop_x + column_from + column] == k:
                                chosen[column, row] = weight[row]
                    for row in range(rows):
                        total[column, row] += weight[row]
                        weight[row] *= across[row]
            for row in range(rows):
                for column in range(columns):
                    value = np.float32(255) * chosen[column, row] / total[column, row] + np.float32(0.5)
                    confidence[crop_y + row_from + row, crop_x + column_from + column] = np.uint8(value)


@_compiled
def _largest_step(starts):
    largest = 1
    for i in range(len(starts) - 1):
        largest = max(largest, starts[i + 1] - starts[i])
    return largest


@_compiled
def _mean(log_probs, a, b, d, e, y, x):
    """Mean over the winners of a cell's four nodes of their values at one node."""
    return (log_probs[a, y, x] + log_probs[b, y, x] + log_probs[d, y, x] + log_probs[e, y, x]) * np.float32(0.25)


@_compiled
def _log_weight(log_probs, k, winner, sharpness, y, x):
    """Scaled difference of class `k` to the winner at a node, at least -_FAR."""
    return max((log_probs[k, y, x] - log_probs[winner, y, x]) * sharpness, -_FAR)
