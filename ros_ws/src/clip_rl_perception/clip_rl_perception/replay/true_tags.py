"""The truth of tags as tags: what a perception that is never wrong would say of a frame."""

from __future__ import annotations

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray
from clip_rl_perception.metrics.tag_measures import Point, TagTruth, TrueInstrument
from clip_rl_perception.scene.types import KEYPOINTS, Box, Instrument, Keypoint


def true_instruments(truth: TagTruth, class_id: int) -> tuple[Instrument, ...]:
    """The instruments that a frame shows, by number; keypoints are those that it shows.

    Args:
        truth: of the frame.
        class_id: of each.

    Returns:
        Tags whose `track_id` is the instrument's number; `truth.instances` tells whose pixels are whose.
    """
    found = []
    for number in np.flatnonzero(np.bincount(truth.instances.ravel(), minlength=1)).tolist():
        if number:
            told = truth.instruments.get(number, TrueInstrument())
            found.append(_tag(number, truth.instances == number, told, class_id))
    return tuple(found)


def _tag(number: int, mask: BoolArray, told: TrueInstrument, class_id: int) -> Instrument:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    points = [Keypoint(name, *told.points[name], 1.0, visible=True) for name in KEYPOINTS if name in told.points]
    tips = [(point.x, point.y) for point in points if point.name.startswith("tip")]
    axis, end = _axis(mask, told, tips)
    tip = (float(np.mean([at[0] for at in tips])), float(np.mean([at[1] for at in tips]))) if tips else end
    rows, columns = mask.shape
    return Instrument(
        class_id=class_id,
        confidence=1.0,
        box=Box(x, y, width, height),
        tip=tip,
        axis=axis,
        area=float(mask.sum()),
        touches_border=x == 0 or y == 0 or x + width == columns or y + height == rows,
        track_id=number,
        keypoints=tuple(points),
        type_name=told.type_name,
        type_probability=1.0 if told.type_name else 0.0,
    )


def _axis(mask: BoolArray, told: TrueInstrument, tips: list[Point]) -> tuple[Point, Point]:
    """Unit vector along the shaft towards its end, and where the instrument ends, (x, y) px."""
    at = np.argwhere(mask)[:, ::-1].astype(np.float64)
    middle = at.mean(axis=0)
    start, stop = told.points.get("entry"), told.points.get("wrist", tips[0] if tips else None)
    if start is not None and stop is not None and np.hypot(stop[0] - start[0], stop[1] - start[1]) > 2:
        way = np.subtract(stop, start)
    else:
        way = np.linalg.eigh(np.cov((at - middle).T))[1][:, -1] if len(at) > 1 else np.array([1.0, 0.0])
        towards = np.subtract(tips[0], middle) if tips else np.array([mask.shape[1], mask.shape[0]]) / 2 - middle
        way = way if way @ towards >= 0 else -way
    way = way / np.linalg.norm(way)
    end = at[((at - middle) @ way).argmax()]
    return (float(way[0]), float(way[1])), (float(end[0]), float(end[1]))
