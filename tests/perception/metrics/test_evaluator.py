"""The evaluator's report: form, sequences, worst frames, and agreement with the single metrics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from clip_rl_perception.metrics.confusion import MetricError
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.metrics.sarrarp50_score import SarRarp50Score

NAMES = ("background", "instrument", "thread")


def picture(instrument: slice, thread: slice = slice(0, 0)) -> np.ndarray:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, instrument] = 1
    labels[2, thread] = 2
    return labels


def test_report_has_the_form_that_consumers_rely_on() -> None:
    evaluator = Evaluator(NAMES)
    truth = picture(slice(0, 10))
    evaluator.update(truth, truth, np.full_like(truth, 255), sequence="a", frame="0")
    report = evaluator.report()
    json.dumps(report, allow_nan=False)
    scalars = ("miou", "miou_no_background", "challenge_iou", "isi_iou", "mciou", "dice", "eps_miou")
    assert [report[name] for name in scalars] == [1] * len(scalars)
    assert report["frames"] == 1 and report["ece"] == 0
    assert set(report["classes"]) == set(NAMES)
    entry = {"iou": 1.0, "dice": 1.0, "nsd": 1.0, "hd95": 0.0, "miss_rate": 0.0, "frames": 1}
    assert report["classes"]["instrument"] == entry
    assert report["classes"]["thread"] == {**dict.fromkeys(entry), "frames": 0}
    assert report["sequences"]["a"]["classes"] == report["classes"]
    assert report["sarrarp50"] == {"miou": 1, "mnsd": 1, "score": 1}


def test_hand_computed_over_two_sequences() -> None:
    evaluator = Evaluator(NAMES, nsd_tau=1)
    evaluator.update(picture(slice(0, 10)), picture(slice(0, 10)), sequence="a", frame="0")
    evaluator.update(picture(slice(0, 5)), picture(slice(0, 10)), sequence="b", frame="0")
    report = evaluator.report()
    assert report["classes"]["instrument"]["iou"] == pytest.approx(150 / 200)
    assert report["sequences"]["a"]["classes"]["instrument"]["iou"] == 1
    assert report["sequences"]["b"]["classes"]["instrument"]["iou"] == pytest.approx(1 / 2)
    assert report["challenge_iou"] == pytest.approx(3 / 4)
    assert report["dice"] == pytest.approx(300 / 350)
    assert report["ece"] is None


def test_no_frames() -> None:
    report = Evaluator(NAMES).report()
    json.dumps(report, allow_nan=False)
    assert report["frames"] == 0 and report["miou"] is None and report["sequences"] == {}


def test_unlabelled_prediction_is_background() -> None:
    evaluator = Evaluator(NAMES)
    prediction = picture(slice(0, 10))
    prediction[15:] = 255
    evaluator.update(prediction, picture(slice(0, 10)))
    assert evaluator.report()["miou"] == 1


def test_worst_frames_are_ordered_and_empty_ones_left_out() -> None:
    evaluator = Evaluator(NAMES)
    nothing = np.zeros((20, 20), np.uint8)
    evaluator.update(picture(slice(0, 10)), picture(slice(0, 10)), sequence="s", frame="good")
    evaluator.update(picture(slice(0, 4)), picture(slice(0, 10)), sequence="s", frame="bad")
    evaluator.update(nothing, picture(slice(0, 2)), sequence="s", frame="missed")
    evaluator.update(nothing, picture(slice(0, 8)), sequence="s", frame="missed more")
    evaluator.update(nothing, nothing, sequence="s", frame="empty")
    assert [score.frame for score in evaluator.worst(3)] == ["missed more", "missed", "bad"]
    assert len(evaluator.worst(99)) == 4
    assert math.isnan(evaluator.scores[-1].iou) and evaluator.scores[-1].pixels_wrong == 0


def test_boundary_can_be_left_out() -> None:
    evaluator = Evaluator(NAMES, boundary=False)
    evaluator.update(picture(slice(0, 10)), picture(slice(0, 10)))
    report = evaluator.report()
    assert report["classes"]["instrument"]["nsd"] is None and report["nsd"] is None
    assert report["classes"]["instrument"]["iou"] == 1


def test_temporal_pairs_do_not_cross_sequences() -> None:
    random = np.random.default_rng(0)
    evaluator = Evaluator(NAMES, temporal=True)
    rgb = random.integers(0, 256, (64, 64, 3), np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    for sequence in ("a", "a", "b", "b", "b"):
        evaluator.update(labels, labels, sequence=sequence, rgb=rgb)
    report = evaluator.report()
    assert report["temporal_pairs"] == 3
    assert report["temporal_consistency"] == report["temporal_consistency_truth"] == 1


def test_errors_name_the_frame() -> None:
    with pytest.raises(MetricError, match="seq_1 frame007: prediction holds value 3"):
        Evaluator(NAMES).update(
            np.full((2, 2), 3, np.uint8), np.zeros((2, 2), np.uint8), sequence="seq_1", frame="frame007"
        )


def test_sarrarp50_counts_absent_classes_as_one_and_videos_alike() -> None:
    score = SarRarp50Score()
    half = np.array([[0, 0, 0], [1, 1, 0], [0, 0, 0]], np.int64)  # class 1: IoU 1/2; class 2 absent: 1
    wrong = np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0]], np.int64)  # class 1 absent: 1; class 2 only predicted: 0
    nan = math.nan
    score.add("a", half, np.array([nan, 0.25, nan]))
    score.add("a", half, np.array([nan, 0.25, nan]))
    score.add("b", wrong, np.array([nan, nan, 0.0]))
    report = score.report()
    assert report["miou"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert report["mnsd"] == pytest.approx((0.625 + 0.5) / 2)
    assert report["score"] == pytest.approx(math.sqrt(0.625 * 0.5625))
    assert SarRarp50Score().report()["score"] is None
