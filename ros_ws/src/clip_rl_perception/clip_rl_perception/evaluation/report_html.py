"""report.html: one file that opens offline, in light and dark, with the pictures and plots inside it."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.evaluation import plots
from clip_rl_perception.evaluation.report import FrameOutcome, verdict
from clip_rl_perception.evaluation.report_style import CSS
from clip_rl_perception.labels import LabelSpace

ByteArray = npt.NDArray[np.uint8]

PICTURE_WIDTH = 640
"""Widest picture that is embedded, px."""

_STAGE_TEXT = {
    "decode": "message to RGB",
    "preprocess": "content area, crop, resize",
    "network": "encoder and decoder",
    "refine": "refinement steps",
    "postprocess": "full-size label map",
    "tags": "instruments, tracks, validity",
    "publish": "fill and hand over messages",
}


@dataclasses.dataclass(frozen=True)
class Still:
    """One frame shown in the report."""

    title: str
    pictures: tuple[tuple[str, ByteArray], ...]
    """(caption, uint8 RGB): input, overlay, and truth where there is any."""


def render(
    report: Mapping[str, Any],
    results: Sequence[FrameOutcome],
    stills: Sequence[Still] = (),
    *,
    space: LabelSpace | None = None,
    title: str = "CLIP-RL demo",
    video: str | None = None,
) -> str:
    """The page.

    Args:
        report: `report.summary`.
        results: `report.outcomes`, in order.
        stills: frames to show.
        space: classes of the masks, for names and colours.
        title: heading.
        video: relative path of the overlay video to link to.
    """
    source = report["input"]
    facts = [
        str(source.get("name", "")),
        f"{source['width']} x {source['height']}" if "width" in source else "",
        f"{source['rate_hz']:.4g} Hz" if "rate_hz" in source else "",
        f"{report['transport']} images",
        str(report["engine"] or ""),
        f"model {report['model_id']}" if report["model_id"] else "",
    ]
    sections = [
        _tiles(report),
        _section("Frames", _stills(stills, space), _video(video)) if stills else "",
        _latency(report, results),
        _stages(report),
        _outcome(report, results),
        _accuracy(report, space),
        _run(report),
    ]
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{CSS}</style></head><body><main>'
        f"<header><h1>{_e(title)}</h1><p class=facts>{_e(' · '.join(fact for fact in facts if fact))}</p>"
        f"<p class=verdict>{_e(verdict(report))}</p></header>"
        + "".join(sections)
        + "<footer>Research software, not a medical device.</footer></main></body></html>\n"
    )


def _tiles(report: Mapping[str, Any]) -> str:
    times, metrics = report["latency_ms"], report["metrics"] or {}
    sent, masks = report["frames_sent"], report["masks_received"]
    tiles = [
        ("Masks", f"{masks}", f"of {sent} frames sent"),
        ("Rate", _number(report["fps"], 1), "masks a second"),
        ("Latency, median", _number(times["p50"], 1), "ms, stamp to mask"),
        ("Latency, 99 %", _number(times["p99"], 1), f"ms; worst {_number(times['max'], 1)}"),
        ("Dropped", f"{report['dropped']}", f"{100 * report['dropped'] / sent:.1f} % of frames" if sent else ""),
    ]
    if metrics.get("miou") is not None:
        tiles.append(
            ("Mean IoU", _number(metrics["miou"], 3), f"{_number(metrics['miou_no_background'], 3)} instruments")
        )
    cells = "".join(
        f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd><p>{_e(note)}</p></div>" for name, value, note in tiles
    )
    return f"<dl class=tiles>{cells}</dl>"


def _stills(stills: Sequence[Still], space: LabelSpace | None) -> str:
    rows = []
    for still in stills:
        pictures = "".join(
            f'<figure><img src="{_data_uri(rgb)}" alt="{_e(caption)} of {_e(still.title)}">'
            f"<figcaption>{_e(caption)}</figcaption></figure>"
            for caption, rgb in still.pictures
        )
        rows.append(f"<div class=still><h3>{_e(still.title)}</h3><div class=pictures>{pictures}</div></div>")
    return _legend(space) + "".join(rows)


def _legend(space: LabelSpace | None) -> str:
    if space is None:
        return ""
    keys = "".join(
        f'<span><i style="background:rgb{entry.color}"></i>{_e(entry.name)}</span>'
        for entry in space.classes
        if any(entry.color)
    )
    return f"<p class=legend>{keys}</p>"


def _video(path: str | None) -> str:
    return f'<p class=note>The whole sequence: <a href="{_e(path)}">{_e(path)}</a></p>' if path else ""


def _latency(report: Mapping[str, Any], results: Sequence[FrameOutcome]) -> str:
    shown = [item for item in results if item.latency_ms is not None]
    if not shown:
        return ""
    start = results[0].stamp_ns
    delays = [float(item.latency_ms or 0.0) for item in shown]
    scatter = plots.scatter(
        [(item.stamp_ns - start) / 1e9 for item in shown],
        delays,
        lines={name: report["latency_ms"][name] for name in ("p50", "p95", "p99")},
        events=[
            ((item.stamp_ns - start) / 1e9, f"frame {item.index}: {item.kind}")
            for item in results
            if item.kind != "mask"
        ],
        names=[f"frame {item.index}" for item in shown],
    )
    note = "One point per mask: header stamp (the moment of publishing) to arrival in another process, same clock."
    if len(shown) < len(results):
        note += " Marks below the axis are frames without a mask."
    return _section("Latency", scatter, plots.histogram(delays), f"<p class=note>{note}</p>")


def _stages(report: Mapping[str, Any]) -> str:
    stages = {name: times for name, times in report["stage_ms"].items() if name != "total" and times["p50"] is not None}
    if not stages:
        return ""
    bar = plots.stages({name: times["p50"] for name, times in stages.items()})
    rows = [
        (f'<i class="s{index}"></i>{_e(name)}', _e(_STAGE_TEXT.get(name, "")), *_times(times))
        for index, (name, times) in enumerate(stages.items())
    ]
    rows.append(("total", "taken up for processing until published", *_times(report["stage_ms"]["total"])))
    table = _table(("stage", "", "median ms", "95 %", "99 %", "max"), rows, text_columns=2)
    return _section("Inside the node", bar, table)


def _outcome(report: Mapping[str, Any], results: Sequence[FrameOutcome]) -> str:
    if not results:
        return ""
    start = results[0].stamp_ns
    period = (results[-1].stamp_ns - start) / 1e9 / max(1, len(results) - 1) or 0.04
    ends = [*((item.stamp_ns - start) / 1e9 for item in results[1:]), (results[-1].stamp_ns - start) / 1e9 + period]
    runs: list[tuple[float, float, str, str, int, int]] = []  # start, end, style, what, first and last frame
    for item, end in zip(results, ends, strict=True):
        style, what = _style(item)
        if runs and runs[-1][2:4] == (style, what):
            runs[-1] = (runs[-1][0], end, style, what, runs[-1][4], item.index)
        else:
            runs.append(((item.stamp_ns - start) / 1e9, end, style, what, item.index, item.index))
    segments = [
        (begin, end, style, f"frames {first} to {last}: {what}" if last > first else f"frame {first}: {what}")
        for begin, end, style, what, first, last in runs
    ]
    drops = report["drops"]
    counts = [
        *((f"v-{name}", name.replace("_", " "), count) for name, count in sorted(report["validity"].items())),
        ("v-dropped", "replaced by a newer frame before it was taken up", drops["replaced_by_newer"]),
        ("v-dropped", "lost on the way", drops["lost"]),
    ]
    keys = "".join(f'<span><i class="{style}"></i>{_e(text)}: {count}</span>' for style, text, count in counts if count)
    reasons = "".join(
        f"<li>{_e(reason)}: {count} frames</li>" for reason, count in list(report["reasons"].items())[:12]
    )
    return _section(
        "Drops and validity",
        plots.strip(segments, ends[-1]),
        f"<p class=legend>{keys}</p>",
        f"<ul class=note>{reasons}</ul>" if reasons else "",
    )


def _style(item: FrameOutcome) -> tuple[str, str]:
    if item.kind == "dropped":
        return "v-dropped", "dropped"
    if item.status is None:
        return "v-ok", "mask, no status"
    name = item.status.validity.name.lower()
    return f"v-{name}", name.replace("_", " ") + (f": {item.status.reason}" if item.status.reason else "")


def _accuracy(report: Mapping[str, Any], space: LabelSpace | None) -> str:
    metrics = report["metrics"]
    if not metrics:
        return ""
    colors = {entry.name: entry.color for entry in space.classes} if space else {}
    rows: list[tuple[str, ...]] = [
        (
            (f'<i style="background:rgb{colors[name]}"></i>' if any(colors.get(name, ())) else "<i></i>") + _e(name),
            _number(values["iou"], 3),
            _number(values["dice"], 3),
            str(values["frames"]),
        )
        for name, values in metrics["classes"].items()
        if values["frames"] or values["iou"] is not None
    ]
    rows.append(("mean of classes", _number(metrics["miou"], 3), "", ""))
    rows.append(("mean without background", _number(metrics["miou_no_background"], 3), _number(metrics["dice"], 3), ""))
    note = f"Pooled over all pixels of {metrics['frames']} frames that have both a mask and ground truth."
    if metrics.get("note"):
        note += f" {metrics['note']}"
    table = _table(("class", "IoU", "Dice", "frames with it"), rows, text_columns=1)
    return _section("Accuracy against ground truth", table, f"<p class=note>{_e(note)}</p>")


def _run(report: Mapping[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        *((_e(f"input {key}"), _e(value)) for key, value in report["input"].items()),
        ("input SHA-256", f"<code>{_e(report['input_sha256'])}</code>"),
        ("model", _e(report["model_id"] or "unknown")),
        ("engine", _e(report["engine"] or "unknown")),
        ("refinement steps, mean", _number(report["refine_steps"], 2)),
        ("masks with a wrong stamp", str(report["wrong_stamps"])),
        *((_e(name), _e(value)) for name, value in report["host"].items()),
        *((_e(name), _e(value)) for name, value in report["versions"].items()),
    ]
    problems = "".join(f"<li>{_e(line)}</li>" for line in report["problems"][:50])
    return _section(
        "This run",
        f"<h3>Left out or unusual</h3><ul class=note>{problems}</ul>" if problems else "",
        f"<details><summary>Input, model, versions, host</summary>{_table(('', ''), rows, text_columns=2)}</details>",
    )


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_e(title)}</h2>{''.join(parts)}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int) -> str:
    """Cells are HTML already; the first `text_columns` are text, the others numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if index < text_columns else ' class=n'}>{cell}</{tag}>" for index, cell in enumerate(cells)
        )

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<div class=scroll><table>{top}<tbody>{body}</tbody></table></div>"


def _times(times: Mapping[str, float | None]) -> tuple[str, ...]:
    return tuple(_number(times[name], 2) for name in ("p50", "p95", "p99", "max"))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _e(value: Any) -> str:
    return html.escape(str(value))


def _data_uri(rgb: ByteArray) -> str:
    if rgb.shape[1] > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(rgb.shape[0] * PICTURE_WIDTH / rgb.shape[1])))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
