"""Sections of report.html about time: latency, stages, drops and validity, identities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clip_rl_perception.report import html_parts as h
from clip_rl_perception.report import svg_plots
from clip_rl_perception.report.time_axis import Axis
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord

ROWS_OF_TRACKS = 40
"""Identities drawn, the longest lives; all stand in report.json."""
DOTS = 1500
"""With more frames latency is drawn as a line: a page of so many dots is slow to open."""

_STAGE_TEXT = {
    "decode": "message to RGB",
    "preprocess": "content area, crop, resize",
    "network": "encoder and decoder",
    "refine": "refinement steps",
    "postprocess": "full-size label map",
    "tags": "instruments, tracks, validity",
    "publish": "fill and hand over messages",
}


def latency(report: Mapping[str, Any], run: RunRecord, axis: Axis) -> str:
    """Latency over time, its histogram, jitter and age."""
    shown = [(place, frame) for place, frame in enumerate(run.frames) if frame.latency_ms is not None]
    if not shown:
        return ""
    delays = [float(frame.latency_ms or 0.0) for _, frame in shown]
    places = {place: number for number, (place, _) in enumerate(shown)}
    links = {places[place]: link for place, link in axis.links.items() if place in places}
    names = [axis.names[place] for place, _ in shown]
    x = [axis.x[place] for place, _ in shown]
    lines = {name: report["latency_ms"][name] for name in ("p50", "p95", "p99")}
    if len(shown) <= DOTS:
        events = [
            (axis.x[place], f"{axis.names[place]}: {frame.kind}")
            for place, frame in enumerate(run.frames)
            if frame.kind != "mask"
        ]
        drawing = svg_plots.scatter(x, delays, lines=lines, events=events, names=names, links=links)
    else:
        drawing = svg_plots.course(x, {"latency": delays}, unit="ms", links=links, names=names, parts_at=axis.starts)
    rows = [("latency", *h.times(report["latency_ms"]))]
    for name, text in (("latency", "change of latency from mask to mask"), ("input", "unsteadiness of the stamps")):
        if report["jitter_ms"][name]["p50"] is not None:
            rows.append((f"jitter: {text}", *h.times(report["jitter_ms"][name])))
    if report["age_ms"]["p50"] is not None:
        rows.append(("age when published, as the node said", *h.times(report["age_ms"])))
    return h.section(
        "Latency",
        drawing,
        svg_plots.histogram(delays),
        h.table(("", "median ms", "95 %", "99 %", "max"), rows, text_columns=1),
        h.note(_meaning(report, len(shown) < len(run.frames))),
    )


def _meaning(report: Mapping[str, Any], gaps: bool) -> str:
    if report["mode"] == "offline":
        text = (
            "One point per mask: decoding and pipeline together, while reading, measuring and writing share the same "
            "cores. For latency on a machine that does nothing else, see clip-rl bench."
        )
    else:
        text = "One point per mask: the moment of publishing to arrival in another process, same clock."
    text += " Large points lead to their picture."
    return text + (" Marks below the axis are frames without a mask." if gaps else "")


def stages(report: Mapping[str, Any]) -> str:
    """How the time of a frame is shared among stages."""
    found = {name: times for name, times in report["stage_ms"].items() if name != "total" and times["p50"] is not None}
    if not found:
        return ""
    bar = svg_plots.stages({name: times["p50"] for name, times in found.items()})
    rows = [
        (f'<i class="s{index}"></i>{h.escape(name)}', h.escape(_STAGE_TEXT.get(name, "")), *h.times(times))
        for index, (name, times) in enumerate(found.items())
    ]
    rows.append(("total", "taken up for processing until done", *h.times(report["stage_ms"]["total"])))
    table = h.table(("stage", "", "median ms", "95 %", "99 %", "max"), rows, text_columns=2)
    return h.section("Inside the pipeline", bar, table)


def outcome(report: Mapping[str, Any], run: RunRecord, axis: Axis) -> str:
    """Drops and validity over time, with every reason, and novelty."""
    if not run.frames:
        return ""
    ends = [*axis.x[1:], axis.end]
    runs: list[tuple[float, float, str, str, str, str]] = []  # start, end, style, what, first and last frame
    for frame, begin, end, name in zip(run.frames, axis.x, ends, axis.names, strict=True):
        style, what = _style(frame)
        if runs and runs[-1][2:4] == (style, what):
            runs[-1] = (runs[-1][0], end, style, what, runs[-1][4], name)
        else:
            runs.append((begin, end, style, what, name, name))
    segments = [
        (begin, end, style, f"{first} to {last}: {what}" if last != first else f"{first}: {what}")
        for begin, end, style, what, first, last in runs
    ]
    drops = report["drops"]
    counts = [
        *((f"v-{name}", name.replace("_", " "), count) for name, count in sorted(report["validity"].items())),
        ("v-dropped", "replaced by a newer frame before it was taken up", drops["replaced_by_newer"]),
        ("v-dropped", "lost on the way", drops["lost"]),
    ]
    keys = "".join(f'<span><i class="{style}"></i>{h.escape(text)}: {n}</span>' for style, text, n in counts if n)
    listed = list(report["reasons"].items())[:12]
    reasons = "".join(f"<li>{h.escape(reason)}: {count} frames</li>" for reason, count in listed)
    novelty = [None if frame.novelty is None else float(frame.novelty) for frame in run.frames]
    known = [value for value in novelty if value is not None]
    drawing = ""
    if known:
        drawing = "<h4>Novelty: above 1 is unlike the training images</h4>" + svg_plots.course(
            axis.x,
            {"novelty": novelty, "limit": [1.0] * len(novelty)},
            high=max(1.2, min(3.0, max(known) * 1.05)),
            links=axis.links,
            names=axis.names,
            parts_at=axis.starts,
            height=140,
        )
    return h.section(
        "Drops and validity",
        svg_plots.strip(segments, axis.end),
        f"<p class=legend>{keys}</p>",
        f"<ul class=note>{reasons}</ul>" if reasons else "",
        drawing,
    )


def _style(frame: FrameRecord) -> tuple[str, str]:
    if frame.kind == "dropped":
        return "v-dropped", "dropped"
    if frame.validity is None:
        return "v-ok", "mask, no status"
    return f"v-{frame.validity}", frame.validity.replace("_", " ") + (f": {frame.reason}" if frame.reason else "")


def track_lives(found: Mapping[str, Any], run: RunRecord, axis: Axis) -> str:
    """Identities over time: one row per instrument, drawn where it was seen."""
    if not found["count"]:
        return ""
    classes = run.label_space.classes if run.label_space is not None else ()
    spans: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for frame, begin, end in zip(run.frames, axis.x, [*axis.x[1:], axis.end], strict=True):
        for tag in frame.instruments:
            life = spans.setdefault((frame.sequence, tag.track_id), [])
            if life and abs(life[-1][1] - begin) < 1e-9:
                life[-1] = (life[-1][0], end)
            else:
                life.append((begin, end))
    longest = sorted(found["list"], key=lambda life: -life["frames"])[:ROWS_OF_TRACKS]
    rows = []
    for life in sorted(longest, key=lambda life: spans[(life["stream"], life["id"])][0]):
        entry = classes[life["class_id"]] if life["class_id"] < len(classes) else None
        color = f"rgb{entry.color}" if entry is not None and any(entry.color) else "var(--accent)"
        name = entry.name if entry is not None else f"class {life['class_id']}"
        text = f"track {life['id']}, {name}, {life['frames']} frames, {life['first']} to {life['last']}"
        rows.append((f"#{life['id']}", spans[(life["stream"], life["id"])], color, text))
    text = (
        f"{found['count']} identities, {h.number(found['median_frames'], 0)} frames long at the median; "
        f"{found['short']} of fewer than 5 frames."
    )
    if found["count"] > len(rows):
        text += f" The {len(rows)} longest are drawn."
    counts: list[float | None] = [
        float(len(frame.instruments)) if frame.kind == "mask" else None for frame in run.frames
    ]
    return h.section(
        "Instruments over time",
        svg_plots.lives(rows, axis.end),
        h.note(text),
        "<h4>Instruments per frame</h4>",
        svg_plots.course(axis.x, {"instruments": counts}, links=axis.links, names=axis.names, height=110),
    )
