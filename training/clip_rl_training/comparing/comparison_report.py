"""The report of a comparison: NAME.md with tables, NAME.json with what they were made from, plots beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.report.pages import templates
from clip_rl_perception.typed_data import to_data

from clip_rl_training.comparing import tables
from clip_rl_training.comparing.comparison_config import CompareConfig, jobs_of
from clip_rl_training.comparing.comparison_plots import plot_corruptions, plot_folds
from clip_rl_training.comparing.statistics import Result


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
        write_text(path, _page(config, results, runs, errors, command))
    except OSError as error:
        raise ClipRlError(f"cannot write the report to {folder}: {error.strerror}") from error
    return path


def _page(
    config: CompareConfig,
    results: Mapping[str, Result],
    runs: Mapping[str, list[Result]],
    errors: Mapping[str, Mapping[str, float]],
    command: str,
) -> str:
    jobs = jobs_of(config)
    found = tables.differences(config, runs)
    return _TEMPLATES.get_template("comparison.md.j2").render(
        config=config,
        command=command,
        wanted=len(jobs),
        missing=[job.key for job in jobs if job.key not in results],
        rows=tables.run_rows(runs),
        tags=tables.tag_rows(runs),
        folds=tables.fold_scores(config, runs),
        differences=found,
        cautions=tables.cautions(runs, found),
        errors=errors,
        notes={run.name: run.note for run in config.runs if run.note and run.name in runs},
        made_with=dict.fromkeys(_made_with(result) for found in runs.values() for result in found),
    )


def _made_with(result: Result) -> str:
    """Machine, cores that the process had, versions."""
    host = result["host"]
    described = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    return f"{host.get('cpu', 'unknown CPU')}, cores: {host.get('cores', 'unknown')}; {described}"


def _kept(result: Result) -> dict[str, Any]:
    """A result without what is told elsewhere: reports per sequence."""
    kept = dict(result)
    for part in ("metrics", "tags"):
        if result.get(part):
            kept[part] = {key: value for key, value in result[part].items() if key != "sequences"}
    return kept


_TEMPLATES = templates(Path(__file__).with_name("templates"), escape=False)
