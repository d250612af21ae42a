"""What the tables of a comparison's report hold; templates/comparison.md.j2 says how they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clip_rl_training.comparing.comparison_config import CompareConfig
from clip_rl_training.comparing.statistics import (
    LEAST_BLOCKS,
    Difference,
    Result,
    difference,
    pooled,
    summary,
)
from clip_rl_training.evaluating.robustness import mean_corruption_error, mean_of_known

ByRun = Mapping[str, Sequence[Result]]
"""Results of the finished jobs by run, runs without any left out."""

_UNTRAINED = 0.05
"""IoU below which a network is taken for untrained."""


def run_rows(runs: ByRun) -> list[dict[str, Any]]:
    """One row per run: scores pooled over the folds (`Summary`), and what the run cost.

    A run that lacks folds which others have says so: some are easier, and its row compares with no other.
    """
    folds = {name: {result["fold"] for result in results} for name, results in runs.items()}
    known = set().union(*folds.values())
    return [
        {
            "name": name if folds[name] == known else f"{name} ({len(folds[name])} of {len(known)} folds)",
            "iou": summary(results, "iou"),
            "nsd": summary(results, "nsd"),
            "hd95": mean_of_known(result["metrics"]["hd95"] for result in results),
            "ece": mean_of_known(result["metrics"]["ece"] for result in results),
            "consistency": mean_of_known(result["metrics"].get("temporal_consistency") for result in results),
            "parameters": results[0]["parameters"],
            "steps": results[0]["steps"],
            "cpu_minutes": mean_of_known(result["cpu_seconds"] / 60 for result in results),
            "minutes": mean_of_known(result["seconds"] / 60 for result in results),
            "frame_ms": mean_of_known(result["frame_ms"]["p50"] for result in results),
        }
        for name, results in runs.items()
    ]


def tag_rows(runs: ByRun) -> list[dict[str, Any]]:
    """One row for each run whose tags were measured: means over folds and seeds, None where undefined."""

    def row(name: str, results: Sequence[Result]) -> dict[str, Any]:
        def mean(*path: str) -> float | None:
            return mean_of_known(_found(result["tags"], path) for result in results)

        measures = ("recall", "precision", "ap50", "pq")
        tracking = ("hota", "idf1", "switches_per_500", "identities_per_instrument")
        return {
            "name": name,
            "boxes": {key: mean("boxes", key) for key in measures},
            "masks": {key: mean("masks", key) for key in measures},
            "tracking": {key: mean("masks", "tracking", key) for key in tracking},
            "tip": mean("keypoints", "tip", "median_percent"),
            "missed": mean("keypoints", "tip", "missed"),
        }

    measured = {name: [result for result in results if result.get("tags")] for name, results in runs.items()}
    return [row(name, results) for name, results in measured.items() if results]


def _found(report: Any, path: Sequence[str]) -> float | None:
    for name in path:
        report = report.get(name) if report else None
    return None if report is None else float(report)


def fold_scores(config: CompareConfig, runs: ByRun) -> dict[str, list[tuple[float | None, float | None]]]:
    """(IoU, NSD) of each run on each fold, mean over seeds; None where it was not run."""

    def score(results: Sequence[Result], fold: str, name: str) -> float | None:
        return mean_of_known(pooled(result["blocks"], name) for result in results if result["fold"] == fold)

    return {
        run: [(score(results, fold.name, "iou"), score(results, fold.name, "nsd")) for fold in config.folds]
        for run, results in runs.items()
    }


def differences(config: CompareConfig, runs: ByRun) -> list[tuple[str, str, str, Difference]]:
    """(first run, second run, score, first minus second) of all that the configuration asks for and results tell."""
    asked = [
        (first, second, title, difference(runs.get(first, ()), runs.get(second, ()), score))
        for first, second in config.tests
        for score, title in (("iou", "IoU"), ("nsd", "NSD"))
    ]
    return [(first, second, title, found) for first, second, title, found in asked if found is not None]


def cautions(runs: ByRun, found: Sequence[tuple[str, str, str, Difference]]) -> list[str]:
    """Why some numbers of a report say little: networks that find next to nothing, too few blocks for a test."""
    scores = {name: summary(results, "iou").mean for name, results in runs.items()}
    untrained = [name for name, score in scores.items() if not score >= _UNTRAINED]
    lines = []
    if untrained:
        lines.append(
            f"{', '.join(untrained)}: IoU below {_UNTRAINED:.0%}, as of a network that is hardly trained; differences "
            "from it tell of the training's length, not of the method."
        )
    blocks = [each.blocks for _, _, _, each in found if each.blocks < LEAST_BLOCKS]
    if blocks:
        lines.append(
            f"Some differences rest on {min(blocks)} blocks; with fewer than {LEAST_BLOCKS} no test can find anything: "
            "test on more frames, or set a smaller evaluation.block."
        )
    return lines


def corruption_errors(config: CompareConfig, runs: ByRun) -> dict[str, dict[str, float]]:
    """By run and corruption, the corruption error relative to the reference, mean over folds and seeds; "mean" too."""
    reference = {(r["fold"], r["seed"]): r for r in runs.get(config.reference or "", ()) if "corruptions" in r}
    errors: dict[str, dict[str, float]] = {}
    for name, results in runs.items():
        found: dict[str, list[float]] = {}
        for result in results:
            peer = reference.get((result["fold"], result["seed"]))
            if peer is None or "corruptions" not in result:
                continue
            compared = mean_corruption_error(result["corruptions"], peer["corruptions"], str(config.reference))
            for key, value in {**compared["ce"], "mean": compared["mce"]}.items():
                if value is not None:
                    found.setdefault(key, []).append(value)
        if found:
            errors[name] = {key: float(np.mean(values)) for key, values in found.items()}
    return errors
