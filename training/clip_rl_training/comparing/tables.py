"""The tables of a comparison's report, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clip_rl_training.comparing.comparison_config import CompareConfig
from clip_rl_training.comparing.statistics import Result, blocks_of, difference, pooled, summary
from clip_rl_training.evaluating.robustness import mean_corruption_error

ByRun = Mapping[str, Sequence[Result]]
"""Results of the finished jobs by run, runs without any left out."""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where it is undefined."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def main_table(config: CompareConfig, runs: ByRun) -> list[str]:
    """One row per run: scores pooled over the folds, mean and spread over seeds, and what the run cost.

    A run that lacks folds which others have says so: some are easier, and its row compares with no other.
    """
    tau = f"{config.evaluation.tau:g}"
    head = ["run", "seeds", "IoU", f"NSD at {tau} px", "HD95 px", "ECE", "parameters", "steps", "CPU min", "wall min"]
    rows = []
    most = max((len(_folds(results)) for results in runs.values()), default=0)
    for name, results in runs.items():
        count = len(_folds(results))
        iou, nsd = summary(results, "iou"), summary(results, "nsd")
        rows.append(
            [
                name if count == most else f"{name} ({count} of {most} folds)",
                str(iou.seeds),
                _with_spread(iou.mean, iou.spread),
                _with_spread(nsd.mean, nsd.spread),
                _number(_mean(results, lambda r: r["metrics"]["hd95"])),
                _number(_mean(results, lambda r: r["metrics"]["ece"]), 3),
                f"{results[0]['parameters'] / 1e6:.1f} M",
                str(results[0]["steps"]),
                _number(_mean(results, lambda r: r["cpu_seconds"] / 60)),
                _number(_mean(results, lambda r: r["seconds"] / 60)),
            ]
        )
    return markdown(head, rows)


def _folds(results: Sequence[Result]) -> set[str]:
    return {result["fold"] for result in results}


def fold_table(config: CompareConfig, runs: ByRun) -> list[str]:
    """IoU / NSD of each run on each fold, mean over seeds."""
    folds = [fold.name for fold in config.folds]
    rows = []
    for name, results in runs.items():
        cells = []
        for fold in folds:
            chosen = [result for result in results if result["fold"] == fold]
            scores = [[pooled(blocks_of(result), score) for result in chosen] for score in ("iou", "nsd")]
            cells.append(" / ".join(percent(float(np.mean(values))) for values in scores) if chosen else "-")
        rows.append([name, *cells])
    return markdown(["IoU / NSD", *folds], rows)


def test_table(config: CompareConfig, runs: ByRun) -> list[str]:
    """Differences that the configuration asks for, with intervals and p-values."""
    head = ["difference", "score", "points", "95 % interval", "p", "blocks", "pairs of runs", "spread over pairs"]
    rows = []
    for first, second in config.tests:
        for score in ("iou", "nsd"):
            found = difference(runs.get(first, ()), runs.get(second, ()), score)
            if found is None:
                continue
            rows.append(
                [
                    f"{first} - {second}",
                    score.upper() if score == "nsd" else "IoU",
                    f"{100 * found.difference:+.1f}",
                    "-" if math.isnan(found.low) else f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
                    "-" if math.isnan(found.p) else f"{found.p:.2g}",
                    str(found.blocks),
                    str(found.pairs),
                    percent(found.spread),
                ]
            )
    return markdown(head, rows) if rows else []


def video_table(runs: ByRun) -> list[str]:
    """Scores when frames follow each other, and temporal consistency; empty where it was not measured."""
    rows = []
    for name, results in runs.items():
        if "video" not in results[0]:
            continue
        iou, nsd = summary(results, "iou", "video.blocks"), summary(results, "nsd", "video.blocks")
        consistency = _mean(results, lambda r: r["video"]["metrics"].get("temporal_consistency"))
        steps = _mean(results, lambda r: r["video"]["refine_steps"])
        rows.append(
            [
                name,
                _with_spread(iou.mean, iou.spread),
                _with_spread(nsd.mean, nsd.spread),
                percent(consistency),
                _number(_mean(results, lambda r: r["refine_steps"])),
                _number(steps),
            ]
        )
    head = ["frames as video", "IoU", "NSD", "temporal consistency", "steps per frame alone", "steps as video"]
    return markdown(head, rows) if rows else []


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


def corruption_table(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Corruption errors, runs as columns, in percent of the reference's."""
    if not errors:
        return []
    names = list(next(iter(errors.values())))
    order = ["mean", *(name for name in names if name != "mean")]
    rows = [[name, *(percent(errors[run].get(name), 0) for run in errors)] for name in order]
    return markdown(["corruption error, % of the reference's", *errors], rows)


def _with_spread(mean: float, spread: float) -> str:
    return percent(mean) if math.isnan(spread) else f"{percent(mean)} ± {percent(spread)}"


def _mean(results: Sequence[Result], read: Any) -> float:
    values = [read(result) for result in results]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
