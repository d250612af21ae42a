"""What a frame shows, by plain logistic regression on its embedding and simple measures: a few hundred products."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clip_rl_perception.arrays import DoubleArray, FloatArray
from clip_rl_perception.errors import ClipRlError

KINDS = ("surgery", "out_of_body", "out_of_distribution")
"""What a frame can show, in the order of the probabilities: the inside of a body; what else a camera sees (room, drape,
hands, trocar); no camera's picture at all, or nothing like the training images (screen, text, test picture, noise)."""
SURGERY, OUT_OF_BODY, OUT_OF_DISTRIBUTION = range(3)

_FARTHEST = 4.0
"""Inputs count at most so many standard deviations from their mean: a line does not go on for ever."""


class ClassifierError(ClipRlError, ValueError):
    """A classifier cannot be used; one line."""


@dataclasses.dataclass(frozen=True)
class FrameClassifier:
    """Multinomial logistic regression (Bishop 2006, section 4.3.4).

    ``p = softmax(W f + b)``. With z the standardised inputs (a unit embedding (D,), then measures (M,)), cut at 4, f
    is z and the squares of its last M, so that a measure may be too small and too large.
    """

    measures: tuple[str, ...]
    """Names of the M measures, in order."""
    mean: FloatArray
    """Of the inputs over what was fitted, (D + M,)."""
    std: FloatArray
    """Their standard deviation, (D + M,), positive."""
    weights: FloatArray
    """W, (3, D + 2 M); rows as `KINDS`."""
    bias: FloatArray
    """b, (3,)."""

    def probabilities(self, embedding: FloatArray, measures: FloatArray) -> DoubleArray:
        """Probability of each of `KINDS`, (3,), sum 1, for an embedding (D,) and measures (M,)."""
        inputs = np.concatenate([embedding, measures])
        return softmax(self.weights @ features(inputs, self.mean, self.std, len(measures)) + self.bias)

    def check_measures(self, known: Sequence[str]) -> None:
        """Raise `ClassifierError` unless it takes these measures, in this order."""
        if self.measures != tuple(known):
            raise ClassifierError(
                f"the checkpoint's classifier takes the measures {', '.join(self.measures)}; this version has "
                f"{', '.join(known)}: fit another with: clip-rl validity fit"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "kinds": list(KINDS),
            "measures": list(self.measures),
            "mean": _rounded(self.mean),
            "std": _rounded(self.std),
            "weights": [_rounded(row) for row in self.weights],
            "bias": _rounded(self.bias),
        }


def features(inputs: FloatArray, mean: FloatArray, std: FloatArray, measures: int) -> FloatArray:
    """What the regression is linear in, (..., D + 2 M), of inputs (..., D + M) of which the last M are measures."""
    standard = np.clip((inputs - mean) / std, -_FARTHEST, _FARTHEST)
    squares = np.square(standard[..., standard.shape[-1] - measures :])
    return np.concatenate([standard, squares], axis=-1)


def softmax(logits: FloatArray | DoubleArray) -> DoubleArray:
    """Probabilities (..., K) of logits (..., K)."""
    raised = np.exp((logits - logits.max(axis=-1, keepdims=True)).astype(np.float64))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def frame_classifier(stored: Any, embedding_dim: int) -> FrameClassifier:
    """A classifier from plain data.

    Args:
        stored: as `FrameClassifier.to_dict` makes it.
        embedding_dim: D.

    Raises:
        ClassifierError: something is missing, of another shape, not finite, or of other kinds; one line.
    """
    if not isinstance(stored, Mapping):
        raise ClassifierError(f"it is a {type(stored).__name__}, expected a table")
    if stored.get("kinds") != list(KINDS):
        raise ClassifierError(f"kinds are {stored.get('kinds')}, expected {list(KINDS)}")
    measures = stored.get("measures")
    if not isinstance(measures, list) or not all(isinstance(name, str) for name in measures):
        raise ClassifierError(f"measures are {measures!r}, expected a list of names")
    inputs = embedding_dim + len(measures)
    mean, std = _array(stored, "mean", (inputs,)), _array(stored, "std", (inputs,))
    if not (std > 0).all():
        raise ClassifierError("std must be positive")
    weights = _array(stored, "weights", (len(KINDS), inputs + len(measures)))
    return FrameClassifier(tuple(measures), mean, std, weights, _array(stored, "bias", (len(KINDS),)))


def _array(stored: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> FloatArray:
    try:
        with np.errstate(over="ignore"):  # told below
            array = np.asarray(stored.get(name), np.float32)
    except (TypeError, ValueError, OverflowError):
        raise ClassifierError(f"{name} is not an array of numbers, expected shape {shape}") from None
    if array.shape != shape:
        raise ClassifierError(f"{name} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ClassifierError(f"{name} holds values that are not finite")
    return array


def _rounded(array: FloatArray) -> list[float]:
    """Five digits: what is written is what was fitted, to within what any picture could show."""
    return [float(f"{value:.5g}") for value in array.tolist()]
