"""Sections of report.html about accuracy: metrics with intervals, classes, sequences, over time, steadiness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from clip_rl_perception.report import html_parts as h
from clip_rl_perception.report import svg_plots
from clip_rl_perception.report.time_axis import Axis
from clip_rl_perception.runs.run_record import RunRecord

METRIC_TEXT = {
    "miou": ("mIoU", "pooled over all pixels, mean of classes"),
    "miou_no_background": ("mIoU without background", "the same, instruments and tissue classes alone"),
    "dice": ("Dice", "pooled, mean of classes without background"),
    "nsd": ("NSD", "share of boundary within tolerance, mean of frames and classes"),
    "hd95": ("HD95, px", "95th percentile of boundary distance, where the class is in both; less is better"),
    "challenge_iou": ("Challenge IoU", "mean over frames and the classes in their truth"),
    "isi_iou": ("ISI IoU", "mean over frames and the classes in truth or prediction"),
    "mciou": ("mcIoU", "mean of classes of their frame means"),
    "isinet_miou": ("ISINet mIoU", "summed intersections over summed unions"),
    "scene_iou": ("scene IoU", "STswinCL's: mean over frames, classes of the truth"),
    "scene_dice": ("scene Dice", "the same as Dice"),
    "eps_miou": ("eps-mIoU", "Surg-SegFormer's: absent classes score 1, not comparable with the others"),
    "ece": ("ECE", "gap between confidence and correctness; less is better"),
    "temporal_consistency": ("temporal consistency", "IoU with the previous mask moved along the optical flow"),
}
"""Name and meaning of each metric, in the order shown; definitions: docs/evaluation.md."""


def accuracy(report: Mapping[str, Any], run: RunRecord, axis: Axis) -> str:
    """Everything measured against ground truth."""
    metrics = report["metrics"]
    if not metrics:
        return ""
    intervals = metrics.get("intervals") or {}
    parts = [
        _class_bars(metrics, intervals, run),
        "<h4>IoU of instruments and other classes in each frame</h4>",
        _over_time(run, axis),
        h.table(
            ("metric", "", "value" + (", 95 % interval" if intervals.get("resamples") else "")),
            [
                (h.escape(name), h.escape(text), h.with_interval(metrics.get(key), intervals.get(key)))
                for key, (name, text) in METRIC_TEXT.items()
                if metrics.get(key) is not None
            ],
            text_columns=2,
        ),
        h.note(_small_print(report, metrics, intervals)),
        _classes(metrics, run),
        _sequences(metrics),
    ]
    return h.section("Accuracy against ground truth", *parts)


def _class_bars(metrics: Mapping[str, Any], intervals: Mapping[str, Any], run: RunRecord) -> str:
    limits = intervals.get("classes") or {}
    rows = []
    for index, (name, values) in enumerate(metrics["classes"].items()):
        if values["iou"] is None and not values["frames"]:
            continue
        bounds = (limits.get(name) or {}).get("iou")
        rows.append(
            (
                name,
                values["iou"],
                (bounds[0], bounds[1]) if bounds else None,
                _color(run, name, index),
                f"IoU {h.number(values['iou'], 3)}  in {values['frames']} frames",
            )
        )
    return svg_plots.whiskers(rows)


def _over_time(run: RunRecord, axis: Axis) -> str:
    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    iou = [None if frame.measures is None else known(frame.measures.iou) for frame in run.frames]
    nsd = [None if frame.measures is None else known(frame.measures.mean_nsd) for frame in run.frames]
    lines: dict[str, Sequence[float | None]] = {"IoU": iou}
    if any(value is not None for value in nsd):
        lines["NSD"] = nsd
    drawing = svg_plots.course(
        axis.x, lines, high=1.0, links=axis.links, names=axis.names, parts_at=axis.starts, height=200
    )
    return h.keys(lines) + drawing if drawing else ""


def _small_print(report: Mapping[str, Any], metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> str:
    text = f"Over {metrics['frames']} frames that have both a mask and ground truth. "
    text += f"NSD tolerance {report['nsd_tau']:g} px."
    if report["evaluated_note"]:
        text += f" {report['evaluated_note']}"
    if report["unanswered"]:
        text += f" No class of the model answers to {', '.join(report['unanswered'])}, which score 0."
    if intervals.get("resamples"):
        text += (
            f" Intervals: bootstrap over {intervals['units']} {intervals['over']}, {intervals['resamples']} resamples."
        )
        if intervals["over"] != "sequences":
            text += " They tell of this recording; how far other operations differ takes more sequences to say."
    else:
        text += " Too few frames for confidence intervals."
    return text


def _classes(metrics: Mapping[str, Any], run: RunRecord) -> str:
    rows = [
        (
            h.swatch(_rgb(run, name), name),
            h.number(values["iou"], 3),
            h.number(values["dice"], 3),
            h.number(values.get("nsd"), 3),
            h.number(values.get("hd95"), 1),
            "-" if index == 0 or values.get("miss_rate") is None else f"{100 * values['miss_rate']:.1f} %",
            str(values["frames"]),
        )
        for index, (name, values) in enumerate(metrics["classes"].items())
        if values["frames"] or values["iou"] is not None
    ]
    head = ("class", "IoU", "Dice", "NSD", "HD95 px", "missed", "frames with it")
    return "<h4>Classes</h4>" + h.table(head, rows, text_columns=1)


def _sequences(metrics: Mapping[str, Any]) -> str:
    sequences = metrics["sequences"]
    if len(sequences) < 2:
        return ""
    names = ("miou", "miou_no_background", "dice", "nsd", "hd95", "challenge_iou", "ece")
    rows = [
        (h.escape(name), *(h.number(values.get(metric), 3) for metric in names), str(values["frames"]))
        for name, values in sequences.items()
    ]
    head = ("sequence", *(METRIC_TEXT[metric][0] for metric in names), "frames")
    return "<h4>Sequences</h4>" + h.table(head, rows, text_columns=1)


def steadiness(report: Mapping[str, Any], run: RunRecord, axis: Axis) -> str:
    """Temporal consistency over time, and refinement steps."""
    found = report["temporal"]
    parts = []
    if found["pairs"]:
        values = [
            None if frame.measures is None or math.isnan(frame.measures.consistency) else frame.measures.consistency
            for frame in run.frames
        ]
        drawing = svg_plots.course(
            axis.x, {"consistency": values}, high=1.0, links=axis.links, names=axis.names, parts_at=axis.starts
        )
        text = f"{h.number(found['consistency'], 3)} over {found['pairs']} pairs of frames"
        if found["truth"] is not None:
            text += f"; the ground truth itself reaches {found['truth']:.3f}"
        text += ": IoU of each mask with the one before, moved along the optical flow. Dips are flicker."
        parts += [drawing, h.note(text)]
    steps = report["refine_steps_histogram"]
    if steps and set(steps) != {"0"}:
        total = sum(steps.values())
        rows = [(f"{step} steps", str(count), f"{100 * count / total:.1f} %") for step, count in steps.items()]
        parts += ["<h4>Refinement steps</h4>", h.table(("", "frames", "share"), rows, text_columns=1)]
    return h.section("Steadiness and refinement", *parts)


def _rgb(run: RunRecord, name: str) -> tuple[int, int, int] | None:
    for entry in run.label_space.classes if run.label_space is not None else ():
        if entry.name == name:
            return entry.color
    return None


def _color(run: RunRecord, name: str, index: int) -> str:
    color = _rgb(run, name)
    if color is not None and any(color):
        return f"rgb{color}"
    return "var(--s0)" if index == 0 else "var(--accent)"
