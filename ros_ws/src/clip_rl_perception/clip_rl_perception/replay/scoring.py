"""Frame by frame from a mask and its ground truth to measures; offline and online replay both score here."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.frame_measures import FrameMeasures, FrameMeter
from clip_rl_perception.sources.class_mapping import TruthMapping


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredFrame:
    """The measures of a frame and the maps that they were measured on."""

    measures: FrameMeasures
    prediction: ByteArray
    """In the evaluated classes, uint8 (H, W)."""
    truth: ByteArray | None
    """In the evaluated classes, uint8 (H, W); None without."""


class FrameScorer:
    """Scores the frames of any number of streams, each in its own order.

    The same mask, truth, confidence and image give the same measures whoever asks: only consistency with the previous
    frame depends on which frame was scored before, so frames that an online run drops change that one alone.
    """

    def __init__(
        self,
        predicted: LabelSpace,
        mapping: TruthMapping | None,
        *,
        nsd_tau: float = 10.0,
        boundary: bool = True,
        temporal: bool = True,
    ) -> None:
        """Score masks of `predicted`.

        Args:
            predicted: classes of the masks.
            mapping: what is evaluated; None: no ground truth, temporal consistency alone, in the masks' own classes.
            nsd_tau: tolerance of the NSD, px.
            boundary: measure NSD and HD95.
            temporal: measure consistency with the previous frame.
        """
        self.mapping = mapping
        self.names = mapping.names if mapping is not None else predicted.names
        self._meters: collections.defaultdict[Hashable, FrameMeter] = collections.defaultdict(
            lambda: FrameMeter(len(self.names), nsd_tau=nsd_tau, boundary=boundary, temporal=temporal)
        )

    def reset(self, stream: Hashable) -> None:
        """The next frame of `stream` begins a new video."""
        self._meters.pop(stream, None)

    def score(
        self,
        stream: Hashable,
        mask: ByteArray,
        truth: ByteArray | None = None,
        confidence: ByteArray | None = None,
        rgb: ByteArray | None = None,
    ) -> ScoredFrame:
        """Score one frame.

        Args:
            stream: tells topics and videos apart; each has its own previous frame.
            mask: class ids of `predicted`, uint8 (H, W).
            truth: decoded ids that `mapping.truth` speaks of, uint8 (H, W); None where this frame has none.
            confidence: uint8 (H, W) or None.
            rgb: uint8 (H, W, 3) or None: no temporal consistency.

        Raises:
            MetricError: truth or confidence of another size, ids outside the classes.
        """
        prediction, evaluated = mask, None
        if self.mapping is not None:
            prediction = _looked_up(self.mapping.prediction, mask)
            evaluated = _looked_up(self.mapping.truth, truth) if truth is not None else None
        return ScoredFrame(self._meters[stream].measure(prediction, evaluated, confidence, rgb), prediction, evaluated)


def _looked_up(table: ByteArray, ids: ByteArray) -> ByteArray:
    if (table == np.arange(256)).all():
        return ids
    return np.asarray(cv2.LUT(ids, table), np.uint8)


def at_size(mask: ByteArray, shape: tuple[int, ...]) -> ByteArray:
    """`mask` at (height, width) `shape` by nearest value: the node may publish at the network's size."""
    if mask.shape == shape[:2]:
        return mask
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
