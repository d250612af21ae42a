"""Identities over time: HOTA, IDF1, identity switches, as TrackEval computes them.

HOTA: Luiten et al. 2021 ("HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 129), mean over the
thresholds 0.05 to 0.95 of IoU. IDF1: Ristani et al. 2016 ("Performance Measures and a Data Set for Multi-Target,
Multi-Camera Tracking"). Switches: CLEAR MOT (Bernardin and Stiefelhagen 2008). Ours: TrackEval brings a second OpenCV
and reads benchmarks' folders; the tests hold numbers that it gave.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from clip_rl_perception.arrays import CountArray, DoubleArray
from clip_rl_perception.metrics.confusion import to_json
from clip_rl_perception.metrics.tag_measures import MATCH

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""Thresholds of HOTA."""
_EPS = np.finfo("float").eps


class TrackedFrame(NamedTuple):
    """One frame: who is there and who is said to be there."""

    truths: CountArray
    """Instruments, int64 (t,), each once."""
    tracks: CountArray
    """Identities, int64 (p,), each once."""
    iou: DoubleArray
    """Float64 (t, p)."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrackingCounts:
    """What a sequence adds; arrays run over `ALPHAS`."""

    hota_tp: DoubleArray
    """Matches."""
    hota_wrong: DoubleArray
    """Instruments and tags without a match."""
    association: DoubleArray
    """Sum over matches of the Jaccard index of the two tracks."""
    id_tp: int = 0
    """Matches of each instrument with the one track that is taken for it."""
    id_wrong: int = 0
    """Instruments and tags that are none of these."""
    matches: int = 0
    """By CLEAR MOT."""
    switches: int = 0
    """Matches with another track than the one before."""
    instruments: int = 0
    """True ones."""
    identities: int = 0
    """Different tracks."""
    matched_instruments: int = 0
    """True ones that were matched in a frame at least."""
    matched_identities: int = 0
    """Pairs of instrument and track that were matched in a frame at least."""

    def __add__(self, other: TrackingCounts) -> TrackingCounts:
        return TrackingCounts(
            *(getattr(self, field.name) + getattr(other, field.name) for field in dataclasses.fields(self))
        )

    def report(self) -> dict[str, Any]:
        """Plain data; None where undefined.

        Keys: hota, deta, assa; idf1; matches, switches, switches_per_500 (matches); instruments, identities,
        identities_per_instrument (mean number of tracks that were matched with an instrument, of those matched).
        """
        detection = _ratio(self.hota_tp, self.hota_tp + self.hota_wrong)
        association = self.association / np.maximum(1, self.hota_tp)
        known = self.id_tp + self.id_wrong > 0
        return {
            "hota": to_json(float(np.sqrt(detection * association).mean())) if known else None,
            "deta": to_json(float(detection.mean())) if known else None,
            "assa": to_json(float(association.mean())) if known else None,
            "idf1": self.id_tp / (self.id_tp + 0.5 * self.id_wrong) if known else None,
            "matches": self.matches,
            "switches": self.switches,
            "switches_per_500": 500 * self.switches / self.matches if self.matches else None,
            "instruments": self.instruments,
            "identities": self.identities,
            "identities_per_instrument": to_json(
                self.matched_identities / self.matched_instruments if self.matched_instruments else math.nan
            ),
        }


def no_counts() -> TrackingCounts:
    """Of no sequence: what sums begin with."""
    zeros = np.zeros(len(ALPHAS))
    return TrackingCounts(zeros, zeros, zeros)


def count_sequence(frames: Sequence[TrackedFrame]) -> TrackingCounts:
    """What one video adds, its frames in order."""
    none = np.zeros(0, np.int64)
    truths, truth_lengths = np.unique(np.concatenate([none, *(f.truths for f in frames)]), return_counts=True)
    tracks, track_lengths = np.unique(np.concatenate([none, *(f.tracks for f in frames)]), return_counts=True)
    numbered = [
        TrackedFrame(np.searchsorted(truths, frame.truths), np.searchsorted(tracks, frame.tracks), frame.iou)
        for frame in frames
    ]
    return TrackingCounts(
        *_hota(numbered, truth_lengths, track_lengths),
        *_identity(numbered, truth_lengths, track_lengths),
        *_clear(numbered, len(truths), len(tracks)),
    )


def _hota(
    frames: Sequence[TrackedFrame], truth_lengths: CountArray, track_lengths: CountArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Matches, what has none, and the sum of association scores, float64 (19,) each; equations 1 to 7 of the paper."""
    lengths = truth_lengths[:, None] + track_lengths[None]
    potential = np.zeros(lengths.shape)
    for truths, tracks, iou in frames:
        either = iou.sum(axis=0)[None] + iou.sum(axis=1)[:, None] - iou
        potential[np.ix_(truths, tracks)] += np.divide(iou, either, out=np.zeros_like(iou), where=either > _EPS)
    alignment = potential / (lengths - potential)
    matches = np.zeros((len(ALPHAS), *lengths.shape))
    for truths, tracks, iou in frames:
        rows, columns = linear_sum_assignment(alignment[np.ix_(truths, tracks)] * iou, maximize=True)
        good = iou[rows, columns] >= ALPHAS[:, None] - _EPS
        matches[:, truths[rows], tracks[columns]] += good
    true_positive = matches.sum(axis=(1, 2))
    everyone = truth_lengths.sum() + track_lengths.sum()
    association = (matches * matches / np.maximum(1, lengths - matches)).sum(axis=(1, 2))
    return true_positive, everyone - 2 * true_positive, association


def _identity(frames: Sequence[TrackedFrame], truth_lengths: CountArray, track_lengths: CountArray) -> tuple[int, int]:
    """Matches with the one track that is taken for an instrument, and all that is none."""
    together = np.zeros((len(truth_lengths), len(track_lengths)))
    for truths, tracks, iou in frames:
        together[np.ix_(truths, tracks)] += iou >= MATCH
    true_positive = int(together[linear_sum_assignment(together, maximize=True)].sum())
    return true_positive, int(truth_lengths.sum() + track_lengths.sum()) - 2 * true_positive


def _clear(frames: Sequence[TrackedFrame], instruments: int, identities: int) -> tuple[int, int, int, int, int, int]:
    """matches, switches, instruments, identities, matched instruments, matched pairs."""
    last, before = np.full(instruments, -1), np.full(instruments, -1)
    pairs, matches, switches = set(), 0, 0
    for truths, tracks, iou in frames:
        if not iou.size:  # such a frame leaves in place what went on before it
            continue
        score = np.where(iou >= MATCH - _EPS, 1000 * (tracks[None] == before[truths][:, None]) + iou, 0)
        rows, columns = linear_sum_assignment(score, maximize=True)
        good = score[rows, columns] > _EPS
        who, whom = truths[rows[good]], tracks[columns[good]]
        switches += int(((last[who] >= 0) & (last[who] != whom)).sum())
        matches += len(who)
        pairs |= set(zip(who.tolist(), whom.tolist(), strict=True))
        last[who] = whom
        before[:] = -1
        before[who] = whom
    return matches, switches, instruments, identities, len({who for who, _ in pairs}), len(pairs)


def _ratio(part: DoubleArray, whole: DoubleArray) -> DoubleArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
