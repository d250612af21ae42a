"""The plots of report.html: accuracy, latency, stages, validity and identities over the time of a run."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from clip_rl_perception.report import svg_plots
from clip_rl_perception.report.pages import known, number
from clip_rl_perception.report.time_axis import Axis
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord

ROWS_OF_TRACKS = 40
"""Identities drawn, the longest lives; all stand in report.json."""
DOTS = 1500
"""With more frames latency is drawn as a line: a page of so many dots is slow to open."""

PLAIN = "IoU of one plain look"
"""As the line is called."""

Lines = Mapping[str, Sequence[float | None]]
"""Name -> value of each frame, None where it is unknown."""


def plots(report: Mapping[str, Any], run: RunRecord, axis: Axis, colors: Mapping[str, str]) -> dict[str, Markup]:
    """Every plot by its name, empty where there is nothing to draw.

    Args:
        report: `run_summary.summary` of the run.
        run: the run.
        axis: `axis_of` the run.
        colors: CSS colour by class, of those that have one.
    """
    stages = {name: times["p50"] for name, times in report["stage_ms"].items() if name != "total"}
    return {
        "classes": _class_bars(report["metrics"], colors),
        "accuracy": _accuracy(run, axis),
        "latency": _latency(report["latency_ms"], run, axis),
        "histogram": svg_plots.histogram([frame.latency_ms for frame in run.frames if frame.latency_ms is not None]),
        "stages": svg_plots.stages({name: median for name, median in stages.items() if median is not None}),
        "outcome": _outcome(run, axis),
        "novelty": _novelty(run, axis),
        "consistency": _course(axis, {"consistency": _measured(run, "consistency")}, 1.0),
        "looks": _looks(report["looks"], run, axis),
        "memory": _rests(run, axis, {"memory's age": "memory_age_ms"}, unit="ms"),
        "disagreement": _rests(run, axis, {"memory's share": "memory_share", "disagreement": "disagreement"}, high=1.0),
        "tracks": _tracks(report["tracks"], run, axis, colors),
        "instruments": _instruments(run, axis),
    }


def _class_bars(metrics: Mapping[str, Any] | None, colors: Mapping[str, str]) -> Markup:
    limits = ((metrics or {}).get("intervals") or {}).get("classes") or {}
    rows = []
    for index, (name, values) in enumerate(metrics["classes"].items() if metrics else ()):
        if values["iou"] is not None or values["frames"]:
            color = colors.get(name, "var(--accent)" if index else "var(--s0)")
            note = f"IoU {number(values['iou'], 3)}  in {values['frames']} frames"
            rows.append((name, values["iou"], limits.get(name, {}).get("iou"), color, note))
    return svg_plots.whiskers(rows)


def _accuracy(run: RunRecord, axis: Axis) -> Markup:
    lines = {"IoU": _measured(run, "iou"), "NSD": _measured(run, "mean_nsd")}
    lines[PLAIN] = _measured(run, "iou", of="plain")
    return _course(axis, {name: values for name, values in lines.items() if any(map(known, values))}, 1.0, height=200)


def _measured(run: RunRecord, name: str, *, of: str = "measures") -> list[float | None]:
    """A value of `FrameMeasures` for each frame, None where it is unknown."""
    values = [getattr(getattr(frame, of), name, None) for frame in run.frames]
    return [value if known(value) else None for value in values]


def _course(axis: Axis, lines: Lines, high: float | None = None, **options: Any) -> Markup:
    return svg_plots.course(
        axis.x, lines, high=high, links=axis.links, names=axis.names, parts_at=axis.starts, **options
    )


def _latency(times: Mapping[str, Any], run: RunRecord, axis: Axis) -> Markup:
    """Dots with percentiles and marks for frames without a mask; of a long run a line."""
    timed = axis.only([place for place, frame in enumerate(run.frames) if frame.latency_ms is not None])
    delays = [frame.latency_ms for frame in run.frames if frame.latency_ms is not None]
    if not delays or len(delays) > DOTS:
        return _course(timed, {"latency": delays}, unit="ms")
    events = [
        (x, f"{name}: {frame.kind}")
        for x, name, frame in zip(axis.x, axis.names, run.frames, strict=True)
        if frame.kind != "mask"
    ]
    lines = {name: times[name] for name in ("p50", "p95", "p99")}
    return svg_plots.scatter(timed.x, delays, lines=lines, events=events, names=timed.names, links=timed.links)


def _outcome(run: RunRecord, axis: Axis) -> Markup:
    """What became of the frames; those in a row that fared alike are one segment."""
    frames = zip(map(_fate, run.frames), axis.x, axis.ends, axis.names, strict=True)
    segments = []
    for (css, what), group in itertools.groupby(frames, key=lambda frame: frame[0]):
        (_, begin, end, first), *others = group
        last = others[-1] if others else None
        segments.append(
            (begin, last[2] if last else end, css, f"{first} to {last[3]}: {what}" if last else f"{first}: {what}")
        )
    return svg_plots.strip(segments, axis.end)


def _fate(frame: FrameRecord) -> tuple[str, str]:
    """CSS class and text."""
    if frame.kind == "dropped":
        return "v-dropped", "dropped"
    if frame.validity is None:
        return "v-ok", "mask, no status"
    return f"v-{frame.validity}", frame.validity.replace("_", " ") + (f": {frame.reason}" if frame.reason else "")


def _novelty(run: RunRecord, axis: Axis) -> Markup:
    values = [frame.novelty for frame in run.frames]
    highest = max((value for value in values if value is not None), default=None)
    if highest is None:
        return Markup()
    lines: Lines = {"novelty": values, "limit": [1.0] * len(values)}
    return _course(axis, lines, max(1.2, min(3.0, highest * 1.05)), height=140)


def _looks(found: Mapping[str, Any] | None, run: RunRecord, axis: Axis) -> Markup:
    """One row per kind of look, drawn where it was taken; not of a long run, whose table says enough."""
    if found is None or len(run.frames) > DOTS:
        return Markup()
    rows = []
    for name, count in found["kinds"].items():
        taken = [frame.basis is not None and name in frame.basis.looks for frame in run.frames]
        spans = [span for span, here in zip(zip(axis.x, axis.ends, strict=True), taken, strict=True) if here]
        rows.append((name, spans, "var(--accent)", f"{name}: {count} looks"))
    return svg_plots.lives(rows, axis.end)


def _rests(run: RunRecord, axis: Axis, lines: Mapping[str, str], **options: Any) -> Markup:
    """Values of `Basis` over time, by the names of the lines."""
    values = {
        name: [None if frame.basis is None else getattr(frame.basis, field) for frame in run.frames]
        for name, field in lines.items()
    }
    return svg_plots.course(axis.x, values, names=axis.names, parts_at=axis.starts, height=120, **options)


def _tracks(found: Mapping[str, Any], run: RunRecord, axis: Axis, colors: Mapping[str, str]) -> Markup:
    """One row per identity, drawn where it was seen."""
    names = run.label_space.names if run.label_space is not None else ()
    spans: dict[tuple[str, int], list[tuple[float, float]]] = collections.defaultdict(list)
    for frame, begin, end in zip(run.frames, axis.x, axis.ends, strict=True):
        for tag in frame.instruments:
            life = spans[frame.sequence, tag.track_id]
            goes_on = bool(life) and abs(life[-1][1] - begin) < 1e-9
            life.append((life.pop()[0] if goes_on else begin, end))
    longest = sorted(found["list"], key=lambda life: -life["frames"])[:ROWS_OF_TRACKS]
    rows = []
    for life in sorted(longest, key=lambda life: spans[life["stream"], life["id"]][0]):
        name = names[life["class_id"]] if life["class_id"] < len(names) else f"class {life['class_id']}"
        text = f"track {life['id']}, {name}, {life['frames']} frames, {life['first']} to {life['last']}"
        rows.append((f"#{life['id']}", spans[life["stream"], life["id"]], colors.get(name, "var(--accent)"), text))
    return svg_plots.lives(rows, axis.end)


def _instruments(run: RunRecord, axis: Axis) -> Markup:
    counts = [float(len(frame.instruments)) if frame.kind == "mask" else None for frame in run.frames]
    return svg_plots.course(axis.x, {"instruments": counts}, links=axis.links, names=axis.names, height=110)
