"""Expected calibration error: how far the stated confidence of pixels is from the share of them that is right.

ECE = sum over M equal-width bins of (pixels in bin / all pixels) x |mean correctness - mean confidence| (Guo et al.
2017, equation 3), over the confidence of the predicted class, pooled over all frames. Bins are ((m-1)/M, m/M].
"""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.evaluation.metrics import IGNORED, ByteArray, CountArray, FloatArray, MetricError

BINS = 15
"""M, as in Guo et al. 2017."""


class CalibrationMetrics:
    """Streaming ECE from confidence maps of one byte per pixel (probability x 255)."""

    def __init__(self) -> None:
        self._pixels: CountArray = np.zeros(256, np.int64)
        self._correct: CountArray = np.zeros(256, np.int64)

    def update(self, prediction: ByteArray, truth: ByteArray, confidence: ByteArray) -> None:
        """Add one frame.

        Args:
            prediction: class ids, uint8 (H, W). Pixels of value 255 carry no probability and are left out.
            truth: class ids, uint8 (H, W). Pixels of value 255 are left out.
            confidence: probability of the predicted class x 255, uint8 (H, W).

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
        table = np.bincount((confidence.astype(np.uint16) * 3 + outcome).ravel(), minlength=256 * 3).reshape(256, 3)
        self._pixels += table[:, 0] + table[:, 1]
        self._correct += table[:, 1]

    def reliability(self) -> tuple[FloatArray, FloatArray, CountArray]:
        """Mean confidence, mean correctness (NaN in empty bins) and pixels per bin: float64, float64, int64 (M,)."""
        level = np.arange(256)
        # ceil(level / 255 * M) - 1 in integers: exact at the edges of bins. Level 0 belongs to the first bin.
        of_bin = np.maximum((level * BINS + 254) // 255 - 1, 0)
        pixels = np.bincount(of_bin, self._pixels, BINS)
        means = []
        for total in (
            np.bincount(of_bin, self._pixels * (level / 255.0), BINS),
            np.bincount(of_bin, self._correct, BINS),
        ):
            mean = np.full(BINS, math.nan)
            np.divide(total, pixels, out=mean, where=pixels > 0)
            means.append(mean)
        return means[0], means[1], pixels.astype(np.int64)

    def ece(self) -> float:
        """Expected calibration error, 0 to 1; NaN without pixels."""
        confidence, correctness, pixels = self.reliability()
        total = pixels.sum()
        if not total:
            return math.nan
        used = pixels > 0
        return float((pixels[used] / total * np.abs(correctness - confidence)[used]).sum())
