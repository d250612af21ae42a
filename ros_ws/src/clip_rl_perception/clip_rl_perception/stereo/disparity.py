"""Disparities at chosen places: both eyes' pixels compared along common rows, on the instrument alone.

Zero-mean normalised cross-correlation with weights finds the whole step, least squares with gain and offset (Gruen
1985, Adaptive least squares correlation, S. Afr. J. Photogrammetry 14) the part of one and how sure it is, and the same
search from the right eye to the left has to come back to where it began.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray, FloatArray
from clip_rl_perception.stereo.patches import Patches

SIDE = 21
"""Rows and columns of what is compared, samples."""
REACH = 12
"""How far is searched on either side of what is expected, samples."""
PLACES = np.arange(-REACH, REACH + 1)
"""Steps from what is expected."""
BACK = 6
"""How far is searched on either side on the way back, samples."""
BETWEEN = 0.03
"""How far off a part of a step is for what fine patterns do between samples, standard deviation, samples."""
TILT = 0.1
"""How much disparities change with places, standard deviation: something 70 mm away that is slanted by 45 degrees."""
DOWN, ACROSS = (part.reshape(-1).astype(np.float32) for part in np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)
"""Places of samples from the middle."""
STRIP = (SIDE, SIDE + 2 * REACH + 2)
"""Rows and columns of the parts of both eyes: one more column on either side, for slopes."""

AMBIGUOUS = "several places of the right eye are as like"
UNCLEAR = "the pixels around it do not tell where along the row it lies"
"""Reasons where the right eye shows the same, and what is not known is where exactly."""


@dataclasses.dataclass(frozen=True)
class MatchConfig:
    """When a place counts as found again in the other eye."""

    min_score: float = 0.6
    """Least likeness (ZNCC)."""
    second: float = 0.97
    """A second place elsewhere that is as like as this part of the best makes the place ambiguous."""
    left_right: float = 1.0
    """How far the way back may end from where it began, samples."""
    min_weight: float = 24.0
    """Fewest samples to compare."""
    max_std: float = 0.75
    """Most uncertain disparity, samples."""
    correlated: float = 2.0
    """How many samples carry the noise of one: they overlap, and JPEG and demosaicing spread it."""


@dataclasses.dataclass(frozen=True)
class Match:
    """What was found at one place."""

    reason: str
    """Why there is no disparity; empty when there is."""
    shift: float
    """How much further right than expected, samples."""
    std: float
    """Its standard deviation, samples."""
    score: float
    """ZNCC at the best whole step; NaN where nothing could be compared."""


def match(
    left: Patches,
    right: Patches,
    weights: tuple[FloatArray, FloatArray],
    ranges: DoubleArray,
    row_stds: DoubleArray,
    config: MatchConfig | None = None,
) -> list[Match]:
    """Where the middle of each left part lies in the right part of the same rows.

    Args:
        left: parts (n, *STRIP).
        right: parts (n, *STRIP), around the places that are expected.
        weights: of the samples of both, (n, *STRIP).
        ranges: (n,), how far from there is searched, samples, at most `REACH`.
        row_stds: (n,), how far a row of one eye may lie from that of the other, samples: what runs along rows tells
            nothing then.
        config: limits.
    """
    config = config or MatchConfig()
    if not len(left.gray):
        return []
    middle = slice(REACH + 1, REACH + 1 + SIDE)
    kernel, weight = left.gray[:, :, middle], weights[0][:, :, middle]
    windows = _windows(right.gray)
    reaches = np.clip(ranges, 2.0, REACH)
    scores = _scores(kernel, weight, windows, right.free)
    scores[np.abs(PLACES) > reaches[:, None]] = -1.0
    best = scores.argmax(axis=1)
    every = np.arange(len(best))
    shifts, stds = _refine(kernel, weight, windows, best, _peaks(scores, best), row_stds, config.correlated)
    back = _back(left, windows, weights[1], best)
    apart = np.abs(PLACES - PLACES[best][:, None]) > 3
    apart[:, 1:-1] &= (scores[:, 1:-1] >= scores[:, :-2]) & (scores[:, 1:-1] >= scores[:, 2:])
    apart[:, [0, -1]] = False
    rivals = np.where(apart, scores, -1.0).max(axis=1)
    told = (scores[every, best], weight.sum(axis=(1, 2)), reaches - np.abs(PLACES[best]), rivals, back, shifts, stds)
    made = []
    for place, row in zip(best.tolist(), np.stack(told, axis=1).tolist(), strict=True):
        score, amount, left_over, rival, returned, shift, std = row
        if amount < config.min_weight:
            reason = "too few of the instrument's pixels around it in the left eye"
        elif score < config.min_score:
            reason = f"the right eye shows nothing like it (likeness {score:.2f}, expected {config.min_score:g})"
        elif left_over < 1:
            reason = "the likest place lies at the end of what was searched"
        elif rival > config.second * score:
            reason = AMBIGUOUS
        elif not abs(returned) <= config.left_right:
            reason = "from the right eye back to the left another place is likest: covered in one of them"
        elif not std <= config.max_std:
            reason = UNCLEAR
        else:
            reason = ""
        made.append(Match(reason, place - REACH + shift, std, score))
    return made


def _windows(strips: FloatArray) -> FloatArray:
    """(n, places + 2, SIDE * SIDE): every window of `SIDE` columns, one more on either side of those searched."""
    strips = np.ascontiguousarray(strips)
    count, rows, columns = strips.shape
    part, row, column = strips.strides
    places = columns - SIDE + 1
    view = np.ndarray((count, places, rows, SIDE), np.float32, strips, strides=(part, column, row, column))
    return view.reshape(count, places, rows * SIDE)


def _scores(kernel: FloatArray, weight: FloatArray, windows: FloatArray, free: FloatArray) -> DoubleArray:
    """Weighted ZNCC, (n, places), of kernels (n, SIDE, SIDE) with windows; -1 where a tenth of the weight is not seen.

    `free` are the samples that windows are cut from: 0 where the other eye does not see the instrument's surroundings.
    """
    count = len(kernel)
    w = weight.reshape(count, -1)
    total = np.maximum(w.sum(axis=1), 1e-6)
    template = kernel.reshape(count, -1) - (w * kernel.reshape(count, -1)).sum(axis=1, keepdims=True) / total[:, None]
    weighted = w * template
    inner = windows[:, 1:-1]
    sums = inner @ np.stack([weighted, w], axis=2)  # (n, places, 2)
    squares = ((inner * inner) @ w[..., None])[..., 0]
    variance = squares - sums[..., 1] ** 2 / total[:, None]
    own = (weighted * template).sum(axis=1, keepdims=True)
    scores = np.asarray(sums[..., 0] / np.sqrt(np.maximum(own * variance, 1e-3)), np.float64)
    for index in np.flatnonzero(~free.all(axis=(1, 2))):
        seen = _windows(free[index : index + 1])[0, 1:-1] @ w[index]
        scores[index, seen < 0.9 * total[index]] = -1.0
    return scores


def _peaks(scores: DoubleArray, best: npt.NDArray[np.intp]) -> DoubleArray:
    """How far beyond the best whole step the parabola through its neighbours has its top, (n,); 0 at the ends."""
    every, middle = np.arange(len(best)), np.clip(best, 1, scores.shape[1] - 2)
    below, top, above = (scores[every, middle + offset] for offset in (-1, 0, 1))
    bend = below - 2 * top + above
    inside = (middle == best) & (bend < -1e-9) & (np.minimum(below, above) > -1)
    return np.where(inside, np.clip((below - above) / np.where(inside, 2 * bend, 1.0), -0.5, 0.5), 0.0)


def _refine(
    kernel: FloatArray,
    weight: FloatArray,
    windows: FloatArray,
    best: npt.NDArray[np.intp],
    begun: DoubleArray,
    row_stds: DoubleArray,
    correlated: float,
) -> tuple[DoubleArray, DoubleArray]:
    """Part of a step beyond the best whole one, and its standard deviation, samples.

    ``left(p) = gain right(p + shift + tilt p) + offset`` with p from the middle, linear in gain, gain shift, gain tilt
    (of columns and rows) and offset; the slope is the mean of both eyes', which makes the step exact to second order.
    What is seen around an instrument's end lies on one side of it and, slanted, nearer or farther: tilt tells so, known
    beforehand as `TILT` says. Pixels between those of the right eye lie on parabolas; `begun`, (n,), is about the part
    of a step.
    """
    count, every = len(best), np.arange(len(best))
    before, there, after = (windows[every, best + offset] for offset in (0, 1, 2))
    first, second = (after - before) / 2, after - 2 * there + before
    along, steep = np.zeros_like(kernel), np.zeros_like(kernel)
    along[:, :, 1:-1] = (kernel[:, :, 2:] - kernel[:, :, :-2]) / 2
    steep[:, 1:-1] = (kernel[:, 2:] - kernel[:, :-2]) / 2
    ours, rows, here = (part.reshape(count, -1) for part in (along, steep, kernel - 128))
    ones, weights = np.ones_like(there), weight.reshape(count, 1, -1)
    moved = begun
    for _ in range(2):  # the second time from where the first one led
        at = np.clip(moved, -1.0, 1.0).astype(np.float32)[:, None]
        theirs = first + at * second
        tilted = [slope * place for place in (ACROSS, DOWN) for slope in (theirs, ours)]
        seen = there - 128 + at * first + at * at / 2 * second
        basis = np.stack([seen, theirs, ours, rows, ones, here, *tilted], axis=1).astype(np.float64)
        step, std = _solve((basis * weights) @ basis.transpose(0, 2, 1), row_stds, correlated)
        moved = at[:, 0] + step
    std = np.where(np.abs(moved) <= 1.5, np.hypot(std, BETWEEN), np.inf)
    return np.asarray(np.clip(moved, -1.5, 1.5), np.float64), np.asarray(std, np.float64)


def _solve(sums: DoubleArray, row_stds: DoubleArray, correlated: float) -> tuple[DoubleArray, DoubleArray]:
    """Shifts and their standard deviations of the sums (n, 10, 10) of products that `_refine` makes."""
    count = len(sums)
    total = np.maximum(sums[:, 4, 4], 1e-6)
    design = np.zeros((count, 5, 10))  # gain, gain shift, offset, gain tilt twice
    design[:, [0, 1, 2, 3, 4], [0, 1, 4, 6, 8]] = 1.0
    known = np.full((count, 2), np.inf)
    for _ in range(3):
        normal = design @ sums @ design.transpose(0, 2, 1)
        normal += 1e-3 * np.eye(5)  # where there is nothing to see, there is still a solution
        normal[:, [3, 4], [3, 4]] += np.minimum(known, 1e9)
        aim = (design @ sums[:, :, 5:6])[..., 0]
        covariance = np.linalg.inv(normal)
        solved = (covariance @ aim[..., None])[..., 0]
        gain = np.where(np.abs(solved[:, 0]) > 1e-3, solved[:, 0], np.inf)
        for place, first in ((1, 1), (3, 6), (4, 8)):
            design[:, place, first], design[:, place, first + 1] = 0.5, 0.5 / gain
        fitted = 2 * (solved * aim).sum(axis=1) - (solved[:, None] @ normal @ solved[..., None])[:, 0, 0]
        variance = np.maximum(sums[:, 5, 5] - fitted, 0.0) / np.maximum(total - 5, 1.0)
        known = np.repeat((correlated * variance / (TILT * gain) ** 2)[:, None], 2, axis=1)
    by_row = (covariance[:, 1] * (design @ sums[:, :, 3:4])[..., 0]).sum(axis=1) / gain
    std = np.sqrt(correlated * variance * covariance[:, 1, 1] / gain**2 + (by_row * row_stds) ** 2)
    return np.asarray(solved[:, 1] / gain, np.float64), np.asarray(std, np.float64)


def _back(left: Patches, windows: FloatArray, weights: FloatArray, best: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """How far from its beginning the way back ends, samples, (n,); `windows` and `weights` are the right eye's."""
    count = len(best)
    kernel = windows[np.arange(count), best + 1].reshape(count, SIDE, SIDE)
    weight = np.stack([part[:, at : at + SIDE] for part, at in zip(weights, (best + 1).tolist(), strict=True)])
    middle = slice(REACH + 1, REACH + 1 + SIDE)
    weight *= left.free[:, :, middle]
    near = slice(REACH - BACK, REACH + BACK + SIDE + 2)
    scores = _scores(kernel, weight, _windows(left.gray[:, :, near]), left.free[:, :, near])
    return np.asarray(scores.argmax(axis=1) - BACK, np.intp)
