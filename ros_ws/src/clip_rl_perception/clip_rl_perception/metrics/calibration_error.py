"""Expected calibration error: how far the stated confidence of pixels is from the share of them that is right.

ECE = sum over M equal-width bins of (pixels in bin / all pixels) x |mean correctness - mean confidence| (Guo et al.
2017, equation 3), over the confidence of the predicted class, pooled over all frames. Bins are ((m-1)/M, m/M].
"""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.arrays import ByteArray, CountArray, DoubleArray
from clip_rl_perception.metrics.confusion import IGNORED, MetricError

BINS = 15
"""M, as in Guo et al. 2017."""

# ceil(level / 255 * M) - 1 in integers: exact at the edges of bins. Level 0 belongs to the first bin.
_BIN_OF_LEVEL = np.maximum((np.arange(256) * BINS + 254) // 255 - 1, 0)


def calibration_table(prediction: ByteArray, truth: ByteArray, confidence: ByteArray) -> CountArray:
    """Count one frame's pixels by bin of confidence.

    Args:
        prediction: class ids, uint8 (H, W). Pixels of value 255 carry no probability and are left out.
        truth: class ids, uint8 (H, W). Pixels of value 255 are left out.
        confidence: probability of the predicted class x 255, uint8 (H, W).

    Returns:
        int64 (M, 3): pixels, pixels that are right, and the sum of their confidence levels 0 to 255. Tables of frames
        add up.

    Raises:
        MetricError: confidence of another dtype or shape.
    """
    if confidence.dtype != np.uint8 or confidence.shape != truth.shape:
        raise MetricError(
            f"confidence is {confidence.dtype} {confidence.shape}; expected uint8 {truth.shape}, probability x 255"
        )
    # (level, right or wrong) of every pixel in one histogram; excluded pixels go to a third column.
    outcome = (prediction == truth).astype(np.uint16)
    outcome[(truth == IGNORED) | (prediction == IGNORED)] = 2
    levels = np.bincount((confidence.astype(np.uint16) * 3 + outcome).ravel(), minlength=256 * 3).reshape(256, 3)
    pixels, correct = levels[:, 0] + levels[:, 1], levels[:, 1]
    table = np.zeros((BINS, 3), np.int64)
    for column, counts in enumerate((pixels, correct, pixels * np.arange(256))):
        np.add.at(table[:, column], _BIN_OF_LEVEL, counts)
    return table


class CalibrationMetrics:
    """Streaming ECE from confidence maps of one byte per pixel (probability x 255)."""

    def __init__(self) -> None:
        self._table: CountArray = np.zeros((BINS, 3), np.int64)

    def update(self, prediction: ByteArray, truth: ByteArray, confidence: ByteArray) -> None:
        """Add one frame; see `calibration_table`."""
        self.add(calibration_table(prediction, truth, confidence))

    def add(self, table: CountArray) -> None:
        """Add one frame's `calibration_table`, int64 (M, 3)."""
        self._table += table

    def reliability(self) -> tuple[DoubleArray, DoubleArray, CountArray]:
        """Mean confidence, mean correctness (NaN in empty bins) and pixels per bin: float64, float64, int64 (M,)."""
        pixels = self._table[:, 0]
        means = []
        for total in (self._table[:, 2] / 255.0, self._table[:, 1]):
            mean = np.full(BINS, math.nan)
            np.divide(total, pixels, out=mean, where=pixels > 0)
            means.append(mean)
        return means[0], means[1], pixels.copy()

    def ece(self) -> float:
        """Expected calibration error, 0 to 1; NaN without pixels."""
        confidence, correctness, pixels = self.reliability()
        total = pixels.sum()
        if not total:
            return math.nan
        used = pixels > 0
        return float((pixels[used] / total * np.abs(correctness - confidence)[used]).sum())
