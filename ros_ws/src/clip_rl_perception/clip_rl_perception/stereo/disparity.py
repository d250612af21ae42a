"""Disparities at chosen places: both eyes' pixels compared along common rows, on the instrument alone.

Zero-mean normalised cross-correlation with weights finds the whole step, least squares with gain and offset (Gruen
1985, Adaptive least squares correlation, S. Afr. J. Photogrammetry 14) the part of one and how sure it is, and the same
search from the right eye to the left has to come back to where it began.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from clip_rl_perception.arrays import CountArray, DoubleArray, FloatArray
from clip_rl_perception.kernels import strip_kernels as strips
from clip_rl_perception.stereo.patches import Patches

SIDE = 21
"""Rows and columns of what is compared, samples."""
REACH = 12
"""How far is searched on either side of what is expected, samples."""
LEAST_RANGE = 2
"""How far is searched at the least, samples."""
BACK = 6
"""How far is searched on either side on the way back, samples."""
BETWEEN = 0.03
"""How far off a part of a step is for what fine patterns do between samples, standard deviation, samples."""
TILT = 0.1
"""How much disparities change with places, standard deviation: something 70 mm away that is slanted by 45 degrees."""
FARTHEST = 1.5
"""How far beyond the likest whole step the fit may lead, samples."""
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
    count = len(left.gray)
    found = np.zeros((count, 8))
    limits = np.clip(np.asarray(ranges, np.float64), LEAST_RANGE, REACH)
    strips.search(
        _both(left.gray, right.gray), _both(*weights), _both(left.free, right.free), SIDE, BACK, limits,
        np.asarray(row_stds, np.float64), TILT, float(config.correlated), found,
    )  # fmt: skip
    made = []
    for score, amount, left_over, rival, returned, place, moved, own_std in found.tolist():
        std = math.hypot(own_std, BETWEEN) if abs(moved) <= FARTHEST else math.inf
        shift = place + min(max(moved, -FARTHEST), FARTHEST)
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
        made.append(Match(reason, shift, std, score))
    return made


def compared_columns(ranges: DoubleArray) -> tuple[CountArray, CountArray]:
    """How many columns on either side of the middle `match` looks at in gray, of the left parts and the right ones.

    Args:
        ranges: (n,), as `match` takes them.
    """
    half = SIDE // 2
    searched = np.clip(ranges, LEAST_RANGE, REACH).astype(np.int64)
    return np.full(len(ranges), half + BACK), half + 1 + searched


def _both(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.ascontiguousarray(left), np.ascontiguousarray(right)
