"""What looks say together, by hand: at one frame, over frames at rest and in motion, after cuts."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.looks.evidence import Evidence, EvidenceConfig, basis_of, carry, gather
from clip_rl_perception.looks.look import MIRRORS, PLAIN

CONFIG = EvidenceConfig()
SHAPE = (36, 44)


def says(probability: float | FloatArray) -> FloatArray:
    """Log-probabilities (2, h, w) of a look that gives class 1 this probability."""
    one = np.broadcast_to(np.float32(probability), SHAPE)
    return np.asarray(np.log(np.stack([1 - one, one])), np.float32)


def picture(shift: int = 0, seed: int = 3) -> ByteArray:
    spots = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
    canvas = cv2.resize(spots, (320, 320), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.asarray(canvas[60:132, 100 - shift : 188 - shift], np.uint8)[..., None], 3, axis=2)


def look_at(looked: list[FloatArray], shown: ByteArray, before: Evidence | None) -> Evidence:
    """The evidence of the next frame of a stream, 40 ms after the one before."""
    return gather(looked, shown, carry(before, 0.04, shown, CONFIG))


def entropy(probability: float) -> float:
    """Of two classes, bits."""
    return -probability * math.log2(probability) - (1 - probability) * math.log2(1 - probability)


def test_one_look_alone_is_passed_on_to_the_bit() -> None:
    look = says(0.3)
    evidence = look_at([look], picture(), None)
    np.testing.assert_array_equal(evidence.log_belief, look)
    assert evidence.looks == 1 and (evidence.weight == 1).all()


def test_looks_at_one_frame_are_averaged() -> None:
    evidence = look_at([says(0.2), says(0.6)], picture(), None)
    np.testing.assert_allclose(evidence.belief[1], 0.4, atol=1e-6)
    assert evidence.looks == 2 and (evidence.weight == 2).all()
    # Surer than the mean, by the power 2^0.2, and on the same side.
    odds = (0.4 / 0.6) ** (2**0.2)
    np.testing.assert_allclose(np.exp(evidence.log_belief[1]), odds / (1 + odds), atol=1e-5)
    np.testing.assert_allclose(np.exp(evidence.log_belief).sum(axis=0), 1, atol=1e-5)


def test_at_rest_earlier_looks_count_up_to_their_limit() -> None:
    evidence: Evidence | None = None
    for number in range(1, 12):
        evidence = look_at([says(0.9 if number == 1 else 0.1)], picture(), evidence)
        # The flow of a picture at rest is not zero to the last digit.
        np.testing.assert_allclose(np.median(evidence.weight), min(number, CONFIG.most_looks + 1), rtol=0.02)
        if number <= 6:
            mean = (0.9 + 0.1 * (number - 1)) / number
            np.testing.assert_allclose(np.median(evidence.belief[1]), mean, atol=0.01)
    assert evidence is not None and evidence.looks == 11
    assert np.median(evidence.belief[1]) < 0.2, "what was said once fades"


def test_evidence_moves_with_the_scene() -> None:
    here = np.full(SHAPE, 0.05, np.float32)
    here[10:20, 10:20] = 0.95
    before = look_at([says(here)], picture(), None)
    after = look_at([says(0.5)], picture(shift=8), before)  # 8 px of the picture are 4 nodes
    rows, columns = np.nonzero(after.belief[1] > 0.6)
    assert abs(rows.min() - 10) <= 1 and abs(rows.max() - 19) <= 1
    assert abs(columns.min() - 14) <= 1 and abs(columns.max() - 23) <= 1


def test_after_a_cut_nothing_is_left_of_the_scene_before() -> None:
    before = look_at([says(0.99)], picture(), None)
    look = says(0.2)
    after = look_at([look], picture(seed=9), before)
    np.testing.assert_array_equal(after.log_belief, look)
    assert after.looks == 1, "looks begin anew with the plain one"


@pytest.mark.parametrize("seconds", [-0.001, CONFIG.memory_s + 0.001])
def test_what_is_too_long_ago_or_of_the_future_does_not_count(seconds: float) -> None:
    before = look_at([says(0.3)], picture(), None)
    assert carry(before, seconds, picture(), CONFIG) is None
    assert carry(before, CONFIG.memory_s, picture(), CONFIG) is not None


def test_what_does_not_fit_in_a_part_counts_for_little_there() -> None:
    changed = picture()
    changed[:, 60:] = 255 - changed[:, 60:]
    before = look_at([says(0.99)], picture(), None)
    after = look_at([says(0.01)], changed, before)
    assert np.median(after.belief[1][:, 2:24]) == pytest.approx(0.5, abs=0.03)
    assert np.median(after.belief[1][:, 34:]) < 0.1


def test_a_hopeless_class_stays_finite() -> None:
    sure = np.stack([np.zeros(SHAPE), np.full(SHAPE, -4000.0)]).astype(np.float32)
    evidence = look_at([sure, sure], picture(), None)
    assert np.isfinite(evidence.log_belief).all() and (evidence.log_belief.argmax(axis=0) == 0).all()


def test_looks_that_say_the_same_do_not_disagree_and_sure_opposites_do_by_a_bit() -> None:
    assert look_at([says(0.3)] * 3, picture(), None).disagreement.max() < 1e-6
    opposite = look_at([says(1e-6), says(1 - 1e-6)], picture(), None)
    np.testing.assert_allclose(opposite.disagreement, 1, atol=1e-3)
    unequal = look_at([says(0.2), says(0.6)], picture(), None)
    np.testing.assert_allclose(unequal.disagreement, entropy(0.4) - (entropy(0.2) + entropy(0.6)) / 2, atol=1e-5)


def test_over_frames_disagreement_is_that_of_all_looks_as_they_count() -> None:
    """The divergence of the parts, added up frame by frame, is the divergence of the whole."""
    evidence: Evidence | None = None
    said = (0.1, 0.8, 0.3, 0.9)
    for probability in said:
        evidence = look_at([says(probability)], picture(), evidence)
    assert evidence is not None
    whole = entropy(float(np.mean(said))) - float(np.mean([entropy(probability) for probability in said]))
    np.testing.assert_allclose(np.median(evidence.disagreement), whole, rtol=0.05)
    one = look_at([says(0.5)], picture(), None)
    assert one.disagreement.max() == 0, "one look agrees with itself"


def test_moving_an_edge_makes_no_disagreement() -> None:
    """A sharp edge that moves by parts of a node is blurred on its way; no look ever disagreed with another."""
    evidence: Evidence | None = None
    for number in range(8):
        shown = np.asarray(cv2.warpAffine(picture(), np.float32([[1, 0, 0.6 * number], [0, 1, 0]]), (88, 72)), np.uint8)
        columns = np.broadcast_to(np.arange(SHAPE[1], dtype=np.float32), SHAPE)
        edge = np.clip(20 + 0.3 * number - columns, 0.02, 0.98).astype(np.float32)
        evidence = look_at([says(edge)], shown, evidence)
    assert evidence is not None
    assert evidence.disagreement[8:-8, 8:36].max() < 0.12


def test_age_is_the_mean_over_looks_as_they_count() -> None:
    first = look_at([says(0.3)], picture(), None)
    assert (first.age == 0).all()
    second = look_at([says(0.3)], picture(), first)
    np.testing.assert_allclose(np.median(second.age), 0.04 / 2, rtol=0.02)
    third = look_at([says(0.3)] * 2, picture(), second)
    np.testing.assert_allclose(np.median(third.age), (0.08 + 0.04) / 4, rtol=0.02)
    evidence = third
    for _ in range(30):
        evidence = look_at([says(0.3)], picture(), evidence)
    # Six old looks beside each new one: what is there ages by a frame and keeps six parts of seven.
    np.testing.assert_allclose(np.median(evidence.age), 0.04 * 6, rtol=0.05)


def test_what_a_frame_rests_on() -> None:
    inside = np.zeros(SHAPE, np.bool_)
    inside[4:-4, 4:-4] = True
    first = look_at([says(0.3)], picture(), None)
    alone = basis_of(first, [PLAIN], inside)
    assert (alone.looks, alone.memory_share, alone.memory_age_ms, alone.disagreement) == (("plain",), 0.0, 0.0, None)
    both = basis_of(look_at([says(0.3)], picture(), first), MIRRORS[1:2], inside)
    assert both.looks == ("up-down",)
    assert both.memory_share == pytest.approx(1 / 2, rel=0.02) and both.memory_age_ms == pytest.approx(40, rel=1e-4)
    assert both.disagreement == pytest.approx(0, abs=1e-5)
    two = basis_of(look_at([says(1e-6), says(1 - 1e-6)], picture(), None), MIRRORS[:2], inside)
    assert two.looks == ("plain", "up-down")
    assert two.disagreement == pytest.approx(1, abs=1e-3) and two.memory_share == 0
    half = first.weight.copy()
    half[:, 20:] = 0  # what lies outside of the content does not count
    seen = basis_of(look_at([says(0.3)], picture(), dataclasses.replace(first, weight=half)), [PLAIN], inside)
    assert seen.memory_share == pytest.approx(16 / 36 / 2, rel=0.05)


def test_equal_input_gives_equal_evidence() -> None:
    def run() -> Evidence:
        evidence: Evidence | None = None
        for number in range(5):
            look = says(np.random.default_rng(number).uniform(0.01, 0.99, SHAPE).astype(np.float32))
            evidence = look_at([look], picture(shift=2 * number), evidence)
        assert evidence is not None
        return evidence

    one, two = run(), run()
    np.testing.assert_array_equal(one.log_belief, two.log_belief)
    for name in ("weight", "age", "disagreement"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("seconds", [0.04, 0.1, 0.25, 0.4])
def test_what_earlier_looks_say_together_is_never_older_than_the_memory(seconds: float) -> None:
    """However slow the frames come; where many fit into the memory, as many as ever count."""
    evidence: Evidence | None = None
    for _ in range(20):
        carried = carry(evidence, seconds, picture(), CONFIG)
        if carried is not None:
            assert float(carried.age.max()) <= CONFIG.memory_s + 1e-4
        evidence = gather([says(0.7)], picture(), carried)
    assert carried is not None
    assert np.median(carried.weight) == pytest.approx(min(CONFIG.most_looks, CONFIG.memory_s / seconds - 1), rel=0.02)
