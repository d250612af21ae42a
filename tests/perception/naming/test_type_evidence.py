"""Log-odds of types: by hand, how they gather and fade, and who needs a look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clip_rl_perception.naming.type_evidence import TypeConfig, TypeEvidence, gathered, log_likelihoods, need

SECOND = 1_000_000_000
PLAIN = TypeConfig(temperature=1.0, correlation=1e-9, half_life_s=1e9)


def said(*probabilities: float) -> np.ndarray:
    return np.log(np.array(probabilities))


def test_log_likelihoods_by_hand() -> None:
    text = np.array([[1, 0], [0, 1]], np.float32)
    found = log_likelihoods(np.array([0.6, 0.8], np.float32), text, 10.0, TypeConfig(temperature=2.0))
    expected = np.array([3.0, 4.0])
    np.testing.assert_allclose(found, expected - np.log(np.exp(expected).sum()), rtol=1e-6)


def test_independent_looks_multiply() -> None:
    evidence = gathered(said(0.6, 0.3, 0.1), 0, None, PLAIN)
    np.testing.assert_allclose(evidence.probabilities(PLAIN), [0.6, 0.3, 0.1], rtol=1e-6)
    evidence = gathered(said(0.5, 0.25, 0.25), SECOND, evidence, PLAIN)
    expected = np.array([0.3, 0.075, 0.025])
    np.testing.assert_allclose(evidence.probabilities(PLAIN), expected / expected.sum(), rtol=1e-6)
    assert evidence.looks == 2


def test_looks_that_are_alike_say_no_more_than_one() -> None:
    same = TypeConfig(correlation=1.0, half_life_s=1e9)
    evidence = None
    for index in range(5):
        evidence = gathered(said(0.6, 0.3, 0.1), index, evidence, same)
    assert evidence is not None
    np.testing.assert_allclose(evidence.probabilities(same), [0.6, 0.3, 0.1], rtol=1e-6)


def test_old_looks_fade_and_new_ones_win() -> None:
    config = TypeConfig(correlation=1e-9, half_life_s=1.0)
    evidence = gathered(said(0.9, 0.1), 0, None, config)
    evidence = gathered(said(0.3, 0.7), 4 * SECOND, evidence, config)
    assert evidence.probabilities(config).argmax() == 1
    assert evidence.weight == pytest.approx(1 + 0.5**4)


def test_time_that_stands_still_or_goes_back_adds_no_fading() -> None:
    evidence = gathered(said(0.9, 0.1), SECOND, None, TypeConfig())
    later = gathered(said(0.9, 0.1), 0, evidence, TypeConfig())
    assert later.stamp_ns == SECOND and later.weight == 2


def test_one_type_is_certain_and_a_hundred_are_not() -> None:
    assert gathered(said(1.0), 0, None, PLAIN).probabilities(PLAIN).tolist() == [1.0]
    many = gathered(np.full(100, -math.log(100)), 0, None, PLAIN).probabilities(PLAIN)
    np.testing.assert_allclose(many, 0.01, rtol=1e-9)


def test_who_needs_a_look() -> None:
    config = TypeConfig(gap_s=0.1, sure=0.95, sure_gap_s=1.0)
    doubtful = TypeEvidence(said(0.5, 0.5), 1.0, 1, 0)
    likely = TypeEvidence(said(0.9, 0.1), 1.0, 1, 0)
    certain = TypeEvidence(said(0.99, 0.01), 1.0, 1, 0)
    now = SECOND // 5
    assert need(None, now, config) == math.inf
    assert need(doubtful, now, config) > need(likely, now, config) > 0
    assert need(certain, now, config) == 0 and need(certain, 2 * SECOND, config) > 0
    assert need(doubtful, SECOND // 20, config) == 0
    assert need(likely, 5 * SECOND, config) > need(doubtful, now, config)
