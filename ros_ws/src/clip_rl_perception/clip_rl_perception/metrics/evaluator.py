"""One evaluator for every metric: feed frames, read a report per class, per sequence and overall."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.metrics.boundary import BoundaryMetrics
from clip_rl_perception.metrics.calibration_error import CalibrationMetrics
from clip_rl_perception.metrics.confusion import MetricError, PooledMetrics, mean_of_present, to_json
from clip_rl_perception.metrics.frame_measures import FrameMeasures, FrameMeter
from clip_rl_perception.metrics.frame_metrics import FrameMetrics
from clip_rl_perception.metrics.sarrarp50_score import SarRarp50Score
from clip_rl_perception.metrics.temporal import TemporalConsistency


@dataclasses.dataclass(frozen=True)
class FrameScore:
    """How one frame went; orders the worst frames."""

    sequence: str
    frame: str
    iou: float
    """Mean IoU over the foreground classes in truth or prediction; NaN when there is none, as in ISI IoU."""
    pixels_wrong: float
    """Share of counted pixels with the wrong class, 0 to 1; NaN when none is counted."""


class Evaluator:
    """All metrics over a stream of frames.

    Memory does not grow with the number of pixels: counts per class and sequence, and one `FrameScore` per frame.
    """

    def __init__(
        self, class_names: Sequence[str], *, nsd_tau: float = 10.0, boundary: bool = True, temporal: bool = False
    ) -> None:
        """Start with no frames.

        Args:
            class_names: in id order; id 0 is the background.
            nsd_tau: tolerance of the NSD, px of the maps given.
            boundary: compute NSD and HD95 (about 10 ms per class and frame of 1280x1024).
            temporal: compute temporal consistency; `update` then needs `rgb`, frames of a sequence in order.
        """
        self.class_names = tuple(class_names)
        self.nsd_tau = nsd_tau
        self.scores: list[FrameScore] = []
        self._meter = FrameMeter(len(self.class_names), nsd_tau=nsd_tau, boundary=boundary, temporal=temporal)
        self._overall = _Part(self.class_names, nsd_tau)
        self._sequences: dict[str, _Part] = {}
        self._sarrarp50 = SarRarp50Score()
        self._temporal = TemporalConsistency(self.class_names) if temporal else None
        self._last_sequence: str | None = None

    def update(
        self,
        prediction: ByteArray,
        truth: ByteArray,
        confidence: ByteArray | None = None,
        *,
        sequence: str = "",
        frame: str = "",
        rgb: ByteArray | None = None,
    ) -> FrameScore:
        """Add one frame.

        Args:
            prediction: class ids, uint8 (H, W); 255 counts as background.
            truth: class ids, uint8 (H, W); 255 is not counted.
            confidence: calibrated probability of the predicted class x 255, uint8 (H, W); None: no ECE.
            sequence: name of the frame's video or scene.
            frame: name of the frame, for the list of worst frames.
            rgb: the image, uint8 (H, W, 3), for temporal consistency.

        Raises:
            MetricError: shapes or dtypes that do not fit, values outside the classes; names sequence and frame.
        """
        if sequence != self._last_sequence:
            self._meter.reset()
        self._last_sequence = sequence
        try:
            measures = self._meter.measure(prediction, truth, confidence, rgb)
        except MetricError as error:
            raise MetricError(f"{sequence} {frame}: {error}".strip()) from error
        return self.add(measures, sequence=sequence, frame=frame)

    def add(self, measures: FrameMeasures, *, sequence: str = "", frame: str = "") -> FrameScore:
        """Add one frame that is already measured; without truth only its temporal consistency counts."""
        if sequence not in self._sequences:
            self._sequences[sequence] = _Part(self.class_names, self.nsd_tau)
        for part in (self._overall, self._sequences[sequence]):
            part.add(measures)
        if measures.confusion is not None and measures.nsd is not None and len(self.class_names) > 1:
            self._sarrarp50.add(sequence, measures.confusion, measures.nsd)
        if self._temporal is not None and measures.temporal is not None:
            self._temporal.add(measures.temporal, measures.temporal_truth)
        score = FrameScore(sequence, frame, measures.iou, measures.pixels_wrong)
        self.scores.append(score)
        return score

    def worst(self, count: int) -> list[FrameScore]:
        """The `count` frames of lowest IoU, then most wrong pixels; frames without any foreground are left out."""
        known = [score for score in self.scores if not math.isnan(score.iou)]
        return sorted(known, key=lambda score: (score.iou, -score.pixels_wrong))[:count]

    def report(self) -> dict[str, Any]:
        """Plain data for JSON; None stands for undefined.

        Keys: frames, miou, miou_no_background, challenge_iou, isi_iou, mciou, dice, eps_miou, ece, nsd, hd95 and
        further frame-wise metrics (see `frame_metrics`); classes: {name: {iou, dice, nsd, hd95, miss_rate, frames}};
        sequences: the same for each sequence; sarrarp50 (see there); temporal_consistency with the truth's own when
        asked for; nsd_tau. Overall dice, nsd and hd95 are means over classes without the background; `frames` of a
        class counts the frames whose truth holds it.
        """
        report = self._overall.report()
        report["nsd_tau"] = self.nsd_tau
        report["sarrarp50"] = self._sarrarp50.report()
        if self._temporal is not None:
            report["temporal_consistency"] = to_json(self._temporal.consistency())
            report["temporal_consistency_truth"] = to_json(self._temporal.truth_consistency())
            report["temporal_pairs"] = self._temporal.pairs
        report["sequences"] = {name: part.report() for name, part in self._sequences.items()}
        return report


class _Part:
    """All metrics of one set of frames: a sequence, or everything."""

    def __init__(self, class_names: tuple[str, ...], nsd_tau: float) -> None:
        self.pooled = PooledMetrics(class_names)
        self.framewise = FrameMetrics(len(class_names))
        self.boundary = BoundaryMetrics(len(class_names), nsd_tau)
        self.calibration = CalibrationMetrics()

    def add(self, measures: FrameMeasures) -> None:
        if measures.confusion is None:
            return
        self.pooled.add(measures.confusion)
        self.framewise.add(measures.confusion)
        if measures.nsd is not None and measures.hd95 is not None:
            self.boundary.add(measures.nsd, measures.hd95, measures.confusion)
        if measures.calibration is not None:
            self.calibration.add(measures.calibration)

    def report(self) -> dict[str, Any]:
        pooled = self.pooled.report()
        classes = pooled.pop("classes")
        nsd, hd95, miss_rate = self.boundary.nsd(), self.boundary.hd95(), self.boundary.miss_rate()
        for index, entry in enumerate(classes.values()):
            frames = entry.pop("frames")
            entry["nsd"] = to_json(nsd[index])
            entry["hd95"] = to_json(hd95[index])
            entry["miss_rate"] = to_json(miss_rate[index])
            entry["frames"] = frames
        return {
            **pooled,
            **self.framewise.report(),
            "ece": to_json(self.calibration.ece()),
            "nsd": to_json(mean_of_present(nsd)),
            "hd95": to_json(mean_of_present(hd95)),
            "classes": classes,
        }
