"""Frame records to report.json and back: what `clip-rl report compare` reads is what a run wrote."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import CountArray, DoubleArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelError, label_space_from_dict
from clip_rl_perception.metrics.calibration_error import BINS
from clip_rl_perception.metrics.confusion import to_json
from clip_rl_perception.metrics.frame_measures import FrameMeasures
from clip_rl_perception.metrics.tag_measures import KeypointOffset, Overlap, TagMeasures
from clip_rl_perception.runs.run_record import FORMAT, FrameRecord, RunRecord
from clip_rl_perception.scene.types import Basis, Box, Instrument


class ReportError(ClipRlError):
    """A report cannot be read, or two cannot be compared; the message says which and why."""


_OWN_FORM = ("stage_ms", "instruments", "measures", "plain", "basis", "tags")
_PLAIN = [field.name for field in dataclasses.fields(FrameRecord) if field.name not in _OWN_FORM]
"""Fields of a frame that are in the file as they are."""
TAG_ROW: dict[str, tuple[int, int | None]] = {
    "track_id": (1, None),
    "class_id": (1, None),
    "confidence": (1, 4),
    "box": (4, None),
    "tip": (2, 2),
    "area": (1, 1),
    "visibility": (1, 4),
}
"""An instrument's row in report.json: fields of `Instrument`, how many numbers each, rounded to which digits.

None: whole numbers. New fields go last."""


def frame_to_json(frame: FrameRecord) -> dict[str, Any]:
    """Plain data without NaN; what is unknown or empty is left out."""
    data = {name: getattr(frame, name) for name in _PLAIN}
    for name in ("latency_ms", "age_ms", "novelty"):
        if data[name] is not None:
            data[name] = _number(data[name])
    data["stage_ms"] = {stage: round(float(value), 4) for stage, value in frame.stage_ms.items()}
    data["instruments"] = [_row(instrument) for instrument in frame.instruments]
    if frame.basis is not None:
        told = {**dataclasses.asdict(frame.basis), "looks": list(frame.basis.looks)}
        data["basis"] = {name: round(value, 4) if isinstance(value, float) else value for name, value in told.items()}
    for name in ("measures", "plain"):
        if getattr(frame, name) is not None:
            data[name] = _measures_to_json(getattr(frame, name))
    if frame.tags is not None:
        data["tags"] = _tags_to_json(frame.tags)
    return {name: value for name, value in data.items() if value not in (None, "", [], {})} | {"topic": frame.topic}


def frame_from_json(data: Mapping[str, Any], classes: int) -> FrameRecord:
    """The reverse of `frame_to_json`; `classes` is the number of evaluated ones."""
    fields = {name: data[name] for name in _PLAIN if name in data}
    return FrameRecord(
        **fields,
        stage_ms=dict(data.get("stage_ms", {})),
        instruments=tuple(map(_instrument, data.get("instruments", ()))),
        basis=_basis(data["basis"]) if "basis" in data else None,
        measures=_measures_from_json(data["measures"], classes) if "measures" in data else None,
        plain=_measures_from_json(data["plain"], classes) if "plain" in data else None,
        tags=_tags_from_json(data["tags"]) if "tags" in data else None,
    )


def read_run(path: str | Path) -> RunRecord:
    """The run that a report.json tells of, or that of a replay's folder; raises `ReportError`."""
    path = Path(path) / "report.json" if Path(path).is_dir() else Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; expected a report.json of clip-rl replay or demo") from error
    except ValueError as error:
        raise ReportError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise ReportError(f"{path}: format is {found}, expected {FORMAT}: a report.json of clip-rl replay or demo")
    try:
        fields: dict[str, Any] = {
            "source": data["input"],
            "replaced": data["drops"]["replaced_by_newer"],
            "frames": [frame_from_json(frame, len(data["evaluated"])) for frame in data["frames"]],
            "label_space": label_space_from_dict(data["label_space"]) if data["label_space"] else None,
        }
        fields["space"] = data.get("space")  # reports of before it was told lack it
        fields |= {field.name: data[field.name] for field in dataclasses.fields(RunRecord) if field.name not in fields}
        fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return RunRecord(**fields)
    except (KeyError, TypeError, ValueError, IndexError, LabelError) as error:
        raise ReportError(f"{path}: not a whole report: {type(error).__name__}: {error}") from error


