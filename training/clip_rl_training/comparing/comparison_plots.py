"""Plots of a comparison, as small PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from clip_rl_training.comparing.statistics import Result, pooled


def plot_folds(path: Path, runs: Mapping[str, Sequence[Result]], folds: Sequence[str]) -> None:
    """IoU and NSD of each run on each fold: a bar for the mean over seeds, a dot per seed."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    width = 0.8 / len(runs)
    for axis, score, title in zip(axes, ("iou", "nsd"), ("IoU without background, pooled", "NSD"), strict=True):
        for place, (name, results) in enumerate(runs.items()):
            for index, fold in enumerate(folds):
                values = [100 * pooled(r["blocks"], score) for r in results if r["fold"] == fold]
                if not values:
                    continue
                x = index + (place + 0.5) * width - 0.4
                label = name if index == 0 or not any(r["fold"] == f for r in results for f in folds[:index]) else None
                axis.bar(x, sum(values) / len(values), width * 0.92, color=f"C{place % 10}", label=label)
                axis.plot([x] * len(values), values, ".", color="black", markersize=4)
        axis.set_xticks(range(len(folds)), folds)
        axis.set_title(title)
        axis.set_ylim(0, 100)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("%")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), fontsize=8, frameon=False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def plot_corruptions(path: Path, errors: Mapping[str, Mapping[str, float]], reference: str) -> None:
    """Corruption errors relative to the reference, one group of bars per corruption."""
    shown = {name: values for name, values in errors.items() if name != reference}
    names = [name for name in next(iter(errors.values())) if name != "mean"]
    figure, axis = pyplot.subplots(figsize=(9, 3.4), layout="constrained")
    width = 0.8 / max(1, len(shown))
    for place, (run, values) in enumerate(shown.items()):
        positions = [index + (place + 0.5) * width - 0.4 for index in range(len(names))]
        heights = [100 * values.get(name, 0.0) for name in names]
        axis.bar(positions, heights, width * 0.92, color=f"C{place}", label=f"{run} (mean {100 * values['mean']:.0f})")
    axis.axhline(100, color="black", linewidth=0.8)
    axis.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=60, ha="right", fontsize=8)
    axis.set_ylabel(f"error, % of {reference}'s")
    axis.legend(fontsize=8, frameon=False)
    axis.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
