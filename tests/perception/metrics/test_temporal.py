"""Temporal consistency on images whose motion is known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from clip_rl_perception.metrics.temporal import TemporalConsistency, backward_flow, warp_labels

NAMES = ("background", "instrument")


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    return cv2.GaussianBlur(cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)


def square(x: int, y: int) -> np.ndarray:
    labels = np.zeros((240, 320), np.uint8)
    labels[y : y + 60, x : x + 60] = 1
    return labels


def shifted(image: np.ndarray, x: int, y: int) -> np.ndarray:
    return np.roll(image, (y, x), (0, 1))


def test_flow_finds_a_known_shift() -> None:
    before = cv2.cvtColor(texture(), cv2.COLOR_RGB2GRAY)
    now = shifted(before, 6, 3)
    flow, certain = backward_flow(before, now)
    middle = np.s_[40:200, 40:280]
    assert np.median(flow[middle][..., 0]) == pytest.approx(-6, abs=0.3)
    assert np.median(flow[middle][..., 1]) == pytest.approx(-3, abs=0.3)
    assert certain[middle].mean() > 0.9


def test_warping_takes_labels_along() -> None:
    flow = np.zeros((240, 320, 2), np.float32)
    flow[..., 0], flow[..., 1] = -6, -3
    assert (warp_labels(square(100, 80), flow) == square(106, 83)).all()


def test_a_prediction_that_moves_with_the_image_is_consistent_and_one_that_stays_is_not() -> None:
    moving, staying = TemporalConsistency(NAMES), TemporalConsistency(NAMES)
    for step in range(4):
        image, truth = shifted(texture(), 6 * step, 0), square(80 + 6 * step, 80)
        moving.update(image, truth, truth)
        staying.update(image, square(80, 80), truth)
    assert moving.pairs == staying.pairs == 3
    assert moving.consistency() > 0.95
    assert staying.truth_consistency() > 0.95
    # 60 px squares displaced by 6 px: instrument IoU about 54 / 66.
    assert staying.consistency() < moving.consistency() - 0.05


def test_flicker_lowers_consistency() -> None:
    flicker = TemporalConsistency(NAMES)
    for step in range(4):
        labels = square(80, 80) if step % 2 else np.zeros((240, 320), np.uint8)
        flicker.update(texture(), labels, square(80, 80))
    assert flicker.consistency() < 0.55
    assert flicker.truth_consistency() == pytest.approx(1)


def test_no_pairs_without_a_second_frame_after_reset_or_at_another_size() -> None:
    metric = TemporalConsistency(NAMES)
    metric.update(texture(), square(80, 80), square(80, 80))
    assert math.isnan(metric.consistency())
    metric.reset()
    metric.update(texture(), square(80, 80), square(80, 80))
    metric.update(texture()[:200], square(80, 80)[:200], square(80, 80)[:200])
    assert metric.pairs == 0


def test_ignored_pixels_are_left_out_of_both() -> None:
    truth, prediction = square(80, 80), square(80, 80)
    truth[:, 160:] = prediction[:, 160:] = 255
    metric = TemporalConsistency(NAMES)
    metric.update(texture(), prediction, truth)
    metric.update(texture(), prediction, truth)
    assert metric.consistency() == metric.truth_consistency() == 1


def test_large_frames_are_compared_at_flow_size() -> None:
    metric = TemporalConsistency(NAMES)
    image = cv2.resize(texture(), (1280, 960))
    labels = cv2.resize(square(80, 80), (1280, 960), interpolation=cv2.INTER_NEAREST)
    metric.update(image, labels, labels)
    metric.update(image, labels, labels)
    assert metric.consistency() == pytest.approx(1)
