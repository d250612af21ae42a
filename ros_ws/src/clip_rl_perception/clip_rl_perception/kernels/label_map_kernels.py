# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `label_map`: bilinear interpolation and argmax without interpolating what cannot matter.

Why this is exact and cheap:

- Differences between classes interpolate linearly too. A class that wins all four nodes round a cell therefore wins
  inside it, and nothing is interpolated there; only cells on class boundaries are, some per cent of all.
- There, a class cannot win that at no node reaches a weighted mean of the nodes' winners, with the same weights at all
  four: the largest of some values is never below their mean, and means interpolate linearly. Their plain mean and every
  mean of the first two winners are tried. Two or three of K classes remain, so cost hardly depends on K.
- Confidence is 1 / sum of weights, a weight being exp of the difference to the chosen class. The sum is convex along
  each axis, so its largest value in a cell is at a node: cells where that rounds to 255 are filled. Elsewhere each
  notable class is followed on its own and the others as one (the only approximation here).

Notation: K classes, (h, w) nodes, whose classes lie side by side in memory; cell (r, c) holds the pixels between nodes
r - 1 and r, c - 1 and c; a place in a cell is in [0, 1). `starts` are first crop pixels of cells, int64 (nodes + 2),
`along` the places of pixels, float32, those of columns followed by as many zeros as the widest cell has in vectors.
A cell is worked on as one array, its rows in whole vectors one after the other; what these hold beyond it is left out.
Loops are spelled out, over slices that begin at 0: only those become vectors.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled_for_finite
from clip_rl_perception.kernels.vector_math import exp, log

VECTOR = 16
"""Pixels that are worked on at once: the float32 of the longest vectors that CPUs have."""
_SURE = np.float32(255 / 254.6)
"""Sum of weights, the winner's being 1, below which confidence rounds to 255."""
_LEAST = np.float32(0.005)
"""Smallest weight with which a class is followed on its own; lighter ones are taken together."""
_LOG_LEAST = np.log(_LEAST)
_STEEP = np.float32(0.5)
"""Gap below the nodes' winners, nats, from which faint classes are not taken together."""
_NOTABLE = 12
"""Most classes that a node can put forward to be followed on their own."""
_TINY = np.float32(2e-6)
"""Weight of the remaining classes below which it is rounding of the sum that it is the rest of."""
_FAR = np.float32(30)
"""How far below the winner the remaining classes are taken to lie where their weight is rounding; 1e-13 of it."""


@compiled_for_finite
def argmax(log_probs):
    """First class with the largest value: float32 (h, w, K) -> uint8 (h, w)."""
    height, width, classes = log_probs.shape
    winners = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            best, winner = log_probs[y, x, 0], 0
            for k in range(1, classes):
                value = log_probs[y, x, k]
                winner = k if value > best else winner
                best = value if value > best else best
            winners[y, x] = winner
    return winners


