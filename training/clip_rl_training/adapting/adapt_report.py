"""What an adaptation did, for people: report.md, and a sheet of frames held out, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes
from clip_rl_perception.labels import UNLABELLED
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.scene.label_map import full_size_maps

from clip_rl_training.adapting.labelled_videos import LabelledVideo
from clip_rl_training.adapting.mixed_stills import Place
from clip_rl_training.adapting.verdict import Measured
from clip_rl_training.adapting.video_teacher import look_at_frames
from clip_rl_training.loop.validate import side_by_side

COLUMNS = ("frame held out", "the teacher is sure", "one look before", "one look after")
_WIDTH = 320
"""Of a picture on the sheet, px."""
_UNSURE = (128, 128, 128)


def measures_table(before: Measured, after: Measured | None) -> list[str]:
    """Markdown lines of what was measured."""
    rows = [
        ("plain look and its mirror images agree, IoU", "mirrors"),
        ("mask and the one before, moved along, agree, IoU", "consistency"),
        ("plain look and the teacher's looks, where sure, agree, IoU", "teacher"),
        ("instrument pixels for each that the teacher is sure of", "area"),
    ]
    lines = [f"| on {before.real.frames} frames held out, no labels | before | after |", "|---|---|---|"]

    def row(name: str, one: float | None, other: float | None) -> str:
        return f"| {name} | {_shown(one)} | {_shown(other)} |"

    for name, field in rows:
        lines.append(row(name, getattr(before.real, field), getattr(after.real, field) if after else None))
    lines.append(
        row("synthetic validation scenes, IoU of instruments", before.synthetic, after.synthetic if after else None)
    )
    if before.tags is not None:
        lines.append(row("tags on synthetic videos, PQ", before.tags, after.tags if after else None))
    return lines


def _shown(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"


def report_text(verdict: str, videos: Sequence[LabelledVideo], table: Sequence[str], notes: Sequence[str]) -> str:
    """Markdown text of the report."""
    lines = ["# Adaptation", "", verdict, "", *table, "", "## Frames", ""]
    lines += [
        "| video | kept | used | pixels that are sure | of these instrument | left out |",
        "|---|---|---|---|---|---|",
    ]
    for each in videos:
        refused = "; ".join(f"{count}: {reason}" for reason, count in each.refused.items()) or "-"
        share = each.instrument / each.sure if each.sure else 0.0
        lines.append(
            f"| {each.video.name} | {len(each.video.numbers)} | {len(each.numbers)} | {each.sure:.0%} | {share:.1%} | "
            f"{refused} |"
        )
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    lines += ["", "![frames held out](report.png)", "", f"Columns: {', '.join(COLUMNS)}. Grey: not sure.", ""]
    return "\n".join(lines)


def write_sheet(
    path: Path, places: Sequence[Place], before: PerceptionPipeline, after: PerceptionPipeline, *, most: int = 8
) -> None:
    """Draw some of the frames held out, spread evenly, with the teacher's labels and one plain look before and after.

    Raises:
        ClipRlError: the disk refuses.
    """
    chosen = np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)
    rows = []
    for index in chosen:
        labelled, number = places[index]
        rgb, told = labelled.video.frame(number), labelled.mask(number)
        masks = [told, *(_plain(pipeline, rgb) for pipeline in (before, after))]
        row = side_by_side(rgb, masks, before.label_space)
        width = rgb.shape[1]
        row[:, width : 2 * width][told == UNLABELLED] = _UNSURE
        height = round(rgb.shape[0] * _WIDTH / width)
        rows.append(cv2.resize(row, (_WIDTH * len(COLUMNS), height), interpolation=cv2.INTER_AREA))
    sheet = np.concatenate([_titles(), *rows], axis=0)
    good, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    assert good, "a sheet is a picture"
    write_bytes(path, data.tobytes())


def _plain(pipeline: PerceptionPipeline, rgb: ByteArray) -> ByteArray:
    [frame] = look_at_frames(pipeline, [(rgb, 0)])
    return full_size_maps(np.asarray(frame.looked[0], np.float32), frame.view)[0]


def _titles() -> ByteArray:
    row = np.full((24, _WIDTH * len(COLUMNS), 3), 24, np.uint8)
    for place, title in enumerate(COLUMNS):
        cv2.putText(row, title, (place * _WIDTH + 6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return row
