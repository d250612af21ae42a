"""Scores of tags over many frames: by hand, against pycocotools, and against numbers that TrackEval gave."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.metrics.instance_scores import average_precision, instance_scores
from clip_rl_perception.metrics.keypoint_scores import keypoint_scores
from clip_rl_perception.metrics.roc import roc_area
from clip_rl_perception.metrics.tag_evaluator import TagEvaluator
from clip_rl_perception.metrics.tag_measures import KeypointOffset, Overlap, TagMeasures, box_iou
from clip_rl_perception.metrics.tracking_scores import TrackedFrame, count_sequence, no_counts
from clip_rl_perception.metrics.type_scores import NamedMatch, type_scores


def overlap(rows: list[list[float]], excused: list[bool] | None = None) -> Overlap:
    iou = np.array(rows, np.float64)
    return Overlap(iou, np.array(excused if excused is not None else [False] * iou.shape[1], np.bool_))


def test_instances_by_hand() -> None:
    frames = [
        (overlap([[0.8, 0.0, 0.0], [0.0, 0.6, 0.0]]), np.array([0.9, 0.4, 0.7])),
        (overlap([[0.3, 0.0]], [False, True]), np.array([0.5, 0.6])),
    ]
    scores = instance_scores(frames)
    assert {key: scores[key] for key in ("instruments", "tags", "found")} == {"instruments": 3, "tags": 4, "found": 2}
    assert scores["recall"] == pytest.approx(2 / 3) and scores["precision"] == pytest.approx(1 / 2)
    # PQ: IoU 0.8 + 0.6 over 2 matches + half of 2 wrong tags + half of 1 instrument not found.
    assert scores["pq"] == pytest.approx(1.4 / 3.5) == pytest.approx(scores["sq"] * scores["rq"])
    # By confidence: right (0.9), wrong (0.7), wrong (0.5), right (0.4): precision 1 to recall 1/3, 1/2 to 2/3, then 0.
    assert scores["ap50"] == pytest.approx((34 * 1 + 33 * 0.5) / 101)


def test_nothing_is_undefined_rather_than_wrong() -> None:
    assert instance_scores([]) == {
        "instruments": 0, "tags": 0, "found": 0, "recall": None, "precision": None,
        "ap50": None, "pq": None, "sq": None, "rq": None,
    }  # fmt: skip
    missed = instance_scores([(overlap([[], []]), np.zeros(0))])
    assert (missed["recall"], missed["precision"], missed["ap50"], missed["pq"]) == (0, None, 0, 0)


def coco_ap(frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """AP at IoU 0.5 by pycocotools of frames of (true boxes, boxes, confidences)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, told = [], []
    for image, (boxes, found, confidences) in enumerate(frames, start=1):
        truth += [{"image_id": image, "category_id": 1, "bbox": box.tolist(), "area": 1000.0} for box in boxes]
        told += [
            {"image_id": image, "category_id": 1, "bbox": box.tolist(), "score": float(score)}
            for box, score in zip(found, confidences, strict=True)
        ]
    data: dict[str, Any] = {
        "images": [{"id": image} for image in range(1, len(frames) + 1)],
        "categories": [{"id": 1}],
        "annotations": [{"id": place, "iscrowd": 0, **entry} for place, entry in enumerate(truth, start=1)],
    }
    coco = COCO()
    coco.dataset = data
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(told), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][0, :, 0, 0, 2].mean())


@pytest.mark.parametrize("seed", range(5))
def test_ap_is_that_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(30):
        boxes = np.column_stack([rng.integers(0, 60, (4, 2)), rng.integers(20, 50, (4, 2))])[: rng.integers(1, 5)]
        near = boxes + rng.integers(-8, 9, boxes.shape)
        more = np.column_stack([rng.integers(0, 60, (3, 2)), rng.integers(10, 50, (3, 2))])[: rng.integers(0, 4)]
        found = np.concatenate([near, more]).astype(np.float64)
        frames.append((boxes.astype(np.float64), found, np.round(rng.random(len(found)), 2)))
    ours = average_precision(
        [
            (Overlap(box_iou(boxes, found), np.zeros(len(found), np.bool_)), confidences)
            for boxes, found, confidences in frames
        ]
    )
    assert 0.3 < ours < 0.9
    assert ours == pytest.approx(coco_ap(frames), abs=1e-9)


