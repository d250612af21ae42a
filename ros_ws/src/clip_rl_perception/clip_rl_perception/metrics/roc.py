"""How well a number tells two kinds of pictures apart."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


def roc_area(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a positive's number is above a negative's, ties counting half.

    Args:
        positives: numbers of those that should have large ones, (n,).
        negatives: of the others, (m,).

    Returns:
        0 to 1; NaN where either is empty.
    """
    high, low = np.ravel(positives).astype(np.float64), np.ravel(negatives).astype(np.float64)
    if not high.size or not low.size:
        return math.nan
    ranks = rankdata(np.concatenate([high, low]))[: high.size]  # Mann and Whitney 1947
    return float((ranks.sum() - high.size * (high.size + 1) / 2) / (high.size * low.size))
