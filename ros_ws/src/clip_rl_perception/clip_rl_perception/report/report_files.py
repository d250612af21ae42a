"""report.json and report.html of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.report.report_html import render
from clip_rl_perception.runs.record_json import frame_to_json
from clip_rl_perception.runs.run_record import RunRecord


def write_report(
    run: RunRecord, out: Path, book: FrameGallery | None = None, *, videos: Sequence[Path] = ()
) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` into `out`, each whole or not at all.

    Args:
        run: what is reported.
        out: folder, made where it is missing.
        book: pictures that were kept while frames passed.
        videos: overlay videos to link to, in `out`.

    Returns:
        `run_summary.summary`: what report.json holds but its frames.

    Raises:
        ClipRlError: the folder cannot be written.
    """
    summary = reports.summary(run)
    pictures = book.pictures() if book is not None else ()
    links = [str(path.relative_to(out)) if path.is_relative_to(out) else str(path) for path in videos]
    write_json(out / "report.json", {**summary, "frames": [frame_to_json(frame) for frame in run.frames]})
    write_text(out / "report.html", render(summary, run, pictures, videos=links))
    return summary
