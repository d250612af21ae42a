"""All measures of instruments in space over sequences: pairs, errors of points in mm, how honest covariances are."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clip_rl_perception.metrics.space_measures import REGION, PointOffset, SpaceMeasures

BANDS_MM = ((0, 70), (70, 90), (90, 110), (110, 130), (130, 1000))
"""Depths by which errors are told."""


def band_name(depth_mm: float) -> str:
    """What the band of a depth is called in `tips_by_depth`; raises `ValueError` for a depth beyond all."""
    for low, high in BANDS_MM:
        if low <= depth_mm < high:
            return f"{low} to {high}"
    raise ValueError(f"{depth_mm:g} mm lies in no band; expected {BANDS_MM[0][0]} to {BANDS_MM[-1][1]}")


class SpaceEvaluator:
    """Measures of instruments in space; memory grows by a few numbers a moment."""

    def __init__(self) -> None:
        self._sequences: dict[str, list[SpaceMeasures]] = {}

    def add(self, measures: SpaceMeasures, *, sequence: str = "") -> None:
        """Add a moment of a sequence."""
        self._sequences.setdefault(sequence, []).append(measures)

    def __len__(self) -> int:
        return sum(map(len, self._sequences.values()))

    def report(self) -> dict[str, Any]:
        """Plain data for JSON; None stands for undefined.

        Keys: moments; pairing (`pairing_scores`); points and points_by_width, by kind `point_scores` of what both eyes
        and one alone told; asked (points that both pictures show of two-eyed instruments, by kind); hidden (points
        told from both eyes that a picture does not show, by kind); tips_by_depth, `point_scores` by band in mm; axes
        (count, median and 90th percentile in degrees, share within two told standard deviations); sequences: pairing
        and tips of each.
        """
        moments = [moment for moments in self._sequences.values() for moment in moments]
        offsets = [point for moment in moments for point in moment.points]
        told = [point for point in offsets if point.by_both]
        asked: collections.Counter[str] = collections.Counter()
        for moment in moments:
            asked.update(moment.asked)
        tips = _tips(moments)
        return {
            "moments": len(moments),
            "pairing": pairing_scores(moments),
            "asked": dict(sorted(asked.items())),
            "points": _by_kind(point for point in told if point.seen),
            "hidden": dict(sorted(collections.Counter(point.name for point in told if not point.seen).items())),
            "points_by_width": _by_kind(point for point in offsets if not point.by_both),
            "tips_by_depth": {
                band_name(low): point_scores([tip for tip in tips if low <= tip.depth * 1000 < high])
                for low, high in BANDS_MM
            },
            "axes": _axes([axis for moment in moments for axis in moment.axes]),
            "sequences": {name: _of_sequence(moments) for name, moments in self._sequences.items()},
        }


def pairing_scores(moments: Sequence[SpaceMeasures]) -> dict[str, Any]:
    """Pairs against the truth.

    Keys: two_eyed (instruments that tags of both eyes match), right (share of them told as one), pairs (told, both tags
    match an instrument), precision (share of them of one instrument), stray (pairs of which a tag matches none).
    """
    two_eyed, pairs = sum(it.two_eyed for it in moments), sum(it.pairs for it in moments)
    return {
        "two_eyed": two_eyed,
        "right": sum(it.paired for it in moments) / two_eyed if two_eyed else None,
        "pairs": pairs,
        "precision": 1 - sum(it.wrong_pairs for it in moments) / pairs if pairs else None,
        "stray": sum(it.stray_pairs for it in moments),
    }


def point_scores(points: Sequence[PointOffset]) -> dict[str, Any]:
    """Errors of points.

    Keys: count; median_mm and p90_mm of the distance to the true point; across_mm and depth_mm, medians of its parts
    across the left eye's view and along z; bias_mm, the median of told less true z; inside_90, the share inside the
    90 % region of the told covariance. None where there is no point.
    """
    if not points:
        keys = ("median_mm", "p90_mm", "across_mm", "depth_mm", "bias_mm", "inside_90")
        return {"count": 0, **dict.fromkeys(keys)}
    offsets = np.array([point.offset for point in points]) * 1000.0
    errors = np.linalg.norm(offsets, axis=1)
    return {
        "count": len(points),
        "median_mm": float(np.median(errors)),
        "p90_mm": float(np.percentile(errors, 90)),
        "across_mm": float(np.median(np.linalg.norm(offsets[:, :2], axis=1))),
        "depth_mm": float(np.median(np.abs(offsets[:, 2]))),
        "bias_mm": float(np.median(offsets[:, 2])),
        "inside_90": sum(point.distance <= REGION for point in points) / len(points),
    }


def _by_kind(points: Iterable[PointOffset]) -> dict[str, Any]:
    kinds: dict[str, list[PointOffset]] = {}
    for point in points:
        kinds.setdefault(point.name, []).append(point)
    return {kind: point_scores(kinds[kind]) for kind in sorted(kinds)}


def _axes(axes: Sequence[tuple[float, float]]) -> dict[str, Any]:
    if not axes:
        return {"count": 0, "median_degrees": None, "p90_degrees": None, "within_2_std": None}
    angles = np.degrees([angle for angle, _ in axes])
    return {
        "count": len(axes),
        "median_degrees": float(np.median(angles)),
        "p90_degrees": float(np.percentile(angles, 90)),
        "within_2_std": sum(angle <= 2 * std for angle, std in axes) / len(axes),
    }


def _tips(moments: Sequence[SpaceMeasures]) -> list[PointOffset]:
    """Tips told from both eyes that both pictures show."""
    points = [point for moment in moments for point in moment.points]
    return [point for point in points if point.by_both and point.seen and point.name == "tip"]


def _of_sequence(moments: Sequence[SpaceMeasures]) -> dict[str, Any]:
    tips = point_scores(_tips(moments))
    return {"moments": len(moments), "pairing": pairing_scores(moments), "tips": tips}
