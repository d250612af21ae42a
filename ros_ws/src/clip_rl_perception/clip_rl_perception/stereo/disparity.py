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

SIDE = 23
"""Rows and columns of what is compared, samples."""
REACH = 16
"""How far is searched on either side of what is expected, samples."""
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
    correlated: float = 3.0
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
    within = np.abs(np.arange(-REACH, REACH + 1)) <= np.maximum(ranges, 1.0)[:, None]
    scores = _scores(kernel, weight, windows, _windows(right.free))
    scores[~within] = -1.0
    best = scores.argmax(axis=1)
    every = np.arange(len(best))
    shifts, stds = _refine(kernel, weight, windows, best, row_stds, config.correlated)
    back = _back(left, right, weights[1], best)
    apart = np.abs(np.arange(2 * REACH + 1) - best[:, None]) > 3
    peaks = np.zeros_like(scores, np.bool_)
    peaks[:, 1:-1] = (scores[:, 1:-1] >= scores[:, :-2]) & (scores[:, 1:-1] >= scores[:, 2:])
    rivals = np.where(apart & peaks, scores, -1.0).max(axis=1)
    top, amount = scores[every, best], weight.sum(axis=(1, 2))
    made = []
    for index in range(len(best)):
        score, std = float(top[index]), float(stds[index])
        edge = best[index] in (0, 2 * REACH) or not within[index, best[index] - 1 : best[index] + 2].all()
        if amount[index] < config.min_weight:
            reason = "too few of the instrument's pixels around it in the left eye"
        elif score < config.min_score:
            reason = f"the right eye shows nothing like it (likeness {score:.2f}, expected {config.min_score:g})"
        elif edge:
            reason = "the likest place lies at the end of what was searched"
        elif rivals[index] > config.second * score:
            reason = AMBIGUOUS
        elif not abs(back[index]) <= config.left_right:
            reason = "from the right eye back to the left another place is likest: covered in one of them"
        elif not std <= config.max_std:
            reason = UNCLEAR
        else:
            reason = ""
        made.append(Match(reason, float(best[index] - REACH + shifts[index]), std, score))
    return made


def _windows(strips: FloatArray) -> FloatArray:
    """(n, places + 2, SIDE * SIDE): every window of `SIDE` columns, one more on either side of those searched."""
    view = np.lib.stride_tricks.sliding_window_view(strips, SIDE, axis=2)  # (n, SIDE, places + 2, SIDE)
    return np.ascontiguousarray(view.transpose(0, 2, 1, 3)).reshape(len(strips), view.shape[2], SIDE * SIDE)


def _scores(kernel: FloatArray, weight: FloatArray, windows: FloatArray, free: FloatArray) -> DoubleArray:
    """Weighted ZNCC, (n, places), of kernels (n, SIDE, SIDE) with windows; -1 where most of the weight finds nothing.

    Samples that the right eye does not see count as the window's weighted mean would: they neither help nor harm.
    """
    count = len(kernel)
    w = weight.reshape(count, -1)
    total = np.maximum(w.sum(axis=1), 1e-6)
    template = kernel.reshape(count, -1) - (w * kernel.reshape(count, -1)).sum(axis=1, keepdims=True) / total[:, None]
    weighted = w * template
    inner = windows[:, 1:-1]
    sums = inner @ np.stack([weighted, w], axis=2)  # (n, places, 2)
    squares = np.einsum("nkp,nkp,np->nk", inner, inner, w, optimize=False)
    variance = squares - sums[..., 1] ** 2 / total[:, None]
    own = (weighted * template).sum(axis=1, keepdims=True)
    scores = np.asarray(sums[..., 0] / np.sqrt(np.maximum(own * variance, 1e-3)), np.float64)
    seen = (free[:, 1:-1] @ w[..., None])[..., 0]
    scores[seen < 0.9 * total[:, None]] = -1.0
    return scores


def _refine(
    kernel: FloatArray,
    weight: FloatArray,
    windows: FloatArray,
    best: npt.NDArray[np.intp],
    row_stds: DoubleArray,
    correlated: float,
) -> tuple[DoubleArray, DoubleArray]:
    """Part of a step beyond the best whole one, and its standard deviation, samples.

    ``left = gain right(x + shift) + offset``, linear in gain, gain shift and offset; the slope is the mean of both
    eyes', which makes the step exact to second order.
    """
    every = np.arange(len(best))
    w = weight.reshape(len(best), -1).astype(np.float64)
    left = kernel.reshape(len(best), -1).astype(np.float64)
    before, there, after = (windows[every, best + offset].astype(np.float64) for offset in (0, 1, 2))
    total = np.maximum(w.sum(axis=1), 1e-6)
    slope = (after - before) / 2
    for turn in range(2):
        design = np.stack([there, slope, np.ones_like(there)], axis=2)
        normal = np.einsum("npi,np,npj->nij", design, w, design)
        normal[:, [0, 1, 2], [0, 1, 2]] += 1e-6 * total[:, None]
        solved = np.linalg.solve(normal, np.einsum("npi,np->ni", design, w * left)[..., None])[..., 0]
        gain = np.where(np.abs(solved[:, 0]) > 1e-3, solved[:, 0], np.inf)
        if turn == 0:
            own = np.zeros_like(kernel, np.float64)
            own[:, :, 1:-1] = (kernel[:, :, 2:] - kernel[:, :, :-2]) / 2
            slope = (slope + own.reshape(slope.shape) / gain[:, None]) / 2
    shift = solved[:, 1] / gain
    residual = left - np.einsum("npi,ni->np", design, solved)
    variance = (w * residual**2).sum(axis=1) / np.maximum(total - 3, 1.0)
    covariance = np.linalg.inv(normal)
    steep = np.zeros_like(kernel, np.float64)
    steep[:, 1:-1] = (kernel[:, 2:] - kernel[:, :-2]) / 2
    by_row = np.einsum("ni,npi,np->n", covariance[:, 1], design, w * steep.reshape(left.shape)) / gain
    std = np.sqrt(correlated * variance * covariance[:, 1, 1] / gain**2 + (by_row * row_stds) ** 2)
    std[~(np.abs(shift) <= 1.5)] = np.inf
    return np.asarray(np.clip(shift, -1.5, 1.5), np.float64), np.asarray(std, np.float64)


def _back(left: Patches, right: Patches, weights: FloatArray, best: npt.NDArray[np.intp]) -> DoubleArray:
    """How far from its beginning the way back ends, samples, (n,)."""
    columns = best[:, None] + 1 + np.arange(SIDE)
    kernel = np.take_along_axis(right.gray, columns[:, None], axis=2)
    middle = slice(REACH + 1, REACH + 1 + SIDE)
    weight = np.take_along_axis(weights, columns[:, None], axis=2) * left.free[:, :, middle]
    scores = _scores(kernel, weight, _windows(left.gray), _windows(left.free))
    return np.asarray(scores.argmax(axis=1) - REACH, np.float64)
