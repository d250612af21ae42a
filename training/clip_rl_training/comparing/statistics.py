"""Means, spreads and tests of significance over seeds, folds and blocks of frames.

Neighbouring frames of a video are no independent observations, so a block of consecutive frames counts as one. Two runs
are compared on the blocks that both were measured on:

- the difference of their pooled scores, with a 95 % interval by paired bootstrap over blocks (`scipy.stats.bootstrap`);
- a two-sided Wilcoxon signed-rank test of the blocks' own differences (`scipy.stats.wilcoxon`).

Where several seeds were run, a block's counts are summed over them first: seeds see the same frames, so they do not add
to the number of observations; their spread is given apart.

A run that is silent where the truth is empty has nothing to score there, and is right: its block counts, so that false
positives of the other run do. A block where both have nothing to score says nothing of either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.errors import ClipRlError
from scipy import stats

Result = Mapping[str, Any]

SCORES = {"iou": ("intersection", "union"), "nsd": ("nsd_sum", "nsd_frames")}
"""Scores that pool over blocks, each a ratio of two sums."""

LEAST_BLOCKS = 6
"""With fewer blocks no two-sided signed-rank test can fall below 0.05."""


class StatisticsError(ClipRlError, ValueError):
    """Results that cannot be compared; the message says why and what to do."""


def pooled(blocks: Iterable[Mapping[str, Any]], score: str) -> float:
    """A score pooled over blocks; NaN where there is nothing to score."""
    above, below = SCORES[score]
    rows = list(blocks)
    total = sum(row[below] for row in rows)
    return float(sum(row[above] for row in rows) / total) if total else float("nan")


@dataclasses.dataclass(frozen=True)
class Summary:
    """A score of one run over seeds, pooled over folds within a seed."""

    mean: float
    spread: float
    """Standard deviation over seeds, NaN for one seed."""
    seeds: int


def summary(results: Sequence[Result], score: str) -> Summary:
    """Pool a run's results over folds for each seed; seeds that lack a fold which another one has are left out."""
    folds = {result["fold"] for result in results}
    by_seed: dict[int, list[Result]] = {}
    for result in results:
        by_seed.setdefault(result["seed"], []).append(result)
    whole = [group for group in by_seed.values() if {result["fold"] for result in group} == folds]
    values = [pooled((block for result in group for block in result["blocks"]), score) for group in whole]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Summary(float(np.mean(values)) if values else float("nan"), spread, len(values))


@dataclasses.dataclass(frozen=True)
class Difference:
    """First run minus second run, on what both were measured on."""

    difference: float
    """Of pooled scores."""
    low: float
    high: float
    """95 % interval by bootstrap over blocks; NaN with fewer than two."""
    p: float
    """Of the signed-rank test; NaN with fewer than `LEAST_BLOCKS` blocks."""
    blocks: int
    pairs: int
    """Pairs of jobs (fold, seed) that were compared."""
    spread: float
    """Standard deviation of the pairs' differences; NaN for one pair."""


def difference(first: Sequence[Result], second: Sequence[Result], score: str) -> Difference | None:
    """Compare two runs; None when they have no job in common, or no seed has all folds that they have in common.

    Seeds that lack one of these folds are left out, as in `summary`: else folds would weigh by their finished seeds.

    Raises:
        StatisticsError: jobs of the same fold and seed whose blocks differ.
    """
    ones = {(result["fold"], result["seed"]): result["blocks"] for result in first}
    others = {(result["fold"], result["seed"]): result["blocks"] for result in second}
    common = _whole_seeds([key for key in ones if key in others and ones[key] and others[key]])
    if not common:
        return None
    above, below = SCORES[score]
    sums: dict[tuple[str, int], DoubleArray] = {}
    pairs: list[float] = []
    for key in common:
        if [row["frames"] for row in ones[key]] != [row["frames"] for row in others[key]]:
            raise StatisticsError(
                f"{key[0]}, seed {key[1]}: two runs were measured on different frames; has the dataset changed? Delete "
                "the older result-*.json and run the same command"
            )
        rows = np.array(
            [
                [one[above], one[below], other[above], other[below]]
                for one, other in zip(ones[key], others[key], strict=True)
            ],
            np.float64,
        )
        pairs.append(float(_pooled_difference(*rows.T)))
        for index, row in enumerate(rows):
            place = (key[0], index)
            sums[place] = sums.get(place, np.zeros(4)) + row
    table = np.array([row for row in sums.values() if row[1] or row[3]])
    if not len(table):
        return None
    columns = tuple(table.T)
    low = high = p = float("nan")
    if len(table) > 1:
        interval = stats.bootstrap(
            columns, _pooled_difference, paired=True, vectorized=True, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    own = _share(table[:, 0], table[:, 1]) - _share(table[:, 2], table[:, 3])
    if len(table) >= LEAST_BLOCKS and np.any(own):
        p = float(stats.wilcoxon(own).pvalue)
    return Difference(
        difference=float(_pooled_difference(*columns)),
        low=low,
        high=high,
        p=p,
        blocks=len(table),
        pairs=len(pairs),
        spread=float(np.std(pairs, ddof=1)) if len(pairs) > 1 else float("nan"),
    )


def _whole_seeds(jobs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Of jobs (fold, seed) those whose seed has every fold."""
    folds = {fold for fold, _ in jobs}
    return [(fold, seed) for fold, seed in jobs if folds == {other for other, of in jobs if of == seed}]


def _pooled_difference(a: Any, b: Any, c: Any, d: Any, axis: int = -1) -> Any:
    return _share(a.sum(axis), b.sum(axis)) - _share(c.sum(axis), d.sum(axis))


def _share(part: Any, whole: Any) -> Any:
    """`part` of `whole`, elementwise; 1 where there is nothing to score, which a silent run has right."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
