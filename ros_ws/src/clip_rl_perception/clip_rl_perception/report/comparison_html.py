"""The page of a comparison: differences with intervals, both runs over time, the frames that changed most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clip_rl_perception.report import pages, svg_plots
from clip_rl_perception.report.run_comparison import Comparison
from clip_rl_perception.runs.record_json import ReportError
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord

TITLE = "CLIP-RL comparison"
MOST_CHANGED = 12
"""Frames listed."""


def data_beside(page: Path) -> Path:
    """Where the data of a page goes: under the same name."""
    return page.with_suffix(".json")


def check_place(page: Path) -> None:
    """Raise `ReportError` where a page and its data would replace something else, such as a run's own report."""
    if page.suffix.lower() == ".json":
        raise ReportError(f"{page}: the page is HTML, its data get that name with .json; name it .html with --out")
    for target, is_own in ((page, _is_page), (data_beside(page), _is_data)):
        if target.exists() and not is_own(target):
            raise ReportError(f"{target} exists and is not of a comparison; choose another --out or remove it")


def render(comparison: Comparison, names: tuple[str, str]) -> str:
    """The page; `names`: how the runs are called."""
    a, b = comparison.a, comparison.b
    changed = _changed(comparison)
    return pages.render(
        "comparison.html.j2",
        title=TITLE,
        facts=[f"A: {names[0]}", f"B: {names[1]}", a.source.get("name", ""), f"input {a.input_sha256[:12]}"],
        verdict=comparison.verdict(),
        comparison=comparison,
        a=a,
        b=b,
        plots=_plots(comparison),
        changed=changed,
        rises=sum(after > before for _, before, after in changed),
        most_changed=MOST_CHANGED,
        facts_of_runs=_facts_of_runs(a, b),
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Plain data: verdict, frames, equal_masks, over, differences, notes."""
    return {
        "verdict": comparison.verdict(),
        "frames": len(comparison.pairs),
        "equal_masks": comparison.equal_masks,
        "over": comparison.units.kind,
        "notes": list(comparison.notes),
        "differences": [
            {
                "name": item.name,
                "a": item.a,
                "b": item.b,
                "difference": item.delta,
                "interval": list(item.interval) if item.interval else None,
                "p": item.p,
                "larger_than_noise": item.real,
                "b_is_better": item.better,
            }
            for item in comparison.differences
        ],
    }


def _is_page(path: Path) -> bool:
    try:
        return f"<title>{TITLE}</title>" in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _is_data(path: Path) -> bool:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and {"verdict", "equal_masks", "differences"} <= set(data)


def _plots(comparison: Comparison) -> dict[str, str]:
    x = [float(place) for place in range(len(comparison.pairs))]
    sides = {"A": [pair[0] for pair in comparison.pairs], "B": [pair[1] for pair in comparison.pairs]}
    iou = {name: [_iou(frame) for frame in frames] for name, frames in sides.items()}
    latency = {name: [frame.latency_ms for frame in frames] for name, frames in sides.items()}
    return {"IoU": svg_plots.course(x, iou, high=1.0, axis=""), "latency, ms": svg_plots.course(x, latency, axis="")}


def _changed(comparison: Comparison) -> list[tuple[FrameRecord, float, float]]:
    """Frames whose IoU differs, with both values; the largest change first."""
    changes = [
        (first, before, after)
        for first, second in comparison.pairs
        if (before := _iou(first)) is not None and (after := _iou(second)) is not None and before != after
    ]
    return sorted(changes, key=lambda change: -abs(change[2] - change[1]))


def _facts_of_runs(a: RunRecord, b: RunRecord) -> dict[str, tuple[Any, Any]]:
    """Name -> what it is in both runs, None where it is unknown."""

    def facts(run: RunRecord) -> dict[str, Any]:
        return {
            "model": run.model_id,
            "engine": run.engine,
            "mode": run.mode,
            "frames": len(run.frames),
            "SHA-256 over all masks": run.output_sha256,
            "started": run.started,
            "command": run.command,
            **{f"parameter {name}": value for name, value in run.parameters.items()},
            **run.host,
            **run.versions,
        }

    left, right = facts(a), facts(b)
    return {name: (left.get(name), right.get(name)) for name in {**left, **right}}


def _iou(frame: FrameRecord) -> float | None:
    return frame.measures.iou if frame.measures is not None and pages.known(frame.measures.iou) else None
