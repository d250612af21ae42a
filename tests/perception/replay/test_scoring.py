"""Measures of frames: what they add up to, and that nobody's summing changes them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.metrics.confusion import MetricError
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.replay.scoring import FrameScorer, at_size
from clip_rl_perception.report.accuracy import accuracy_report
from clip_rl_perception.runs.run_record import FrameRecord, mask_hash, output_hash
from clip_rl_perception.sources.class_mapping import mapping_of_label_map, mapping_of_spaces
from clip_rl_perception.sources.truth_label_map import label_map_from_dict

TYPES = label_space_from_names(["background", "forceps", "scissors", "tissue"], instrument=[False, True, True, False])
BINARY = label_space_from_names(["background", "instrument"], name="binary")


def frames(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(mask, truth, confidence, rgb) of blocks that move; masks are wrong here and there."""
    random = np.random.default_rng(seed)
    made = []
    for step in range(count):
        truth = np.zeros((60, 80), np.uint8)
        truth[10:40, 10 + 2 * step : 30 + 2 * step] = 1
        truth[20:50, 50:60] = 2
        mask = truth.copy()
        mask[random.integers(0, 60, 200), random.integers(0, 80, 200)] = random.integers(0, 4, 200)
        truth[:, 78:] = 255
        confidence = random.integers(100, 256, truth.shape).astype(np.uint8)
        rgb = np.repeat(truth[..., None] * 60, 3, axis=2).astype(np.uint8)
        made.append((mask, truth, confidence, rgb))
    return made


def record(index: int, sequence: str, scored: object) -> FrameRecord:
    return FrameRecord(index, "/image", sequence, index * 40, "mask", measures=scored.measures)  # type: ignore[attr-defined]


def test_records_add_up_to_what_the_evaluator_says_of_the_pixels() -> None:
    scorer = FrameScorer(TYPES, mapping_of_spaces(TYPES, TYPES))
    evaluator = Evaluator(TYPES.names, temporal=True)
    records = []
    for part, sequence in enumerate(("a", "b")):
        for index, (mask, truth, confidence, rgb) in enumerate(frames(4, part)):
            records.append(record(index, sequence, scorer.score(sequence, mask, truth, confidence, rgb)))
            evaluator.update(mask, truth, confidence, sequence=sequence, rgb=rgb)
    report = accuracy_report(records, TYPES.names, 10.0)
    assert report == evaluator.report()
    assert report is not None and 0.5 < report["miou"] < 1
    assert set(report["sequences"]) == {"a", "b"}
    assert report["temporal_pairs"] == 6


def test_frames_left_out_change_no_other_frames_accuracy() -> None:
    """What an online run drops must not change what is said of the frames it kept."""
    made = frames(6)
    whole, kept = (FrameScorer(TYPES, mapping_of_spaces(TYPES, TYPES)) for _ in range(2))
    all_measures = [whole.score("t", *frame).measures for frame in made]
    for index in (0, 2, 5):
        again = kept.score("t", *made[index]).measures
        assert (again.confusion == all_measures[index].confusion).all()
        np.testing.assert_array_equal(again.nsd, all_measures[index].nsd)
        np.testing.assert_array_equal(again.hd95, all_measures[index].hd95)
        assert (again.calibration == all_measures[index].calibration).all()


def test_streams_do_not_mix_their_previous_frames() -> None:
    made = frames(3)
    apart, mixed = FrameScorer(TYPES, None), FrameScorer(TYPES, None)
    alone = [apart.score("left", mask, rgb=rgb).measures.temporal for mask, _, _, rgb in made]
    between = []
    for mask, _, _, rgb in made:
        between.append(mixed.score("left", mask, rgb=rgb).measures.temporal)
        mixed.score("right", 255 - mask * 0, rgb=255 - rgb)
    assert alone[0] is None and between[0] is None
    for one, other in zip(alone[1:], between[1:], strict=True):
        assert (one == other).all()
    mixed.reset("left")
    assert mixed.score("left", made[0][0], rgb=made[0][3]).measures.temporal is None


def test_frames_without_truth_have_consistency_alone() -> None:
    scorer = FrameScorer(TYPES, mapping_of_spaces(TYPES, TYPES))
    (mask, _, _, rgb), (later, later_truth, _, later_rgb) = frames(2)
    first = scorer.score("t", mask, None, None, rgb)
    assert first.truth is None and first.measures.confusion is None and math.isnan(first.measures.iou)
    second = scorer.score("t", later, later_truth, None, later_rgb).measures
    assert second.temporal is not None and second.temporal_truth is None  # the truth of one of the two is missing
    assert accuracy_report([record(0, "t", first)], TYPES.names, 10.0) is None


def test_other_classes_are_compared_as_instrument_or_not() -> None:
    mapping = mapping_of_spaces(TYPES, BINARY)
    assert mapping.names == ("background", "instrument") and "instrument or not" in mapping.note
    mask = np.array([[0, 1, 2, 3, 255]], np.uint8)
    truth = np.array([[0, 1, 0, 1, 1]], np.uint8)
    scored = FrameScorer(TYPES, mapping).score("t", mask, truth)
    # forceps and scissors are instruments, tissue is not, and outside the content area nothing is.
    assert scored.prediction.tolist() == [[0, 1, 1, 0, 255]]
    assert scored.measures.confusion is not None
    assert scored.measures.confusion.tolist() == [[1, 1], [2, 1]]
    assert scored.measures.iou == pytest.approx(1 / 4)


def test_label_map_merges_and_names_what_nobody_answers_to() -> None:
    label_map = label_map_from_dict(
        {"truth": {0: "background", 1: "tool", 2: "clip"}, "merge": {"tool": ["forceps", "scissors"]}}
    )
    mapping = mapping_of_label_map(TYPES, label_map)
    assert mapping.names == ("background", "tool", "clip") and mapping.unanswered == ("clip",)
    mask, truth = np.array([[1, 2, 3, 0]], np.uint8), np.array([[1, 1, 2, 0]], np.uint8)
    measures = FrameScorer(TYPES, mapping).score("t", mask, truth).measures
    assert measures.confusion is not None and measures.confusion.tolist() == [[1, 0, 0], [0, 2, 0], [1, 0, 0]]


def test_truth_of_another_size_is_refused() -> None:
    scorer = FrameScorer(TYPES, mapping_of_spaces(TYPES, TYPES))
    with pytest.raises(MetricError, match=r"\(4, 4\)"):
        scorer.score("t", np.zeros((5, 5), np.uint8), np.zeros((4, 4), np.uint8))


def test_hashes_tell_masks_sizes_and_places_apart() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert mask_hash(mask) == mask_hash(np.asfortranarray(mask)) == mask_hash(np.tile(mask, (1, 2))[:, :4])
    assert len({mask_hash(mask), mask_hash(mask.reshape(4, 3)), mask_hash(mask + 1)}) == 3
    records = [FrameRecord(i, "/a", "a", i, "mask", mask_sha256=mask_hash(mask + i)) for i in range(3)]
    whole = output_hash(records)
    assert whole is not None and output_hash(records[:2]) != whole != output_hash(records[::-1])
    dropped = dataclasses.replace(records[1], kind="dropped", mask_sha256=None)
    assert output_hash([records[0], dropped]) == output_hash(records[:1])
    assert output_hash([dropped]) is None


def test_masks_of_the_networks_size_are_brought_to_the_frames() -> None:
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    assert at_size(mask, (4, 4, 3)).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert at_size(mask, (2, 2)) is mask
