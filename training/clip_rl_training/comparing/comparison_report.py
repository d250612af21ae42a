"""The report of a comparison: NAME.md with tables, NAME.json with what they were made from, plots beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.errors import ClipRlError

from clip_rl_training.comparing import tables
from clip_rl_training.comparing.comparison_config import CompareConfig, jobs_of
from clip_rl_training.comparing.comparison_plots import plot_corruptions, plot_folds
from clip_rl_training.comparing.statistics import Result
from clip_rl_training.typed_config import to_data

_NAMED = 6
"""Unfinished runs that a report names."""


def write_report(config: CompareConfig, results: Mapping[str, Result], folder: Path, *, command: str) -> Path:
    """Write the report of the finished jobs; returns the Markdown file.

    Args:
        config: the comparison.
        results: by job key.
        folder: for NAME.md, NAME.json, NAME-*.png.
        command: what was typed, for the reader to repeat.

    Raises:
        ClipRlError: the folder cannot be written.
    """
    ordered = [(job, results[job.key]) for job in jobs_of(config) if job.key in results]
    runs: dict[str, list[Result]] = {run.name: [] for run in config.runs}
    for job, result in ordered:
        runs[job.run.name].append(result)
    runs = {name: found for name, found in runs.items() if found}
    errors = tables.corruption_errors(config, runs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plot_folds(folder / f"{config.name}.png", runs, [fold.name for fold in config.folds])
        if errors:
            plot_corruptions(folder / f"{config.name}-corruptions.png", errors, str(config.reference))
        kept = {"config": to_data(config), "command": command, "results": [_kept(result) for _, result in ordered]}
        write_text(folder / f"{config.name}.json", json.dumps(kept, indent=1, allow_nan=False) + "\n")
        path = folder / f"{config.name}.md"
        write_text(path, "\n".join(_lines(config, runs, errors, command)) + "\n")
    except OSError as error:
        raise ClipRlError(f"cannot write the report to {folder}: {error.strerror}") from error
    return path


def _lines(
    config: CompareConfig, runs: Mapping[str, list[Result]], errors: Mapping[str, Mapping[str, float]], command: str
) -> list[str]:
    finished, wanted = sum(map(len, runs.values())), len(jobs_of(config))
    lines = [f"# {config.title}", ""]
    if config.about:
        lines += [config.about.strip(), ""]
    lines += ["Made by", "", f"    {command}", ""]
    if finished < wanted:
        missing = [job.key for job in jobs_of(config) if not _has(runs, job.run.name, job.fold.name, job.seed)]
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        named = f"{', '.join(missing[:_NAMED])}{more}"
        lines += [f"**{finished} of {wanted} runs are finished; not yet: {named}. The same command goes on.**", ""]
    lines += [*tables.main_table(config, runs), ""]
    lines += [
        "IoU and NSD in percent, pooled over all test frames of a seed, mean and standard deviation over seeds; "
        "measured in the network's view. CPU and wall time are those of training, per fold; of a run that trains a "
        "refiner alone they come on top of the network's.",
        "",
    ]
    if len(config.folds) > 1:
        lines += [*tables.fold_table(config, runs), ""]
    lines += [f"![IoU and NSD by fold]({config.name}.png)", ""]
    tested = tables.test_table(config, runs)
    if tested:
        lines += [
            "## Differences",
            "",
            *tested,
            "",
            f"Points of percent. An observation is a block of about {config.evaluation.block} consecutive frames: "
            "interval by bootstrap over blocks, p by the two-sided Wilcoxon signed-rank test.",
            "",
        ]
    video = tables.video_table(runs)
    if video:
        lines += ["## As video", "", *video, ""]
    if errors:
        lines += [
            "## Corruptions",
            "",
            *tables.corruption_table(errors),
            "",
            f"Reference: {config.reference}. Below 100 is more robust.",
            "",
            f"![Corruption errors]({config.name}-corruptions.png)",
            "",
        ]
    notes = [f"- {run.name}: {run.note}" for run in config.runs if run.note and run.name in runs]
    if notes:
        lines += ["## Runs", "", *notes, ""]
    made = dict.fromkeys(_made_with(result) for found in runs.values() for result in found)
    lines += ["## Made with", "", *made]
    return lines


def _made_with(result: Result) -> str:
    """Machine, cores that the process had, versions."""
    host = result["host"]
    described = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    return f"- {host.get('cpu', 'unknown CPU')}, cores: {host.get('cores', 'unknown')}; {described}"


def _has(runs: Mapping[str, list[Result]], run: str, fold: str, seed: int) -> bool:
    return any(result["fold"] == fold and result["seed"] == seed for result in runs.get(run, ()))


def _kept(result: Result) -> dict[str, Any]:
    """A result without what is told elsewhere: reports per sequence."""
    kept = dict(result)
    kept["metrics"] = {key: value for key, value in result["metrics"].items() if key != "sequences"}
    if "video" in result:
        metrics = {key: value for key, value in result["video"]["metrics"].items() if key != "sequences"}
        kept["video"] = {**result["video"], "metrics": metrics}
    return kept