@compiled_for_finite
def fill_labels(winners, log_probs, starts_x, along_x, starts_y, along_y, crop_x, crop_y, labels):
    """Write the labels of the crop's pixels into `labels`, uint8 (height, width)."""
    grid_height, grid_width, classes = log_probs.shape
    tallest, wide = _largest_step(starts_y), width_in_vectors(starts_x)
    length = starts_x[grid_width + 1]
    band = np.empty((tallest, length + wide), np.uint8)  # a row of cells
    x, y = np.empty(tallest * wide, np.float32), np.empty(tallest * wide, np.float32)
    best, label = np.empty(tallest * wide, np.float32), np.empty(tallest * wide, np.int32)
    may_win = np.empty(classes + 1, np.int32)
    for r in range(grid_height + 1):
        rows = starts_y[r + 1] - starts_y[r]
        if rows == 0:
            continue
        y0, y1 = max(r - 1, 0), min(r, grid_height - 1)
        # All cells of the row as if one class won them; then those where more than one does.
        for c in range(grid_width + 1):
            _fill(band[0, starts_x[c] : starts_x[c] + wide], winners[y0, max(c - 1, 0)])
        for row in range(rows):
            if row > 0:
                _copy(band[0], band[row])
            _fill(y[row * wide : (row + 1) * wide], along_y[starts_y[r] + row])
        for c in range(grid_width + 1):
            x0, x1, columns = max(c - 1, 0), min(c, grid_width - 1), starts_x[c + 1] - starts_x[c]
            a, b, d, e = winners[y0, x0], winners[y0, x1], winners[y1, x0], winners[y1, x1]
            if columns == 0 or (a == b and a == d and a == e):
                continue
            count = _classes_that_may_win(log_probs, a, b, d, e, y0, y1, x0, x1, may_win)
            for row in range(rows):
                _copy(along_x[starts_x[c] : starts_x[c] + wide], x[row * wide : (row + 1) * wide])
            for i in range(count):
                k = may_win[i]
                v = log_probs[y0, x0, k]
                right, down = log_probs[y0, x1, k] - v, log_probs[y1, x0, k] - v
                twist = log_probs[y1, x1, k] - log_probs[y1, x0, k] - right
                for j in range(rows * wide):
                    value = v + right * x[j] + (down + twist * x[j]) * y[j]
                    wins = i == 0 or value > best[j]
                    best[j] = value if wins else best[j]
                    label[j] = k if wins else label[j]
            for row in range(rows):
                inside, out = label[row * wide : (row + 1) * wide], band[row, starts_x[c] : starts_x[c] + wide]
                for j in range(wide):
                    out[j] = inside[j] if j < columns else out[j]
        for row in range(rows):
            _copy(band[row, :length], labels[crop_y + starts_y[r] + row, crop_x : crop_x + length])


@compiled_for_finite
def _classes_that_may_win(log_probs, a, b, d, e, y0, y1, x0, x1, found):
    """List the classes that may win somewhere in a cell whose nodes a, b, d, e win; returns how many.

    In the order of their numbers; at least one more place than classes is needed for the list.
    """
    p0, p1, p2, p3 = log_probs[y0, x0], log_probs[y0, x1], log_probs[y1, x0], log_probs[y1, x1]
    quarter = np.float32(0.25)
    m0, m1 = (p0[a] + p0[b] + p0[d] + p0[e]) * quarter, (p1[a] + p1[b] + p1[d] + p1[e]) * quarter
    m2, m3 = (p2[a] + p2[b] + p2[d] + p2[e]) * quarter, (p3[a] + p3[b] + p3[d] + p3[e]) * quarter
    reaching = 0
    for k in range(len(p0)):
        found[reaching] = k
        reaching += (p0[k] >= m0) | (p1[k] >= m1) | (p2[k] >= m2) | (p3[k] >= m3)
    other = b if b != a else d if d != a else e
    count = 0
    for i in range(reaching):
        k = found[i]
        if k in (a, b, d, e) or not _outdone(p0, p1, p2, p3, k, a, other):
            found[count] = k
            count += 1
    return count


@compiled_for_finite
def _outdone(p0, p1, p2, p3, k, a, b):
    """Whether some mean of classes a and b, the same at all nodes of a cell, is above class k at each of them."""
    least, most = np.float32(0), np.float32(1)  # weights of a that do
    for node in range(4):
        p = p0 if node == 0 else p1 if node == 1 else p2 if node == 2 else p3
        gap, lead = p[a] - p[b], p[k] - p[b]
        if gap > 0:
            least = max(least, lead / gap)
        elif gap < 0:
            most = min(most, lead / gap)
        elif lead >= 0:
            return False
    return least < most


