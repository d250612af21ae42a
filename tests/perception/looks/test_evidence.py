"""What looks say together, by hand: at one frame, over frames at rest and in motion, after cuts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.looks.evidence import Evidence, EvidenceConfig, carry, gather

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
    """The evidence of the next frame of a stream."""
    return gather(looked, shown, carry(before, shown, CONFIG))


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
    np.testing.assert_array_equal(one.weight, two.weight)