def is_report(path: Path) -> bool:
    """Whether a file is a report.json of clip-rl replay or demo, whatever its state."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("format") == FORMAT


def _row(instrument: Instrument) -> list[float]:
    row: list[float] = []
    for name, (count, digits) in TAG_ROW.items():
        value = getattr(instrument, name)
        numbers = [value] if count == 1 else dataclasses.astuple(value) if isinstance(value, Box) else value
        row += [int(number) if digits is None else round(float(number), digits) for number in numbers]
    return row


def _instrument(row: Sequence[Any]) -> Instrument:
    fields: dict[str, Any] = {"axis": (0.0, 0.0), "touches_border": False}  # which reports do not tell
    place = 0
    for name, (count, _) in TAG_ROW.items():
        numbers, place = tuple(row[place : place + count]), place + count
        fields[name] = Box(*numbers) if name == "box" else numbers if count > 1 else numbers[0]
    return Instrument(**fields, confirmed=fields["track_id"] > 0)


def _basis(data: Mapping[str, Any]) -> Basis:
    known = {field.name: data[field.name] for field in dataclasses.fields(Basis) if field.name in data}
    return Basis(**known | {"looks": tuple(known.get("looks", ()))})


def _measures_to_json(measures: FrameMeasures) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name in ("confusion", "calibration", "temporal", "temporal_truth"):
        counts = getattr(measures, name)
        if counts is not None:
            data[name] = [[int(row), int(column), int(counts[row, column])] for row, column in np.argwhere(counts)]
    for name in ("nsd", "hd95"):
        values = getattr(measures, name)
        if values is not None:
            data[name] = [to_json(float(value)) for value in values]
    if measures.confusion is not None:
        data["iou"] = to_json(round(measures.iou, 6))  # for readers of the file; it follows from the confusion
    return data


def _measures_from_json(data: Mapping[str, Any], classes: int) -> FrameMeasures:
    def counts(name: str, columns: int) -> CountArray | None:
        if name not in data:
            return None
        table: CountArray = np.zeros((BINS if name == "calibration" else classes, columns), np.int64)
        for row, column, count in data[name]:
            table[row, column] = count
        return table

    def values(name: str) -> DoubleArray | None:
        return np.array([math.nan if value is None else value for value in data[name]]) if name in data else None

    return FrameMeasures(
        confusion=counts("confusion", classes),
        nsd=values("nsd"),
        hd95=values("hd95"),
        calibration=counts("calibration", 3),
        temporal=counts("temporal", classes),
        temporal_truth=counts("temporal_truth", classes),
    )


def _tags_to_json(tags: TagMeasures) -> dict[str, Any]:
    """Unrounded: who matches whom must not depend on whether a report was read."""

    def plain(overlap: Overlap) -> dict[str, Any]:
        pairs = [[int(row), int(column), float(overlap.iou[row, column])] for row, column in np.argwhere(overlap.iou)]
        return {"iou": pairs, "excused": np.flatnonzero(overlap.excused).tolist()}

    return {
        **{name: getattr(tags, name).tolist() for name in ("truths", "tracks", "confidences")},
        "boxes": plain(tags.boxes),
        "masks": None if tags.masks is None else plain(tags.masks),
        "true_types": list(tags.true_types),
        "types": list(tags.types),
        "keypoints": [[each.name, to_json(each.px)] for each in tags.keypoints],
        "diagonal": tags.diagonal,
        "stamp_s": tags.stamp_s,
    }


def _tags_from_json(data: Mapping[str, Any]) -> TagMeasures:
    shape = len(data["truths"]), len(data["tracks"])

    def overlap(stored: Mapping[str, Any]) -> Overlap:
        iou, excused = np.zeros(shape), np.zeros(shape[1], np.bool_)
        for row, column, value in stored["iou"]:
            iou[row, column] = value
        excused[stored["excused"]] = True
        return Overlap(iou, excused)

    return TagMeasures(
        truths=np.array(data["truths"], np.int64),
        tracks=np.array(data["tracks"], np.int64),
        confidences=np.array(data["confidences"], np.float64),
        boxes=overlap(data["boxes"]),
        masks=None if data["masks"] is None else overlap(data["masks"]),
        true_types=tuple(data["true_types"]),
        types=tuple(data["types"]),
        keypoints=tuple(KeypointOffset(name, math.nan if px is None else px) for name, px in data["keypoints"]),
        diagonal=data["diagonal"],
        stamp_s=data["stamp_s"],
    )


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