@compiled_for_finite
def weights_of_classes(winners, log_probs, sharpness):
    """Weights of all classes relative to the node's winner, and which of them each node puts forward.

    Returns:
        Exp of the differences times `sharpness`, float32 (h, w, K); per node how many classes weigh more than `_LEAST`;
        which, the first `_NOTABLE` of them; the sum of all weights.
    """
    height, width, classes = log_probs.shape
    weights = np.empty((height, width, classes), np.float32)
    counts = np.empty((height, width), np.uint8)
    notable = np.empty((height, width, _NOTABLE + 1), np.uint8)
    sums = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            own, best, total = weights[y, x], log_probs[y, x, winners[y, x]], np.float32(0)
            for k in range(classes):
                own[k] = exp((log_probs[y, x, k] - best) * sharpness)
            count = 0
            for k in range(classes):
                total += own[k]
                notable[y, x, count] = k
                count += own[k] > _LEAST and count < _NOTABLE
            counts[y, x], sums[y, x] = count, total
    return weights, counts, notable, sums


@compiled_for_finite
def fill_confidence(winners, log_probs, sharpness, starts_x, along_x, starts_y, along_y, crop_x, crop_y, confidence):
    """Write the probability x 255 of the crop's labels into `confidence`, uint8 (height, width).

    `sharpness` is 1 / temperature.
    """
    grid_height, grid_width, classes = log_probs.shape
    weights, counts, notable, sums = weights_of_classes(winners, log_probs, sharpness)
    tallest, wide = _largest_step(starts_y), width_in_vectors(starts_x)
    length = starts_x[grid_width + 1]
    band = np.empty((tallest, length + wide), np.uint8)
    x, y = np.empty(tallest * wide, np.float32), np.empty(tallest * wide, np.float32)
    total, best = np.empty(tallest * wide, np.float32), np.empty(tallest * wide, np.float32)
    wanted, may_win = np.empty(classes + 1, np.int32), np.empty(classes + 1, np.int32)
    is_wanted = np.zeros(classes, np.uint8)
    for r in range(grid_height + 1):
        rows = starts_y[r + 1] - starts_y[r]
        y0, y1 = max(r - 1, 0), min(r, grid_height - 1)
        for row in range(rows):
            _fill(band[row], np.uint8(255))
            _fill(y[row * wide : (row + 1) * wide], along_y[starts_y[r] + row])
        for c in range(grid_width + 1):
            x0, x1, columns = max(c - 1, 0), min(c, grid_width - 1), starts_x[c + 1] - starts_x[c]
            a, b, d, e = winners[y0, x0], winners[y0, x1], winners[y1, x0], winners[y1, x1]
            one = a == b and a == d and a == e
            if rows == 0 or columns == 0:
                continue
            if one and max(sums[y0, x0], sums[y0, x1], sums[y1, x0], sums[y1, x1]) < _SURE:
                continue

            # Exponents are relative to class a; those of the chosen class are the largest of each pixel. The gap is how
            # far they stay below what the winners of the nodes, interpolated, would be: where nodes are very sure of
            # different classes, between them all are far from that, and what was faint at every node is not there.
            a0, a1 = _lead(log_probs, a, a, sharpness, y0, x0), _lead(log_probs, a, b, sharpness, y0, x1)
            a2, a3 = _lead(log_probs, a, d, sharpness, y1, x0), _lead(log_probs, a, e, sharpness, y1, x1)
            for row in range(rows):
                _copy(along_x[starts_x[c] : starts_x[c] + wide], x[row * wide : (row + 1) * wide])
            for j in range(rows * wide):
                best[j] = 0
            possible = 0 if one else _classes_that_may_win(log_probs, a, b, d, e, y0, y1, x0, x1, may_win)
            for i in range(possible):
                k = may_win[i]
                d0, d1 = _lead(log_probs, k, a, sharpness, y0, x0) - a0, _lead(log_probs, k, b, sharpness, y0, x1) - a1
                d2, d3 = _lead(log_probs, k, d, sharpness, y1, x0) - a2, _lead(log_probs, k, e, sharpness, y1, x1) - a3
                right, down, twist = d1 - d0, d2 - d0, d0 - d1 - d2 + d3
                for j in range(rows * wide):
                    value = d0 + right * x[j] + (down + twist * x[j]) * y[j]
                    best[j] = value if value > best[j] else best[j]
            gap = np.float32(0)
            for j in range(rows * wide if possible > 0 else 0):
                below_winners = (a1 - a0) * x[j] + (a2 - a0 + (a0 - a1 - a2 + a3) * x[j]) * y[j] + a0 + best[j]
                gap = max(gap, -below_winners)

            # Which classes to follow one by one.
            count = 0
            for j in range(4):
                row, column = y0 if j < 2 else y1, x0 if j % 2 == 0 else x1
                for n in range(-1, counts[row, column]):
                    k = notable[row, column, n] if n >= 0 else winners[row, column]
                    if not is_wanted[k]:
                        is_wanted[k] = 1
                        wanted[count] = k
                        count += 1
            for i in range(possible):
                if not is_wanted[may_win[i]]:
                    is_wanted[may_win[i]] = 1
                    wanted[count] = may_win[i]
                    count += 1
            steep = gap > _STEEP
            if steep:
                for k in range(classes):
                    nearest = max(
                        max(_lead(log_probs, k, a, sharpness, y0, x0), _lead(log_probs, k, b, sharpness, y0, x1)),
                        max(_lead(log_probs, k, d, sharpness, y1, x0), _lead(log_probs, k, e, sharpness, y1, x1)),
                    )
                    if not is_wanted[k] and nearest > _LOG_LEAST - gap:
                        is_wanted[k] = 1
                        wanted[count] = k
                        count += 1
            o0, o1, o2, o3 = sums[y0, x0], sums[y0, x1], sums[y1, x0], sums[y1, x1]
            for i in range(count):
                k = wanted[i]
                is_wanted[k] = 0
                o0 -= weights[y0, x0, k]
                o1 -= weights[y0, x1, k]
                o2 -= weights[y1, x0, k]
                o3 -= weights[y1, x1, k]

            for j in range(rows * wide):
                total[j] = 0
            for i in range(count if steep else count + 1):
                if i < count:
                    k = wanted[i]
                    d0 = _lead(log_probs, k, a, sharpness, y0, x0) - a0
                    d1 = _lead(log_probs, k, b, sharpness, y0, x1) - a1
                    d2 = _lead(log_probs, k, d, sharpness, y1, x0) - a2
                    d3 = _lead(log_probs, k, e, sharpness, y1, x1) - a3
                else:  # the others together
                    d0 = (log(o0) if o0 > _TINY else -_FAR) - a0
                    d1 = (log(o1) if o1 > _TINY else -_FAR) - a1
                    d2 = (log(o2) if o2 > _TINY else -_FAR) - a2
                    d3 = (log(o3) if o3 > _TINY else -_FAR) - a3
                right, down, twist = d1 - d0, d2 - d0, d0 - d1 - d2 + d3
                for j in range(rows * wide):
                    total[j] += exp(d0 + right * x[j] + (down + twist * x[j]) * y[j] - best[j])
            for row in range(rows):
                out = band[row, starts_x[c] : starts_x[c] + columns]
                below = total[row * wide : (row + 1) * wide]
                for j in range(columns):
                    out[j] = np.uint8(np.float32(255) / below[j] + np.float32(0.5))
        for row in range(rows):
            _copy(band[row, :length], confidence[crop_y + starts_y[r] + row, crop_x : crop_x + length])


@compiled_for_finite
def width_in_vectors(starts):
    """Pixels of the widest cell, in whole vectors."""
    return (_largest_step(starts) + VECTOR - 1) // VECTOR * VECTOR


@compiled_for_finite
def _largest_step(starts):
    largest = 1
    for i in range(len(starts) - 1):
        largest = max(largest, starts[i + 1] - starts[i])
    return largest


@compiled_for_finite
def _fill(values, value):
    for j in range(len(values)):
        values[j] = value


@compiled_for_finite
def _copy(source, result):
    for j in range(len(source)):
        result[j] = source[j]


@compiled_for_finite
def _lead(log_probs, k, winner, sharpness, y, x):
    """Scaled difference of class `k` to the winner at a node, 0 at most."""
    return (log_probs[y, x, k] - log_probs[y, x, winner]) * sharpness
