"""What mattered in a search: rank correlations of parameters with scores, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from clip_rl_training.searching.search_space import SearchSpace

LEAST = 8
"""Trials without which nothing is said."""
_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Importance:
    """Of one parameter, or of one choice of it."""

    key: str
    """Of the space."""
    choice: Any
    """Having it or not is what is correlated; None: the number is."""
    correlation: float
    """Spearman's, -1 to 1."""
    low: float
    """5 % quantile over bootstrap samples."""
    high: float
    """95 % quantile."""


def importances(space: SearchSpace, trials: Sequence[tuple[Sequence[float], float]]) -> list[Importance]:
    """Rank correlations of each parameter with the score.

    Args:
        space: the space.
        trials: (point, score); of fewer than `LEAST` nothing is said.
    """
    if len(trials) < LEAST:
        return []
    points = np.array([point for point, _ in trials])
    scores = np.array([score for _, score in trials])
    columns: list[tuple[str, Any, npt.NDArray[np.float64]]] = []
    for place, (key, knob) in enumerate(zip(space.keys, space.knobs, strict=True)):
        if not knob.choices:
            columns.append((key, None, points[:, place]))
            continue
        taken = np.minimum((points[:, place] * len(knob.choices)).astype(int), len(knob.choices) - 1)
        columns += [(key, choice, (taken == index).astype(float)) for index, choice in enumerate(knob.choices)]
    rng = np.random.default_rng(0)
    samples = rng.integers(0, len(trials), (_SAMPLES, len(trials)))
    found = []
    for key, choice, column in columns:
        drawn = np.array([_spearman(column[sample], scores[sample]) for sample in samples])
        low, high = np.quantile(drawn, [0.05, 0.95])
        found.append(Importance(key, choice, _spearman(column, scores), float(low), float(high)))
    return found


def _spearman(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Correlation of ranks; 0 where one of the two never changes."""
    ranks = np.array([rankdata(one), rankdata(other)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norm = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum() / norm) if norm else 0.0
