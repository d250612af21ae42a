"""The classifier of frames: its arithmetic by hand, and what is refused of stored ones."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.model.frame_classifier import (
    KINDS,
    ClassifierError,
    FrameClassifier,
    features,
    frame_classifier,
    softmax,
)

# Two numbers of an embedding, one measure.
BY_HAND = FrameClassifier(
    measures=("light",),
    mean=np.array([0.0, 1.0, 2.0], np.float32),
    std=np.array([1.0, 2.0, 0.5], np.float32),
    weights=np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -1]], np.float32),
    bias=np.array([0.0, 0.5, 1.0], np.float32),
)


def stored() -> dict[str, Any]:
    return json.loads(json.dumps(BY_HAND.to_dict()))  # type: ignore[no-any-return]


def test_probabilities_by_hand() -> None:
    """z = (2, -1, 3); logits 2, -1 + 0.5, 3 - 9 + 1."""
    found = BY_HAND.probabilities(np.array([2.0, -1.0], np.float32), np.array([3.5], np.float32))
    raised = np.exp([2.0, -0.5, -5.0])
    assert found == pytest.approx(raised / raised.sum())
    assert found.sum() == pytest.approx(1)


def test_inputs_far_outside_count_four_deviations() -> None:
    found = features(np.array([100.0, 1.0, -100.0], np.float32), BY_HAND.mean, BY_HAND.std, 1)
    assert found.tolist() == [4.0, 0.0, -4.0, 16.0]
    many = features(np.zeros((5, 4, 3), np.float32), BY_HAND.mean, BY_HAND.std, 1)
    assert many.shape == (5, 4, 4)


def test_large_logits_do_not_overflow() -> None:
    assert softmax(np.array([1e4, 0.0, -1e4], np.float32)).tolist() == [1.0, 0.0, 0.0]


def test_what_is_stored_is_what_was_fitted() -> None:
    again = frame_classifier(stored(), 2)
    for field in dataclasses.fields(FrameClassifier):
        assert np.array_equal(getattr(again, field.name), getattr(BY_HAND, field.name)), field.name


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weights", [[1, 2, 3, 4]] * 2, r"weights has shape \(2, 4\), expected \(3, 4\)"),
        ("weights", [[1, 2, 3, "x"]] * 3, "weights is not an array of numbers"),
        ("weights", None, "weights"),
        ("bias", [0, math.nan, 0], "bias holds values that are not finite"),
        ("bias", [0, 1e300, 0], "bias holds values that are not finite"),
        ("mean", [0, 1], r"mean has shape \(2,\)"),
        ("std", [1, 0, 1], "std must be positive"),
        ("std", [[1], [1, 2], [3]], "std is not an array of numbers"),
        ("kinds", list(reversed(KINDS)), "kinds are"),
        ("measures", "light", "measures are 'light'"),
        ("measures", ["light", "dark"], "mean has shape"),
    ],
)
def test_bad_ones_are_refused_in_one_line(name: str, value: object, said: str) -> None:
    with pytest.raises(ClassifierError, match=said) as caught:
        frame_classifier(stored() | {name: value}, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[], "text", 3])
def test_another_thing_is_no_classifier(value: object) -> None:
    with pytest.raises(ClassifierError, match="expected a table"):
        frame_classifier(value, 2)


def test_measures_of_another_version_are_named() -> None:
    BY_HAND.check_measures(["light"])
    with pytest.raises(ClassifierError, match="takes the measures light; this version has light, dark: fit another"):
        BY_HAND.check_measures(["light", "dark"])
