"""report.html: one file that opens offline, in light and dark, with the pictures and plots inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.report import html_parts as h
from clip_rl_perception.report import report_accuracy, report_timing
from clip_rl_perception.report.frame_gallery import ERROR_COLORS, Picture
from clip_rl_perception.report.run_summary import verdict
from clip_rl_perception.report.time_axis import anchor, axis_of
from clip_rl_perception.runs.run_record import RunRecord

PROBLEMS_SHOWN = 60
"""Lines of what was left out that the page shows; report.json has all."""
FRAMES_FIRST = 4
"""Pictures that stand at the top; the others stand before the end."""


def render(
    report: Mapping[str, Any], run: RunRecord, pictures: Sequence[Picture] = (), *, videos: Sequence[str] = ()
) -> str:
    """The page.

    Args:
        report: `report.summary` of the run.
        run: the run itself, for what is drawn over time.
        pictures: frames to show, the worst first.
        videos: relative paths of overlay videos to link to.
    """
    source = report["input"]
    facts = [
        str(source.get("name", "")),
        f"{source['width']} x {source['height']}" if "width" in source else "",
        f"{source['rate_hz']:.4g} Hz" if "rate_hz" in source else "",
        f"{report['transport']} images" if report["transport"] != "file" else "offline",
        str(report["engine"] or ""),
        f"model {report['model_id']}" if report["model_id"] else "",
    ]
    axis = axis_of(run, pictures)
    frames, more_frames = _frames(pictures, run.label_space, videos)
    sections = [
        _tiles(report),
        _problems(report),
        report_accuracy.accuracy(report, run, axis),
        frames,
        report_timing.latency(report, run, axis),
        report_timing.stages(report),
        report_timing.outcome(report, run, axis),
        report_accuracy.steadiness(report, run, axis),
        report_timing.track_lives(report["tracks"], run, axis),
        more_frames,
        _run(report),
    ]
    return h.page(report["title"], facts, verdict(report), sections)


def _tiles(report: Mapping[str, Any]) -> str:
    times, metrics = report["latency_ms"], report["metrics"] or {}
    sent, masks = report["frames_sent"], report["masks_received"]
    offline = report["mode"] == "offline"
    lost = "Refused" if offline else "Dropped"
    share = f"{100 * report['dropped'] / sent:.1f} % of frames" if sent else ""
    cells = [
        ("Masks", f"{masks}", f"of {sent} frames"),
        ("Rate", h.number(report["fps"], 1), "masks a second" + (", as fast as it goes" if offline else "")),
        ("Latency, median", h.number(times["p50"], 1), "ms, image to mask" if offline else "ms, publishing to mask"),
        ("Latency, 99 %", h.number(times["p99"], 1), f"ms; worst {h.number(times['max'], 1)}"),
        (lost, f"{report['dropped']}", share),
    ]
    if metrics.get("miou") is not None:
        small = f"{h.number(metrics['miou_no_background'], 3)} without background"
        cells.append(("Mean IoU", h.number(metrics["miou"], 3), small))
    elif report["temporal"]["consistency"] is not None:
        cells.append(("Consistency", h.number(report["temporal"]["consistency"], 3), "frame to frame, 1 is steady"))
    return h.tiles(cells)


def _problems(report: Mapping[str, Any]) -> str:
    lines = report["problems"]
    if not lines:
        return ""
    items = "".join(f"<li>{h.escape(line)}</li>" for line in lines[:PROBLEMS_SHOWN])
    more = h.note(f"and {len(lines) - PROBLEMS_SHOWN} more in report.json") if len(lines) > PROBLEMS_SHOWN else ""
    body = f"<ul class=note>{items}</ul>{more}"
    if len(lines) > 6:
        body = f"<details><summary>{len(lines)} lines</summary>{body}</details>"
    return h.section("Left out or unusual", body)


def _frames(pictures: Sequence[Picture], space: LabelSpace | None, videos: Sequence[str]) -> tuple[str, str]:
    """The section of the frames that matter most, and that of the others."""
    many = len({picture.record.sequence for picture in pictures}) > 1
    if not any("IoU" in reason for picture in pictures for reason in picture.reasons):
        # Nothing tells the worst: what stands at the top is then a look at the whole run.
        pictures = sorted(pictures, key=lambda picture: bool(picture.reasons))
    rows = [_still(picture, many=many) for picture in pictures]
    links = ", ".join(f'<a href="{h.escape(path)}">{h.escape(path)}</a>' for path in videos)
    video = f"<p class=note>The whole sequence: {links}</p>" if links else ""
    errors = any(len(picture.images) > 3 for picture in pictures)
    key = (_legend(space) + (_error_legend() if errors else "")) if rows else ""
    first = "".join(rows[:FRAMES_FIRST])
    return h.section("Frames", key, first, video), h.section("More frames", *rows[FRAMES_FIRST:])


def _still(picture: Picture, *, many: bool) -> str:
    record = picture.record
    facts = [f"{record.stamp_ns / 1e9 % 1e6:.2f} s"]
    measures = record.measures
    if measures is not None and measures.iou == measures.iou:
        facts.append(f"IoU {measures.iou:.2f}")
    if record.latency_ms is not None:
        facts.append(f"{record.latency_ms:.0f} ms")
    if record.validity not in (None, "ok"):
        facts.append(f"{str(record.validity).replace('_', ' ')}: {record.reason}")
    why = f" <span class=why>{h.escape('; '.join(picture.reasons))}</span>" if picture.reasons else ""
    name = f"{record.sequence} frame {record.index}" if many else f"Frame {record.index}"
    title = f"{h.escape(', '.join([name, *facts]))}{why}"
    images = "".join(
        f'<figure><img src="{h.data_uri(rgb)}" alt="{h.escape(caption)} of {h.escape(name)}">'
        f"<figcaption>{h.escape(caption)}</figcaption></figure>"
        for caption, rgb in picture.images
    )
    return f'<div class=still id="{anchor(record)}"><h3>{title}</h3><div class=pictures>{images}</div></div>'


def _legend(space: LabelSpace | None) -> str:
    if space is None:
        return ""
    keys = "".join(f"<span>{h.swatch(entry.color, entry.name)}</span>" for entry in space.classes if any(entry.color))
    return f"<p class=legend>{keys}</p>"


def _error_legend() -> str:
    keys = "".join(f"<span>{h.swatch(color, name)}</span>" for name, color in ERROR_COLORS.items())
    return f"<p class=legend>errors: &nbsp;{keys}</p>"


def _run(report: Mapping[str, Any]) -> str:
    hashes = {
        "input SHA-256": report["input_sha256"],
        "SHA-256 over all masks": report["output_sha256"],
        "model": report["model_id"],
        "engine": report["engine"],
        "refinement steps, mean": h.number(report["refine_steps"], 2),
        "masks with a wrong stamp": report["wrong_stamps"],
        "started": report["started"],
        "took": f"{report['wall_s']:.1f} s" if report["wall_s"] is not None else None,
        "command": report["command"],
    }
    manifest = report["engine_manifest"]
    return h.section(
        "This run",
        h.facts_table({name: value for name, value in hashes.items() if value not in (None, "")}),
        f"<details><summary>Input and parameters</summary>{h.facts_table({'input': report['input']})}"
        f"{h.facts_table(report['parameters'])}</details>",
        f"<details><summary>Engine manifest</summary>{h.facts_table(manifest)}</details>" if manifest else "",
        f"<details><summary>Host and versions</summary>{h.facts_table(report['host'])}"
        f"{h.facts_table(report['versions'])}</details>",
    )
