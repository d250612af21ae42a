"""Confidence intervals of every metric, and of differences between two runs, by resampling whole sequences.

Frames of a video resemble each other, so frames are not resampled one by one: sequences are, where there are enough of
them, else blocks of consecutive frames (block bootstrap, Kuensch 1989). Every metric is a function of sums over frames,
so a resample is a weighted sum and no frame is looked at twice. Seeded: the same run gives the same intervals.

Not by `scipy.stats.bootstrap`: it gives the same percentile intervals over units, but took 4 to 8 times as long, since
it gathers every table of every resample, and NaN as soon as one resample leaves a metric undefined.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.metrics.calibration_error import BINS
from clip_rl_perception.metrics.frame_measures import FrameMeasures
from clip_rl_perception.metrics.frame_metrics import FrameMetrics
from clip_rl_perception.runs.run_record import FrameRecord

RESAMPLES = 2000
LEVEL = 0.95
LEAST_SEQUENCES = 5
"""With fewer sequences blocks of frames are resampled."""
LEAST_UNITS = 8
"""With fewer blocks there are no intervals."""

_MEANS = ("challenge_iou", "isi_iou", "scene_iou", "scene_dice", "eps_miou")
_AVERAGED = {"nsd", "hd95", "class_mean", *_MEANS}


@dataclasses.dataclass(frozen=True)
class Units:
    """What is resampled."""

    kind: str
    """``sequences``, ``blocks of N frames``, or ``none`` where there are too few."""
    members: tuple[tuple[int, ...], ...]
    """Places of the frames of each unit."""

    @property
    def enough(self) -> bool:
        """False where intervals would mean nothing."""
        return self.kind != "none"


def units_of(frames: Sequence[FrameRecord]) -> Units:
    """Sequences, or blocks of consecutive frames within them; see the top of this file."""
    sequences: dict[str, list[int]] = {}
    for place, frame in enumerate(frames):
        sequences.setdefault(frame.sequence, []).append(place)
    if len(sequences) >= LEAST_SEQUENCES:
        return Units("sequences", tuple(tuple(places) for places in sequences.values()))
    length = max(1, min(round(math.sqrt(len(frames))), len(frames) // 10))
    blocks: list[tuple[int, ...]] = []
    for places in sequences.values():
        blocks += [tuple(places[start : start + length]) for start in range(0, len(places), length)]
    if len(blocks) < LEAST_UNITS:
        return Units("none", tuple(blocks))
    return Units(f"blocks of {length} frames", tuple(blocks))


def weights(units: int, *, resamples: int = RESAMPLES, seed: int = 0) -> DoubleArray:
    """How often each unit is drawn in each resample, float64 (resamples, units); rows sum to `units`."""
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    return drawn.astype(np.float64)


class AccuracySums:
    """Sums of everything that accuracy metrics are functions of, per unit."""

    def __init__(self, measures: Sequence[FrameMeasures | None], units: Units, classes: int) -> None:
        """`measures`: of every frame, in the order that the units speak of; None where a frame has none."""
        rows = [_frame_row(item or FrameMeasures(), classes) for item in measures]
        members = [list(unit) for unit in units.members]
        self._sums: dict[str, DoubleArray] = {}
        for name in rows[0] if rows else ():
            values = np.array([row[name] for row in rows], np.float64)
            if name in _AVERAGED:  # kept as (sum, count)
                known = ~np.isnan(values)
                values = np.stack([np.where(known, values, 0), known], axis=-1)
            self._sums[name] = np.array([values[unit].sum(axis=0) for unit in members])

    def metrics(self, drawn: DoubleArray) -> dict[str, DoubleArray]:
        """Every metric of resamples, as in `Evaluator.report`.

        Args:
            drawn: weights (B, units), see `weights`; ones for the metric itself.

        Returns:
            name -> (B,), and ``class_iou``, ``class_dice``, ``class_nsd``, ``class_hd95`` -> (B, K); NaN: undefined.
        """
        sums = {name: np.tensordot(drawn, values, axes=(1, 0)) for name, values in self._sums.items()}
        if not sums:
            return {}
        iou, dice = _iou_and_dice(sums["confusion"])
        nsd = _ratio(sums["nsd"][..., 0], sums["nsd"][..., 1])
        hd95 = _ratio(sums["hd95"][..., 0], sums["hd95"][..., 1])
        result = {
            "miou": _mean(iou),
            "miou_no_background": _mean(iou[:, 1:]),
            "dice": _mean(dice[:, 1:]),
            "nsd": _mean(nsd[:, 1:]),
            "hd95": _mean(hd95[:, 1:]),
            "mciou": _mean(_ratio(sums["class_mean"][..., 0], sums["class_mean"][..., 1])[:, 1:]),
            "isinet_miou": _ratio(sums["isinet"][:, 0], sums["isinet"][:, 1]),
            "ece": _ece(sums["calibration"]),
            "temporal_consistency": _mean(_iou_and_dice(sums["temporal"])[0]),
            **{name: _ratio(sums[name][:, 0], sums[name][:, 1]) for name in _MEANS},
        }
        return result | {"class_iou": iou, "class_dice": dice, "class_nsd": nsd, "class_hd95": hd95}

    def observed(self) -> dict[str, DoubleArray]:
        """Every metric of the frames as they are, with a leading axis of length 1."""
        units = len(next(iter(self._sums.values()))) if self._sums else 0
        return self.metrics(np.ones((1, units)))


def interval(values: DoubleArray) -> tuple[float, float] | None:
    """Percentile interval at `LEVEL` of resampled values (B,); None where too many of them are undefined."""
    known = values[~np.isnan(values)]
    if len(known) < 0.9 * len(values) or not len(known):
        return None
    low, high = np.percentile(known, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def accuracy_intervals(frames: Sequence[FrameRecord], names: Sequence[str], *, seed: int = 0) -> dict[str, Any] | None:
    """Intervals of all accuracy metrics as plain data; None where there is no truth or too few frames.

    Keys: level, over (what was resampled), units, resamples; each metric's name -> [low, high] or None; classes: {name:
    {iou, dice, nsd, hd95 -> [low, high] or None}}.
    """
    scored = [frame for frame in frames if frame.measures is not None and frame.measures.confusion is not None]
    if not scored:
        return None
    units = units_of(scored)
    if not units.enough:
        return {"over": "none", "units": len(units.members), "level": LEVEL, "resamples": 0, "classes": {}}
    sums = AccuracySums([frame.measures for frame in scored], units, len(names))
    drawn = sums.metrics(weights(len(units.members), seed=seed))
    classes: dict[str, dict[str, list[float] | None]] = {
        name: {
            metric: _listed(interval(drawn[f"class_{metric}"][:, index])) for metric in ("iou", "dice", "nsd", "hd95")
        }
        for index, name in enumerate(names)
    }
    found = {name: _listed(interval(values)) for name, values in drawn.items() if values.ndim == 1}
    head = {"level": LEVEL, "over": units.kind, "units": len(units.members), "resamples": RESAMPLES}
    return {**head, **found, "classes": classes}


def _listed(value: tuple[float, float] | None) -> list[float] | None:
    return None if value is None else [round(value[0], 6), round(value[1], 6)]


def _frame_row(measures: FrameMeasures, classes: int) -> dict[str, Any]:
    """One frame's part of every sum: counts, zero where there are none, and values to average, NaN where unknown."""
    framewise = FrameMetrics(classes)
    if measures.confusion is not None:
        framewise.add(measures.confusion)
    return {
        "confusion": _filled(measures.confusion, (classes, classes), 0),
        "temporal": _filled(measures.temporal, (classes, classes), 0),
        "calibration": _filled(measures.calibration, (BINS, 3), 0),
        "isinet": framewise.isinet_sums(),
        "nsd": _filled(measures.nsd, (classes,), math.nan),
        "hd95": _filled(measures.hd95, (classes,), math.nan),
        "class_mean": framewise.class_mean_iou(),
        **{name: getattr(framewise, name)() for name in _MEANS},
    }


def _filled(values: Any, shape: tuple[int, ...], nothing: float) -> Any:
    return np.full(shape, nothing) if values is None else values


def _ratio(numerator: DoubleArray, denominator: DoubleArray) -> DoubleArray:
    result = np.full(np.broadcast(numerator, denominator).shape, math.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _mean(values: DoubleArray) -> DoubleArray:
    """Mean over the last axis of what is not NaN."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))


def _iou_and_dice(confusion: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Per class, (B, K) each, of (B, K, K)."""
    intersection = np.diagonal(confusion, axis1=1, axis2=2)
    both = confusion.sum(axis=1) + confusion.sum(axis=2)
    return _ratio(intersection, both - intersection), _ratio(2 * intersection, both)


def _ece(tables: DoubleArray) -> DoubleArray:
    """Expected calibration error (B,) of tables (B, M, 3), see `calibration_error.calibration_table`."""
    pixels, correct, levels = (tables[..., column] for column in range(3))
    gaps = np.abs(_ratio(correct, pixels) - _ratio(levels / 255, pixels))
    return _ratio((np.where(pixels > 0, gaps, 0) * pixels).sum(axis=-1), pixels.sum(axis=-1))
