# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `stereo.disparity`: windows of one eye looked for along the rows of the other, and fitted there.

Notation: strips are float32 (parts, side, columns); the window that is looked for begins in the column `reach + 1`, so
that windows up to `reach` further left and right, and one more for slopes, lie inside. Samples without weight are never
looked at: a list of the others is made once for each part.
"""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper

SCORE, AMOUNT, LEFT_OVER, RIVAL, RETURNED, BEST, SHIFT, STD = range(8)
"""Columns of what is found."""
SEEN_SHARE = 0.9
"""Least share of the weight that a window has to show."""
RIVAL_APART = 3
"""Steps from the best place within which another one is the same."""
SEEN, THEIRS, OURS, ROWS, ONE, HERE, THEIRS_ACROSS, OURS_ACROSS, THEIRS_DOWN, OURS_DOWN = range(10)
"""What the fit adds up products of: the other eye's gray and slope, one's own slope along and down the rows, 1, one's
own gray, and the slopes times the place from the middle."""
UNKNOWNS = 5
"""Gain, gain times shift, offset, gain times tilt across and down."""


@compiled
def search(gray, weights, free, side, back, ranges, row_stds, tilt, correlated, found):
    """Find the middle window of each left strip in the right one of the same rows, and how far off it is there.

    Args:
        gray: left and right strips, two float32 (parts, side, columns).
        weights: of the samples of both.
        free: 0 where a sample is not in sight, of both.
        side: rows and columns of windows.
        back: how far is searched on either side on the way back, samples.
        ranges: how far is searched on the way there, at most `reach`, float64 (parts,).
        row_stds: how far rows of the eyes may lie apart, float64 (parts,).
        tilt: how much disparities change with places, standard deviation.
        correlated: how many samples carry the noise of one.
        found: gets the columns above, float64 (parts, 8).
    """
    left, right = gray
    columns = left.shape[2]
    reach = (columns - side - 2) // 2
    scores, returned = np.empty(2 * reach + 1), np.empty(2 * back + 1)
    rows, places = np.empty(side * side, np.int64), np.empty(side * side, np.int64)
    share = np.empty(side * side)
    for part in range(len(left)):
        # Way there.
        count = 0
        for i in range(side):
            for j in range(side):
                weight = weights[0][part, i, j + reach + 1]
                if weight > 0:
                    rows[count], places[count], share[count] = i, j, weight
                    count += 1
        amount = share[:count].sum()
        limit = ranges[part]
        whole = int(limit)
        scores[:] = -1.0
        near = scores[reach - whole : reach + whole + 1]
        first = reach + 1 - whole
        _likeness(left[part], reach + 1, right[part], free[1][part], first, rows, places, share, count, near)
        best = scores.argmax()
        found[part, SCORE], found[part, AMOUNT], found[part, BEST] = scores[best], amount, best - reach
        found[part, LEFT_OVER] = limit - abs(best - reach)
        found[part, RIVAL] = _rival(scores, best)
        begun = _peak(scores, best)
        moved, std = _fit(
            left[part], reach + 1, right[part], best + 1, side, rows, places, share, count,
            begun, row_stds[part], tilt, correlated,
        )  # fmt: skip
        found[part, SHIFT], found[part, STD] = moved, std
        # Way back, with what counts of the window that was found.
        count = 0
        for i in range(side):
            for j in range(side):
                weight = weights[1][part, i, j + best + 1] * free[0][part, i, j + reach + 1]
                if weight > 0:
                    rows[count], places[count], share[count] = i, j, weight
                    count += 1
        _likeness(
            right[part], best + 1, left[part], free[0][part], reach + 1 - back, rows, places, share, count, returned
        )
        found[part, RETURNED] = returned.argmax() - back


@helper
def _likeness(one, begin, other, free, first, rows, places, share, count, scores):
    """Weighted ZNCC of the window of `one` that begins in a column with those of `other` from the column `first` on.

    -1 where less than `SEEN_SHARE` of the weight is seen.
    """
    amount, mean = 0.0, 0.0
    for k in range(count):
        amount += share[k]
        mean += share[k] * one[rows[k], begin + places[k]]
    total = max(amount, 1e-6)
    mean /= total
    length = len(scores)
    product, plain, square, seen = np.zeros(length), np.zeros(length), np.zeros(length), np.zeros(length)
    own = 0.0
    for k in range(count):
        away = one[rows[k], begin + places[k]] - mean
        weight, weighted = share[k], share[k] * away
        own += weighted * away
        line = other[rows[k], first + places[k] : first + places[k] + length]
        there = free[rows[k], first + places[k] : first + places[k] + length]
        for p in range(length):
            value = np.float64(line[p])
            product[p] += weighted * value
            plain[p] += weight * value
            square[p] += weight * value * value
            seen[p] += weight * there[p]
    for p in range(length):
        variance = square[p] - plain[p] * plain[p] / total
        scores[p] = product[p] / math.sqrt(max(own * variance, 1e-3))
        if seen[p] < SEEN_SHARE * amount:
            scores[p] = -1.0


@helper
def _rival(scores, best):
    """The greatest likeness that is a peak of its own; -1 where there is none."""
    most = -1.0
    for p in range(1, len(scores) - 1):
        if abs(p - best) > RIVAL_APART and scores[p] >= scores[p - 1] and scores[p] >= scores[p + 1]:
            most = max(most, scores[p])
    return most


@helper
def _peak(scores, best):
    """How far beyond the best whole step the parabola through its neighbours has its top; 0 at the ends."""
    if best < 1 or best > len(scores) - 2:
        return 0.0
    below, top, above = scores[best - 1], scores[best], scores[best + 1]
    bend = below - 2 * top + above
    if bend >= -1e-9 or min(below, above) <= -1:
        return 0.0
    return min(max((below - above) / (2 * bend), -0.5), 0.5)


@helper
def _fit(
    one, begin, other, there, side, rows, places, share, count, begun, row_std, tilt, correlated
):  # fmt: skip
    """Part of a step beyond the best whole one, which begins in the column `there`, and its standard deviation.

    See `stereo.disparity`. A solution is sought twice, the second time from where the first one led.
    """
    sums, basis = np.empty((10, 10)), np.empty(10)
    moved, std = begun, 0.0
    middle = (side - 1) / 2
    for _ in range(2):
        at = min(max(moved, -1.0), 1.0)
        sums[:] = 0.0
        for k in range(count):
            i, j = rows[k], places[k]
            before, here, after = other[i, there + j - 1], other[i, there + j], other[i, there + j + 1]
            first, second = (after - before) / 2, after - 2 * here + before
            along = (one[i, begin + j + 1] - one[i, begin + j - 1]) / 2 if 0 < j < side - 1 else 0.0
            steep = (one[i + 1, begin + j] - one[i - 1, begin + j]) / 2 if 0 < i < side - 1 else 0.0
            theirs = first + at * second
            basis[SEEN] = here - 128 + at * first + at * at / 2 * second
            basis[THEIRS], basis[OURS], basis[ROWS] = theirs, along, steep
            basis[ONE], basis[HERE] = 1.0, one[i, begin + j] - 128
            basis[THEIRS_ACROSS], basis[OURS_ACROSS] = theirs * (j - middle), along * (j - middle)
            basis[THEIRS_DOWN], basis[OURS_DOWN] = theirs * (i - middle), along * (i - middle)
            for a in range(10):
                weighted = share[k] * basis[a]
                for b in range(a, 10):
                    sums[a, b] += weighted * basis[b]
        for a in range(10):
            for b in range(a):
                sums[a, b] = sums[b, a]
        step, std = _solve(sums, row_std, tilt, correlated)
        moved = at + step
    return moved, std


@helper
def _solve(sums, row_std, tilt, correlated):
    """Shift and its standard deviation of the sums of products.

    The slope is the mean of both eyes', of which the right one's counts as the gain says, which is found on the way.
    """
    first = (SEEN, THEIRS, ONE, THEIRS_ACROSS, THEIRS_DOWN)
    second = (SEEN, OURS, ONE, OURS_ACROSS, OURS_DOWN)
    theirs, ours = np.ones(UNKNOWNS), np.zeros(UNKNOWNS)  # shares of `first` and `second` in each unknown
    inverse = np.empty((UNKNOWNS, UNKNOWNS))
    solved, aim = np.empty(UNKNOWNS), np.empty(UNKNOWNS)
    total = max(sums[ONE, ONE], 1e-6)
    gain, variance, known = 1.0, 0.0, np.inf
    for _ in range(3):
        fitted = 0.0
        for a in range(UNKNOWNS):
            aim[a] = theirs[a] * sums[first[a], HERE] + ours[a] * sums[second[a], HERE]
            for b in range(UNKNOWNS):
                inverse[a, b] = theirs[a] * (theirs[b] * sums[first[a], first[b]] + ours[b] * sums[first[a], second[b]])
                inverse[a, b] += ours[a] * (
                    theirs[b] * sums[second[a], first[b]] + ours[b] * sums[second[a], second[b]]
                )
            inverse[a, a] += 1e-3  # where there is nothing to see, there is still a solution
            if a >= 3:
                inverse[a, a] += min(known, 1e9)
        normal = inverse.copy()
        _invert(inverse)
        for a in range(UNKNOWNS):
            solved[a] = 0.0
            for b in range(UNKNOWNS):
                solved[a] += inverse[a, b] * aim[b]
        for a in range(UNKNOWNS):
            fitted += 2 * solved[a] * aim[a]
            for b in range(UNKNOWNS):
                fitted -= solved[a] * normal[a, b] * solved[b]
        gain = solved[0] if abs(solved[0]) > 1e-3 else np.inf
        for a in (1, 3, 4):
            theirs[a], ours[a] = 0.5, 0.5 / gain
        variance = max(sums[HERE, HERE] - fitted, 0.0) / max(total - UNKNOWNS, 1.0)
        known = correlated * variance / (tilt * gain) ** 2
    by_row = 0.0
    for a in range(UNKNOWNS):
        by_row += inverse[1, a] * (theirs[a] * sums[first[a], ROWS] + ours[a] * sums[second[a], ROWS])
    by_row *= row_std / gain
    return solved[1] / gain, math.sqrt(correlated * variance * inverse[1, 1] / gain**2 + by_row * by_row)


@helper
def _invert(matrix):
    """Invert a positive definite matrix in its place (Gauss-Jordan)."""
    count = len(matrix)
    for k in range(count):
        pivot = 1.0 / matrix[k, k]
        matrix[k, k] = 1.0
        for j in range(count):
            matrix[k, j] *= pivot
        for i in range(count):
            if i != k:
                factor = matrix[i, k]
                matrix[i, k] = 0.0
                for j in range(count):
                    matrix[i, j] -= factor * matrix[k, j]
