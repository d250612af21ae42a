"""Expected calibration error by hand and against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clip_rl_perception.metrics.calibration_error import BINS, CalibrationMetrics
from clip_rl_perception.metrics.confusion import MetricError


def row(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


def test_one_bin_by_hand() -> None:
    metrics = CalibrationMetrics()
    metrics.update(row(1, 1, 0, 0), row(1, 0, 0, 1), row(255, 255, 255, 255))
    assert metrics.ece() == pytest.approx(abs(2 / 4 - 1))


def test_two_bins_are_weighted_by_their_pixels() -> None:
    metrics = CalibrationMetrics()
    metrics.update(row(1, 1, 1), row(1, 1, 0), row(255, 255, 51))  # bins: 1.0 twice right; 0.2 once wrong
    assert metrics.ece() == pytest.approx(2 / 3 * 0 + 1 / 3 * 0.2)


def test_within_a_bin_over_and_underconfidence_cancel_as_defined() -> None:
    metrics = CalibrationMetrics()
    metrics.update(row(1, 1), row(1, 0), row(128, 128))  # half right at 0.502
    assert metrics.ece() == pytest.approx(128 / 255 - 0.5)


def test_edges_belong_to_the_bin_below_and_zero_to_the_first() -> None:
    # 17 = 255 / 15 is exactly the upper edge of the first bin.
    metrics = CalibrationMetrics()
    metrics.update(row(0, 0, 0), row(0, 0, 0), row(0, 17, 18))
    assert metrics.reliability()[2].tolist()[:3] == [2, 1, 0]


def test_ignored_truth_and_unlabelled_prediction_are_left_out() -> None:
    metrics = CalibrationMetrics()
    metrics.update(row(1, 255, 1), row(255, 0, 1), row(255, 0, 255))
    assert metrics.reliability()[2].sum() == 1
    assert metrics.ece() == 0


def test_nothing_counted_is_undefined() -> None:
    assert math.isnan(CalibrationMetrics().ece())


def test_wrong_confidence_is_named() -> None:
    with pytest.raises(MetricError, match=r"confidence is float32 \(1, 1\); expected uint8 \(1, 1\)"):
        CalibrationMetrics().update(row(1), row(1), np.ones((1, 1), np.float32))  # type: ignore[arg-type]


def test_stream_against_the_definition() -> None:
    random = np.random.default_rng(3)
    metrics = CalibrationMetrics()
    pixels: list[tuple[float, bool]] = []
    for _ in range(3):
        prediction, truth = random.integers(0, 3, (2, 7, 9), np.uint8)
        confidence = random.integers(0, 256, (7, 9), np.uint8)
        metrics.update(prediction, truth, confidence)
        pixels += list(zip((confidence.ravel() / 255).tolist(), (prediction == truth).ravel().tolist(), strict=True))
    expected = 0.0
    for m in range(1, BINS + 1):
        inside = [p for p in pixels if (m - 1) / BINS < p[0] <= m / BINS or (m == 1 and p[0] == 0)]
        if inside:
            gap = np.mean([right for _, right in inside]) - np.mean([c for c, _ in inside])
            expected += len(inside) / len(pixels) * abs(float(gap))
    assert metrics.ece() == pytest.approx(expected)