def test_of_two_instruments_under_one_tag_pycocotools_takes_the_last() -> None:
    boxes = np.array([[0, 0, 10, 10], [10, 0, 10, 10]], np.float64)
    found, confidences = np.array([[0, 0, 20, 10], [0, 0, 10, 10]], np.float64), np.array([0.9, 0.8])
    ours = average_precision([(Overlap(box_iou(boxes, found), np.zeros(2, np.bool_)), confidences)])
    assert ours == pytest.approx(coco_ap([(boxes, found, confidences)])) == 1


def frame(truths: list[int], tracks: list[int], rows: list[list[float]]) -> TrackedFrame:
    return TrackedFrame(
        np.array(truths), np.array(tracks), np.array(rows, np.float64).reshape(len(truths), len(tracks))
    )


def test_a_perfect_track_and_none() -> None:
    perfect = count_sequence([frame([4, 9], [1, 2], [[1, 0], [0, 1]])] * 5).report()
    assert perfect == {
        "hota": 1, "deta": 1, "assa": 1, "idf1": 1, "matches": 10, "switches": 0, "switches_per_500": 0,
        "instruments": 2, "identities": 2, "identities_per_instrument": 1,
    }  # fmt: skip
    nothing = count_sequence([frame([4], [], [])] * 5).report()
    assert (nothing["hota"], nothing["idf1"], nothing["matches"], nothing["identities_per_instrument"]) == (
        0,
        0,
        0,
        None,
    )
    assert no_counts().report()["hota"] is None
    assert count_sequence([frame([], [], [])]).report()["idf1"] is None


def test_a_track_cut_in_two_by_hand() -> None:
    frames = [frame([1], [7], [[1]])] * 3 + [frame([1], [], [])] + [frame([1], [8], [[1]])] * 2
    report = count_sequence(frames).report()
    # Detection: 5 of 6. Association: three matches of 3 / (6 + 3 - 3), two of 2 / (6 + 2 - 2).
    assert report["deta"] == pytest.approx(5 / 6)
    assert report["assa"] == pytest.approx((3 * 3 / 6 + 2 * 2 / 6) / 5)
    assert report["hota"] == pytest.approx(math.sqrt(5 / 6 * 13 / 30))
    assert report["idf1"] == pytest.approx(3 / (3 + (3 + 2) / 2))
    assert (report["matches"], report["switches"]) == (5, 1) and report["switches_per_500"] == pytest.approx(100)
    assert (report["identities"], report["identities_per_instrument"]) == (2, 2)


def made_up(seed: int) -> list[TrackedFrame]:
    """Six instruments and nine tracks that come and go; legacy generator, whose numbers never change."""
    rng = np.random.RandomState(seed)
    frames = []
    for _ in range(30):
        truths = np.sort(rng.permutation(6)[: rng.randint(0, 5)]) + 1
        tracks = np.sort(rng.permutation(9)[: rng.randint(0, 6)]) + 3
        shape = len(truths), len(tracks)
        near = tracks[None] % 6 + 1 == truths[:, None]
        frames.append(
            TrackedFrame(truths, tracks, np.where(near, 0.3 + 0.7 * rng.rand(*shape), 0.7 * rng.rand(*shape) ** 2))
        )
    return frames


@pytest.mark.parametrize(
    ("seeds", "hota", "deta", "assa", "idf1", "matches", "switches"),
    [
        ((0, 1, 2), 0.1278618352299328, 0.17820725943077534, 0.10094510194850964, 0.1670886075949367, 65, 39),
        ((3, 4, 5), 0.1554671855418377, 0.2041147717064619, 0.1279951250478437, 0.2200488997555012, 80, 49),
    ],
)
def test_scores_are_those_of_trackeval(
    seeds: tuple[int, ...], hota: float, deta: float, assa: float, idf1: float, matches: int, switches: int
) -> None:
    """HOTA, Identity and CLEAR of TrackEval 1.3.0 (PyPI), sequences combined by itself."""
    counts = no_counts()
    for seed in seeds:
        counts += count_sequence(made_up(seed))
    report = counts.report()
    assert [report[name] for name in ("hota", "deta", "assa", "idf1")] == pytest.approx([hota, deta, assa, idf1])
    assert (report["matches"], report["switches"]) == (matches, switches)


