"""The page of a comparison: differences with intervals, both runs over time, the frames that changed most."""

from __future__ import annotations

from typing import Any

from clip_rl_perception.report import pages, svg_plots
from clip_rl_perception.report.run_comparison import Comparison
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord

MOST_CHANGED = 12
"""Frames listed."""


def render(comparison: Comparison, names: tuple[str, str]) -> str:
    """The page; `names`: how the runs are called."""
    a, b = comparison.a, comparison.b
    changed = _changed(comparison)
    return pages.render(
        "comparison.html.j2",
        title="CLIP-RL comparison",
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
