"""How far keypoints of tags lie from those of the instruments, of all that are seen in the picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from clip_rl_perception.metrics.confusion import to_json

NEAR = 4.0
"""An error of this or less is near, % of the picture's diagonal."""


def keypoint_scores(offsets: Iterable[tuple[str, float, float]]) -> dict[str, dict[str, Any]]:
    """Scores by kind of keypoint.

    Args:
        offsets: (kind, px, the picture's diagonal in px) of every visible one; NaN px: the instrument was not found, or
            its tag does not tell the keypoint.

    Returns:
        Plain data by kind: visible (how many), missed (share of them), median_px, p90_px, median_percent, p90_percent
        (of the diagonal, over those told), near (share of the visible ones that are told within `NEAR` % of the
        diagonal); None where undefined.
    """
    by_kind: dict[str, list[tuple[float, float]]] = {}
    for kind, px, diagonal in offsets:
        by_kind.setdefault(kind, []).append((px, 100 * px / diagonal))
    return {kind: _scores(np.array(by_kind[kind])) for kind in sorted(by_kind)}


def _scores(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    told = values[~np.isnan(values[:, 0])]
    px, percent = (np.percentile(told, [50, 90], axis=0) if len(told) else np.full((2, 2), np.nan)).T
    return {
        "visible": len(values),
        "missed": 1 - len(told) / len(values),
        "median_px": to_json(px[0]),
        "p90_px": to_json(px[1]),
        "median_percent": to_json(percent[0]),
        "p90_percent": to_json(percent[1]),
        "near": float((told[:, 1] <= NEAR).sum()) / len(values),
    }