def test_keypoints_by_hand() -> None:
    offsets = [("tip", 2.0, 100.0), ("tip", 4.0, 100.0), ("tip", 10.0, 200.0), ("tip", math.nan, 100.0)]
    scores = keypoint_scores([*offsets, ("wrist", math.nan, 100.0)])
    assert scores["tip"] == pytest.approx(
        {
            "visible": 4, "missed": 0.25, "median_px": 4, "p90_px": 8.8, "median_percent": 4, "p90_percent": 4.8,
            "near": 0.5,
        }
    )  # fmt: skip
    assert scores["wrist"]["missed"] == 1 and scores["wrist"]["median_px"] is None and scores["wrist"]["near"] == 0
    assert keypoint_scores([]) == {}


def test_types_by_hand() -> None:
    matches = [
        NamedMatch(("a", 1), 0.0, "bipolar-forceps", "unknown"),
        NamedMatch(("a", 2), 0.0, "clip-applier", "Clip Applier"),
        NamedMatch(("a", 1), 1.0, "bipolar-forceps", "clip applier"),
        NamedMatch(("a", 1), 2.0, "bipolar-forceps", "bipolar forceps"),
        NamedMatch(("b", 1), 2.0, "bipolar-forceps", ""),
    ]
    scores = type_scores(matches, tracks=True)
    assert scores["tags"] == {"count": 5, "right": 0.4}
    # The last answer of a track counts: two of three are right, the one of two seconds is.
    assert scores["tracks"] == {"count": 3, "right": pytest.approx(2 / 3)}
    assert scores["long_tracks"] == {"count": 1, "right": 1}
    assert scores["majority"] == 0.8 and scores["chance"] == 0.5
    assert scores["confusion"] == {
        "bipolar forceps": {"(nothing)": 1, "bipolar forceps": 1, "clip applier": 1, "unknown": 1},
        "clip applier": {"clip applier": 1},
    }
    assert "tracks" not in type_scores(matches, tracks=False)
    assert type_scores([], tracks=True)["tags"] == {"count": 0, "right": None}


def test_roc_area_by_hand() -> None:
    assert roc_area([3, 4, 5], [1, 2]) == 1
    assert roc_area([1, 2], [3, 4, 5]) == 0
    assert roc_area([1, 3], [2, 2]) == 0.5
    assert roc_area([1, 2, 3], [2, 0]) == pytest.approx((1 + 1.5 + 2) / 6)
    assert math.isnan(roc_area([], [1]))


def measures(truths: list[int], tracks: list[int], rows: list[list[float]], stamp_s: float) -> TagMeasures:
    iou = np.array(rows, np.float64).reshape(len(truths), len(tracks))
    return TagMeasures(
        truths=np.array(truths),
        tracks=np.array(tracks),
        confidences=np.full(len(tracks), 0.5),
        boxes=Overlap(iou, np.zeros(len(tracks), np.bool_)),
        masks=None,
        true_types=("forceps",) * len(truths),
        types=("forceps",) * len(tracks),
        keypoints=tuple(KeypointOffset("tip", 3.0) for _ in truths),
        diagonal=100.0,
        stamp_s=stamp_s,
    )


def test_the_evaluator_tells_all_and_each_sequence() -> None:
    evaluator = TagEvaluator(video=True)
    for sequence in ("a", "b"):
        evaluator.add(measures([1], [5], [[0.75]], 0.0), sequence=sequence)
    evaluator.add(measures([1], [6], [[0.75]], 2.0), sequence="b")
    evaluator.add(measures([1], [6, 9], [[0.75, 0.0]], 4.0), sequence="b")
    report = evaluator.report()
    assert report["frames"] == len(evaluator) == 4 and report["masks"] is None
    assert report["boxes"]["recall"] == 1 and report["boxes"]["precision"] == pytest.approx(4 / 5)
    # The instruments of two sequences, and their tracks, are different ones, whatever their numbers.
    tracking = report["boxes"]["tracking"]
    assert (tracking["instruments"], tracking["identities"], tracking["switches"]) == (2, 4, 1)
    assert report["sequences"]["a"]["boxes"]["tracking"]["idf1"] == 1
    assert report["sequences"]["b"]["boxes"]["tracking"]["idf1"] == pytest.approx(2 / (2 + 3 / 2))
    assert report["keypoints"]["tip"]["visible"] == 4
    assert report["types"]["tracks"]["count"] == 3 and report["types"]["long_tracks"] == {"count": 1, "right": 1}
    assert "tracking" not in TagEvaluator(video=False).report()["boxes"]
