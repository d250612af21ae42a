"""report.html: one file that opens offline, in light and dark, with the pictures and plots inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clip_rl_perception.report import pages, report_plots
from clip_rl_perception.report.frame_gallery import ERROR_COLORS, Picture
from clip_rl_perception.report.metric_text import DEFINITIONS, METRIC_TEXT
from clip_rl_perception.report.run_summary import verdict
from clip_rl_perception.report.time_axis import axis_of
from clip_rl_perception.runs.run_record import RunRecord

FRAMES_FIRST = 4
"""Pictures that stand at the top; the others stand before the end."""


def render(
    report: Mapping[str, Any], run: RunRecord, pictures: Sequence[Picture] = (), *, videos: Sequence[str] = ()
) -> str:
    """The page.

    Args:
        report: `run_summary.summary` of the run.
        run: the run itself, for what is drawn over time.
        pictures: frames to show, the worst first.
        videos: relative paths of overlay videos to link to.
    """
    source = report["input"]
    facts = [
        source.get("name", ""),
        f"{source['width']} x {source['height']}" if "width" in source else "",
        f"{source['rate_hz']:.4g} Hz" if "rate_hz" in source else "",
        f"{report['transport']} images" if report["transport"] != "file" else "offline",
        report["engine"] or "",
        f"model {report['model_id']}" if report["model_id"] else "",
    ]
    classes = run.label_space.classes if run.label_space is not None else ()
    colors = {entry.name: pages.rgb_css(entry.color) for entry in classes if any(entry.color)}
    return pages.render(
        "report.html.j2",
        title=report["title"],
        facts=facts,
        verdict=verdict(report),
        report=report,
        run=run,
        metric_text=METRIC_TEXT,
        definitions=DEFINITIONS,
        colors=colors,
        plots=report_plots.plots(report, run, axis_of(run, pictures), colors),
        rows_of_tracks=report_plots.ROWS_OF_TRACKS,
        pictures=_pictures(pictures),
        error_colors={name: pages.rgb_css(color) for name, color in ERROR_COLORS.items()},
        videos=videos,
    )


def _pictures(pictures: Sequence[Picture]) -> dict[str, Any]:
    """Those that matter most and the others; whether there are several sequences (many) and error maps (errors)."""
    many = len({picture.record.sequence for picture in pictures}) > 1
    errors = any(len(picture.images) > 3 for picture in pictures)
    if not any("IoU" in reason for picture in pictures for reason in picture.reasons):
        # Nothing tells the worst: what stands at the top is then a look at the whole run.
        pictures = sorted(pictures, key=lambda picture: bool(picture.reasons))
    return {"first": pictures[:FRAMES_FIRST], "others": pictures[FRAMES_FIRST:], "many": many, "errors": errors}
