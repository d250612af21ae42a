"""The page of a comparison: differences with intervals, both runs over time, the frames that changed most."""

from __future__ import annotations

import math
from typing import Any

from clip_rl_perception.report import html_parts as h
from clip_rl_perception.report import svg_plots
from clip_rl_perception.report.run_comparison import Comparison, Difference
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord

MOST_CHANGED = 12
"""Frames listed."""


def render(comparison: Comparison, names: tuple[str, str]) -> str:
    """The page; `names`: how the runs are called."""
    a, b = comparison.a, comparison.b
    facts = [f"A: {names[0]}", f"B: {names[1]}", str(a.source.get("name", "")), f"input {a.input_sha256[:12]}"]
    sections = [
        _tiles(comparison),
        h.section("Keep in mind", "".join(h.note(line) for line in comparison.notes)),
        h.section("Differences", _differences(comparison), h.note(_small_print(comparison))),
        _over_time(comparison),
        _changed(comparison),
        h.section("The two runs", _runs(a, b)),
    ]
    return h.page("CLIP-RL comparison", facts, comparison.verdict(), sections)


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


def _tiles(comparison: Comparison) -> str:
    pairs = len(comparison.pairs)
    found = {item.name: item for item in comparison.differences}
    cells = [
        ("Frames in both", str(pairs), f"of {len(comparison.a.frames)} and {len(comparison.b.frames)}"),
        ("Equal masks", str(comparison.equal_masks), "to the byte"),
    ]
    shown = (
        ("miou", "Mean IoU", 3),
        ("IoU per frame", "IoU per frame", 3),
        ("consistency per frame", "Consistency", 3),
        ("latency: ms", "Latency, ms", 1),
    )
    for name, label, digits in shown:
        item = found.get(name)
        if item is not None and item.delta is not None:
            cells.append((f"{label}, B - A", f"{item.delta:+.{digits}f}", _said(item)))
    return h.tiles(cells)


def _said(item: Difference) -> str:
    if not item.real:
        return "may be noise" if item.interval is not None else "noise not known"
    return "larger than noise: B is better" if item.better else "larger than noise: B is worse"


def _differences(comparison: Comparison) -> str:
    rows = []
    for item in comparison.differences:
        digits = 2 if "ms" in item.name or item.name in ("hd95", "refine_steps") else 4
        limits = f"{item.interval[0]:+.{digits}f} to {item.interval[1]:+.{digits}f}" if item.interval else "-"
        style = {True: "good", False: "bad", None: ""}[item.better]
        delta = "-" if item.delta is None else f'<span class="{style}">{item.delta:+.{digits}f}</span>'
        said = {True: "B is better", False: "B is worse", None: "may be noise" if item.interval else "-"}[item.better]
        rows.append(
            (
                h.escape(item.label),
                h.escape(said),
                h.number(item.a, digits),
                h.number(item.b, digits),
                delta,
                limits,
                "-" if item.p is None else f"{item.p:.3f}" if item.p >= 0.001 else "&lt; 0.001",
            )
        )
    return h.table(("", "", "A", "B", "B - A", "95 % interval", "p"), rows, text_columns=2)


def _small_print(comparison: Comparison) -> str:
    if not comparison.units.enough:
        return "Too few frames for intervals."
    return (
        f"Paired bootstrap over {len(comparison.units.members)} {comparison.units.kind}; p: Wilcoxon signed-rank test "
        "on their means, Holm-corrected. A difference is called larger than noise when its interval leaves out zero "
        "and p, where there is one, is below 0.05."
    )


def _over_time(comparison: Comparison) -> str:
    x = [float(place) for place in range(len(comparison.pairs))]
    parts = []
    for title, value, high in (
        ("IoU", lambda frame: _iou(frame), 1.0),
        ("latency, ms", lambda frame: frame.latency_ms, None),
    ):
        lines = {"A": [value(pair[0]) for pair in comparison.pairs], "B": [value(pair[1]) for pair in comparison.pairs]}
        drawing = svg_plots.course(x, lines, high=high, axis="")
        if drawing:
            parts.append(f"<h4>{h.escape(title)} by frame</h4>{h.keys(lines)}{drawing}")
    return h.section("Frame by frame", *parts)


def _changed(comparison: Comparison) -> str:
    changes = []
    for first, second in comparison.pairs:
        before, after = _iou(first), _iou(second)
        if before is not None and after is not None and before != after:
            changes.append((after - before, first, before, after))
    changes.sort(key=lambda change: -abs(change[0]))
    rows = [
        (
            h.escape(f"{frame.sequence} frame {frame.index}, {frame.stamp_ns / 1e9 % 1e6:.2f} s"),
            h.number(before, 3),
            h.number(after, 3),
            f'<span class="{"good" if delta > 0 else "bad"}">{delta:+.3f}</span>',
        )
        for delta, frame, before, after in changes[:MOST_CHANGED]
    ]
    if not rows:
        return ""
    better = sum(change[0] > 0 for change in changes)
    text = f"IoU rises in {better} frames and falls in {len(changes) - better}; "
    text += f"{len(comparison.pairs) - len(changes)} are equal."
    head = ("frame", "IoU A", "IoU B", "B - A")
    return h.section("Frames that changed most", h.table(head, rows, text_columns=1), h.note(text))


def _runs(a: RunRecord, b: RunRecord) -> str:
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
    rows = []
    for name in dict.fromkeys([*left, *right]):
        values = [left.get(name), right.get(name)]
        mark = "" if values[0] == values[1] else "differs"
        rows.append((h.escape(str(name).replace("_", " ")), *("-" if v is None else h.escape(v) for v in values), mark))
    return h.table(("", "A", "B", ""), rows, text_columns=4)


def _iou(frame: FrameRecord) -> float | None:
    if frame.measures is None or math.isnan(frame.measures.iou):
        return None
    return frame.measures.iou
