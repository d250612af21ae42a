"""Pooled metrics on frames whose counts were worked out by hand, and against a pixel-by-pixel reference."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from clip_rl_perception.metrics.confusion import (
    MetricError,
    PooledMetrics,
    class_dice,
    class_iou,
    frame_confusion,
    mean_of_present,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

NAMES = ("background", "shaft", "wrist")


def array(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_confusion_counts_truth_in_rows_and_prediction_in_columns() -> None:
    truth = array([0, 0, 1], [1, 2, 255])
    prediction = array([0, 1, 1], [0, 2, 1])
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert frame_confusion(prediction, truth, 3).tolist() == expected


def test_unlabelled_prediction_counts_as_background() -> None:
    assert frame_confusion(array([255, 255, 255]), array([0, 1, 255]), 2).tolist() == [[1, 0], [1, 0]]


def test_hand_computed_iou_and_dice() -> None:
    metrics = PooledMetrics(NAMES)
    metrics.update(array([0, 1, 1], [0, 2, 1]), array([0, 0, 1], [1, 2, 255]))
    # background: I 1, U 3; shaft: I 1, U 3; wrist: I 1, U 1.
    assert metrics.iou() == pytest.approx([1 / 3, 1 / 3, 1])
    assert metrics.dice() == pytest.approx([1 / 2, 1 / 2, 1])
    assert metrics.miou() == pytest.approx(5 / 9)
    assert metrics.miou(background=False) == pytest.approx(2 / 3)
    assert metrics.mean_dice() == pytest.approx(3 / 4)
    assert metrics.mean_dice(background=True) == pytest.approx(2 / 3)


def test_pooling_sums_pixels_before_dividing() -> None:
    metrics = PooledMetrics(("background", "instrument"))
    metrics.update(array([1, 1, 1, 1]), array([1, 1, 1, 1]))  # frame IoU 1
    metrics.update(array([0, 0, 1, 0]), array([1, 0, 0, 0]))  # frame IoU 0
    assert metrics.iou()[1] == pytest.approx(4 / 6)  # not the frame mean 1/2
    assert metrics.frames == 2
    assert metrics.frames_of_class.tolist() == [1, 2]


def test_class_in_neither_is_left_out_and_class_only_predicted_scores_zero() -> None:
    metrics = PooledMetrics(NAMES)
    metrics.update(array([0, 1]), array([0, 0]))
    assert metrics.iou()[1] == 0
    assert math.isnan(metrics.iou()[2])
    assert metrics.miou() == pytest.approx((1 / 2 + 0) / 2)
    assert metrics.miou(background=False) == 0


def test_all_background_has_no_foreground_mean() -> None:
    metrics = PooledMetrics(NAMES)
    metrics.update(array([0, 0]), array([0, 0]))
    assert metrics.miou() == 1
    assert math.isnan(metrics.miou(background=False))
    report = metrics.report()
    assert report["miou_no_background"] is None
    assert report["classes"]["wrist"] == {"iou": None, "dice": None, "frames": 0}
    json.dumps(report, allow_nan=False)


def test_nothing_seen_and_all_ignored_are_undefined_not_an_error() -> None:
    metrics = PooledMetrics(NAMES)
    assert metrics.report()["miou"] is None
    metrics.update(array([0, 1]), array([255, 255]))
    assert metrics.frames == 1
    assert metrics.report()["miou"] is None


def test_report_holds_the_named_keys() -> None:
    metrics = PooledMetrics(("background", "instrument"))
    metrics.update(array([0, 1]), array([0, 1]))
    assert metrics.report() == {
        "frames": 1,
        "miou": 1.0,
        "miou_no_background": 1.0,
        "dice": 1.0,
        "classes": {
            "background": {"iou": 1.0, "dice": 1.0, "frames": 1},
            "instrument": {"iou": 1.0, "dice": 1.0, "frames": 1},
        },
    }


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), r"prediction is \(2, 2\) but truth is \(2, 3\)"),
        (np.zeros((2, 2), np.int64), np.zeros((2, 2), np.uint8), r"prediction is int64 \(2, 2\); expected uint8"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), r"truth is uint8 \(2, 2, 3\); expected uint8"),
        (np.zeros((1, 2), np.uint8), array([0, 3]), r"truth holds value 3 in 1 pixels; expected 0..2 or 255"),
        (array([7, 7]), array([0, 0]), r"prediction holds value 7 in 2 pixels"),
        ([[0]], array([0]), r"prediction is list"),
    ],
)
def test_wrong_input_is_named(prediction: object, truth: object, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        PooledMetrics(NAMES).update(prediction, truth)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 255])
def test_number_of_classes_is_bounded(count: int) -> None:
    with pytest.raises(MetricError, match=f"{count} classes"):
        PooledMetrics(["c"] * count)


def test_most_classes_that_a_byte_can_hold() -> None:
    metrics = PooledMetrics([str(index) for index in range(254)])
    ids = np.arange(254, dtype=np.uint8)[None]
    metrics.update(ids, ids)
    assert metrics.miou() == 1


def test_merge_equals_one_stream_and_refuses_other_classes() -> None:
    random = np.random.default_rng(0)
    frames = [(random.integers(0, 3, (4, 5), np.uint8), random.integers(0, 3, (4, 5), np.uint8)) for _ in range(4)]
    whole, first, second = PooledMetrics(NAMES), PooledMetrics(NAMES), PooledMetrics(NAMES)
    for index, (prediction, truth) in enumerate(frames):
        whole.update(prediction, truth)
        (first if index < 2 else second).update(prediction, truth)
    first.merge(second)
    assert first.report() == whole.report()
    with pytest.raises(MetricError, match="cannot merge"):
        first.merge(PooledMetrics(("background",)))


ids = st.sampled_from([0, 1, 2, 3, 255])


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, (5, 4), elements=ids), hnp.arrays(np.uint8, (5, 4), elements=ids))
def test_against_pixel_by_pixel_sets(prediction: np.ndarray, truth: np.ndarray) -> None:
    confusion = frame_confusion(prediction, truth, 4)
    iou, dice = class_iou(confusion), class_dice(confusion)
    for k in range(4):
        predicted, true = set(), set()
        for place in np.ndindex(truth.shape):
            if truth[place] == 255:
                continue
            if (0 if prediction[place] == 255 else prediction[place]) == k:
                predicted.add(place)
            if truth[place] == k:
                true.add(place)
        if predicted | true:
            assert iou[k] == pytest.approx(len(predicted & true) / len(predicted | true))
            assert dice[k] == pytest.approx(2 * len(predicted & true) / (len(predicted) + len(true)))
        else:
            assert math.isnan(iou[k]) and math.isnan(dice[k])


def test_mean_of_present() -> None:
    assert mean_of_present(np.array([math.nan, 1.0, 0.5])) == 0.75
    assert math.isnan(mean_of_present(np.array([math.nan])))
