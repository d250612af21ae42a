"""What one frame adds to every metric: counts and values that frames of any set can be summed from.

Measuring needs the pixels; everything after it (pooling, sequences, confidence intervals, comparing two runs) needs
only what stands here. So a frame is measured once, offline or online alike, and no result depends on who summed.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from clip_rl_perception.arrays import ByteArray, CountArray, DoubleArray
from clip_rl_perception.metrics.boundary import BoundaryMetrics
from clip_rl_perception.metrics.calibration_error import calibration_table
from clip_rl_perception.metrics.confusion import IGNORED, class_iou, frame_confusion, mean_of_present
from clip_rl_perception.metrics.temporal import FramePairs


@dataclasses.dataclass(frozen=True, eq=False)
class FrameMeasures:
    """One frame's contribution to all metrics; K evaluated classes, id 0 is the background."""

    confusion: CountArray | None = None
    """int64 (K, K), rows truth, columns prediction; None where the frame has no ground truth."""
    nsd: DoubleArray | None = None
    """Float64 (K,): NaN for a class in neither truth nor prediction; None unless measured."""
    hd95: DoubleArray | None = None
    """Float64 (K,), px: NaN for a class that is not in both; None unless measured."""
    calibration: CountArray | None = None
    """int64 (M, 3), see `calibration_error.calibration_table`; None without a confidence map or truth."""
    temporal: CountArray | None = None
    """int64 (K, K): the prediction against the previous one moved along the optical flow; None for a first frame."""
    temporal_truth: CountArray | None = None
    """The same for the ground truth; None unless both frames have one."""

    @property
    def iou(self) -> float:
        """Mean IoU over the foreground classes in truth or prediction (ISI IoU); NaN when there is none."""
        return mean_of_present(class_iou(self.confusion)[1:]) if self.confusion is not None else math.nan

    @property
    def pixels_wrong(self) -> float:
        """Share of counted pixels with the wrong class, 0 to 1; NaN when none is counted."""
        counted = int(self.confusion.sum()) if self.confusion is not None else 0
        return 1 - float(np.trace(self.confusion)) / counted if self.confusion is not None and counted else math.nan

    @property
    def mean_nsd(self) -> float:
        """Mean NSD over the foreground classes in truth or prediction; NaN when there is none."""
        return mean_of_present(self.nsd) if self.nsd is not None else math.nan

    @property
    def consistency(self) -> float:
        """Mean IoU of this prediction and the previous one moved along, over the classes that occur; NaN if unknown."""
        return mean_of_present(class_iou(self.temporal)) if self.temporal is not None else math.nan


class FrameMeter:
    """Measures the frames of one stream, in order."""

    def __init__(self, classes: int, *, nsd_tau: float = 10.0, boundary: bool = True, temporal: bool = True) -> None:
        """Start a stream.

        Args:
            classes: K, with the background.
            nsd_tau: tolerance of the NSD, px of the maps given.
            boundary: measure NSD and HD95 (about 10 ms per class and frame of 1280x1024).
            temporal: measure consistency with the previous frame (dense optical flow).

        Raises:
            MetricError: a negative tolerance.
        """
        self._classes = classes
        self._boundary = BoundaryMetrics(classes, nsd_tau) if boundary else None
        self._pairs = FramePairs(classes) if temporal else None
        self._had_truth = False

    def reset(self) -> None:
        """The next frame begins a new video: it forms no pair with the last one."""
        if self._pairs is not None:
            self._pairs.reset()

    def measure(
        self,
        prediction: ByteArray,
        truth: ByteArray | None = None,
        confidence: ByteArray | None = None,
        rgb: ByteArray | None = None,
    ) -> FrameMeasures:
        """Measure one frame.

        Args:
            prediction: class ids, uint8 (H, W); 255 counts as background.
            truth: class ids, uint8 (H, W); 255 is not counted. None: only temporal consistency is measured.
            confidence: calibrated probability of the predicted class x 255, uint8 (H, W); None: no calibration.
            rgb: the image, uint8 (H, W, 3); None: no temporal consistency.

        Raises:
            MetricError: shapes or dtypes that do not fit, values outside the classes.
        """
        confusion = nsd = hd95 = calibration = None
        if truth is not None:
            confusion = frame_confusion(prediction, truth, self._classes)
            if self._boundary is not None:
                nsd, hd95 = self._boundary.frame_values(prediction, truth, confusion)
            if confidence is not None:
                calibration = calibration_table(prediction, truth, confidence)
        temporal, temporal_truth = self._measure_pair(prediction, truth, rgb)
        return FrameMeasures(confusion, nsd, hd95, calibration, temporal, temporal_truth)

    def _measure_pair(
        self, prediction: ByteArray, truth: ByteArray | None, rgb: ByteArray | None
    ) -> tuple[CountArray | None, CountArray | None]:
        if self._pairs is None or rgb is None:
            return None, None
        both, self._had_truth = self._had_truth and truth is not None, truth is not None
        counts = self._pairs.measure(rgb, prediction, np.full_like(prediction, IGNORED) if truth is None else truth)
        if counts is None:
            return None, None
        return counts[0], counts[1] if both else None
