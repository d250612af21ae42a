"""How well instruments are found, frame by frame, whatever they are called: AP50, PQ, recall and precision.

AP50: COCO's average precision at IoU 0.5, 101 places of recall, one class. PQ: panoptic quality, Kirillov et al. 2019
("Panoptic Segmentation", CVPR, equation 1), one class; matches have an IoU above 0.5. Recall and precision count the
one-to-one matching of largest total IoU among pairs of at least 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.metrics.confusion import to_json
from clip_rl_perception.metrics.tag_measures import MATCH, Overlap, kept, matched

_RECALLS = np.linspace(0, 1, 101)


def instance_scores(frames: Sequence[tuple[Overlap, DoubleArray]]) -> dict[str, Any]:
    """Scores of frames, (overlap, confidences float64 (p,)) each.

    Returns:
        Plain data: instruments, tags (those that count), found, recall, precision, ap50, pq, sq (mean IoU of matches),
        rq (F1 of matches); None where undefined.
    """
    instruments = sum(len(overlap.iou) for overlap, _ in frames)
    pairs = [matched(overlap.iou) for overlap, _ in frames]
    found = sum(len(rows) for rows, _ in pairs)
    tags = sum(len(kept(overlap)) for overlap, _ in frames)
    total = sum(float(overlap.iou[pair].sum()) for (overlap, _), pair in zip(frames, pairs, strict=True))
    return {
        "instruments": instruments,
        "tags": tags,
        "found": found,
        "recall": _ratio(found, instruments),
        "precision": _ratio(found, tags),
        "ap50": to_json(average_precision(frames)),
        "pq": _ratio(2 * total, instruments + tags),
        "sq": _ratio(total, found),
        "rq": _ratio(2 * found, instruments + tags),
    }


def average_precision(frames: Sequence[tuple[Overlap, DoubleArray]], threshold: float = MATCH) -> float:
    """COCO's AP at one threshold: the surest tag of a frame first takes the instrument that it fits best, of equal ones
    the last.

    NaN where there is no instrument.
    """
    instruments = sum(len(overlap.iou) for overlap, _ in frames)
    if not instruments:
        return math.nan
    told: list[tuple[float, bool]] = []
    for overlap, confidences in frames:
        left = overlap.iou.copy()
        for tag in np.argsort(-confidences, kind="stable"):
            best = len(left) - 1 - int(left[::-1, tag].argmax()) if len(left) else 0
            right = bool(len(left)) and left[best, tag] >= threshold
            if right:
                left[best] = -1
            if right or not overlap.excused[tag]:
                told.append((float(confidences[tag]), right))
    if not told:
        return 0.0
    sure, right_ones = (np.array(values) for values in zip(*told, strict=True))
    hits = np.cumsum(right_ones[np.argsort(-sure, kind="stable")])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / instruments, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
