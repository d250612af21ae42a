"""Frame-wise metrics: every edge case by hand, and against slow transcriptions of the definitions on masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clip_rl_perception.metrics.confusion import MetricError, frame_confusion
from clip_rl_perception.metrics.frame_metrics import EPSILON, FrameMetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CLASSES = 4


def run(*frames: tuple[list[int], list[int]], classes: int = CLASSES) -> FrameMetrics:
    """Metrics over (prediction, truth) rows."""
    metrics = FrameMetrics(classes)
    for prediction, truth in frames:
        metrics.add(frame_confusion(np.array([prediction], np.uint8), np.array([truth], np.uint8), classes))
    return metrics


def test_false_class_counts_in_isi_but_not_in_challenge() -> None:
    # Class 1: I 2, U 3. Class 2 predicted only: IoU 0.
    metrics = run(([1, 1, 2, 0], [1, 1, 1, 0]))
    assert metrics.challenge_iou() == pytest.approx(2 / 3)
    assert metrics.isi_iou() == pytest.approx((2 / 3 + 0) / 2)
    assert metrics.mciou() == pytest.approx((2 / 3 + 0) / 2)
    assert metrics.isinet_miou() == pytest.approx((2 + 0) / (3 + 1))
    assert metrics.scene_iou() == pytest.approx(2 / 3)
    assert metrics.scene_dice() == pytest.approx(2 * 2 / (2 + 3))


def test_both_empty_frame_is_skipped() -> None:
    empty = ([0, 0], [0, 0])
    alone = run(empty)
    for value in (alone.challenge_iou(), alone.isi_iou(), alone.mciou(), alone.isinet_miou(), alone.scene_iou()):
        assert math.isnan(value)
    with_hit = run(empty, ([1, 0], [1, 1]))
    assert with_hit.challenge_iou() == with_hit.isi_iou() == with_hit.mciou() == 0.5
    assert with_hit.frames == 2


def test_empty_prediction_scores_zero_and_stays_out_of_pooled_sums() -> None:
    metrics = run(([0, 0, 0], [1, 2, 0]), ([1, 1, 0], [1, 1, 0]))
    assert metrics.challenge_iou() == pytest.approx((0 + 1) / 2)
    assert metrics.isi_iou() == pytest.approx((0 + 1) / 2)
    # Class 1: frames 0 and 1; class 2: 0.
    assert metrics.class_mean_iou()[1:3] == pytest.approx([1 / 2, 0])
    assert metrics.mciou() == pytest.approx((1 / 2 + 0) / 2)
    assert metrics.isinet_miou() == 1
    assert metrics.scene_iou() == pytest.approx(1 / 2)


def test_empty_truth_is_zero_for_isi_and_skipped_by_challenge() -> None:
    metrics = run(([3, 0], [0, 0]), ([1, 1], [1, 1]))
    assert metrics.challenge_iou() == 1
    assert metrics.isi_iou() == pytest.approx((0 + 1) / 2)
    assert metrics.class_mean_iou()[[1, 3]] == pytest.approx([1, 0])
    assert metrics.mciou() == pytest.approx(1 / 2)
    assert metrics.isinet_miou() == pytest.approx(2 / 3)
    assert metrics.scene_iou() == 1


def test_class_without_entry_is_left_out_of_mciou() -> None:
    metrics = run(([1, 0], [1, 0]))
    assert math.isnan(metrics.class_mean_iou()[2])
    assert metrics.mciou() == 1


def test_mciou_averages_classes_not_frames() -> None:
    metrics = run(([1], [1]), ([1], [1]), ([1], [1]), ([1], [2]))
    # Class 1: (1 + 1 + 1 + 0) / 4; class 2: 0.
    assert metrics.mciou() == pytest.approx((3 / 4 + 0) / 2)
    assert metrics.isi_iou() == pytest.approx(3 / 4)


def test_eps_miou_gives_absent_classes_one() -> None:
    metrics = run(([0, 0, 1, 1], [0, 1, 1, 1]), classes=12)
    background, instrument = 1 / 2, 2 / 3
    assert metrics.eps_miou() == pytest.approx((background + instrument + 10) / 12, abs=1e-6)
    # The formula of the file's header: (p m + K - p) / K.
    assert metrics.eps_miou() == pytest.approx((2 * (background + instrument) / 2 + 12 - 2) / 12, abs=1e-6)


def test_eps_miou_of_empty_frames_and_its_average_over_images() -> None:
    assert run(([0], [0])).eps_miou() == pytest.approx(1)
    missed = run(([0, 0], [0, 1]), classes=2)
    assert missed.eps_miou() == pytest.approx(((1 + EPSILON) / (2 + EPSILON) + EPSILON / (1 + EPSILON)) / 2)
    both = run(([0, 0], [0, 1]), ([0, 1], [0, 1]), classes=2)
    assert both.eps_miou() == pytest.approx((missed.eps_miou() + 1) / 2)


def test_no_frames_is_undefined_in_the_report() -> None:
    assert set(FrameMetrics(3).report().values()) == {None}


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(MetricError, match=r"confusion is \(3, 3\); expected \(4, 4\)"):
        FrameMetrics(4).add(np.zeros((3, 3), np.int64))
    with pytest.raises(MetricError, match="0 classes"):
        FrameMetrics(0)


masks = hnp.arrays(np.uint8, (3, 3), elements=st.sampled_from([0, 0, 1, 2, 3]))


def reference(frames: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | None]:
    """The definitions once more, on sets of pixels, frame by frame."""
    challenge, isi, scene_iou, scene_dice, eps = [], [], [], [], []
    entries: dict[int, list[float]] = {k: [] for k in range(1, CLASSES)}
    pooled = [0, 0]
    for prediction, truth in frames:
        g = [k for k in range(1, CLASSES) if (truth == k).any()]
        p = [k for k in range(1, CLASSES) if (prediction == k).any()]

        def parts(k: int, prediction: np.ndarray = prediction, truth: np.ndarray = truth) -> tuple[int, int]:
            return int(((prediction == k) & (truth == k)).sum()), int(((prediction == k) | (truth == k)).sum())

        def iou(k: int) -> float:
            return parts(k)[0] / parts(k)[1]

        eps.append(np.mean([(parts(k)[0] + EPSILON) / (parts(k)[1] + EPSILON) for k in range(CLASSES)]))
        if g:
            scene_iou.append(np.mean([iou(k) for k in g]))
            scene_dice.append(np.mean([2 * parts(k)[0] / ((prediction == k).sum() + (truth == k).sum()) for k in g]))
        if not p:
            if g:
                challenge.append(0)
                isi.append(0)
                for k in g:
                    entries[k].append(0)
            continue
        union = sorted(set(g) | set(p))
        isi.append(np.mean([iou(k) for k in union]))
        if g:
            challenge.append(np.mean([iou(k) for k in g]))
        for k in union:
            entries[k].append(iou(k))
            pooled[0] += parts(k)[0]
            pooled[1] += parts(k)[1]

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return {
        "challenge_iou": mean(challenge),
        "isi_iou": mean(isi),
        "mciou": mean([float(np.mean(values)) for values in entries.values() if values]),
        "isinet_miou": pooled[0] / pooled[1] if pooled[1] else None,
        "scene_iou": mean(scene_iou),
        "scene_dice": mean(scene_dice),
        "eps_miou": mean(eps),
    }


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(masks, masks), max_size=4))
def test_against_slow_definitions(frames: list[tuple[np.ndarray, np.ndarray]]) -> None:
    metrics = FrameMetrics(CLASSES)
    for prediction, truth in frames:
        metrics.add(frame_confusion(prediction, truth, CLASSES))
    expected = reference(frames)
    report = metrics.report()
    assert report.keys() == expected.keys()
    for name, value in expected.items():
        assert report[name] is None if value is None else report[name] == pytest.approx(value), name
