"""Parts of two pictures compared along rows: exact shifts, slants, and what must not be told."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.stereo.disparity import AMBIGUOUS, REACH, STRIP, UNCLEAR, Match, match
from clip_rl_perception.stereo.patches import Patches

ROWS, COLUMNS = np.mgrid[: STRIP[0], : STRIP[1]].astype(np.float64)
ACROSS, DOWN = COLUMNS - (STRIP[1] - 1) / 2, ROWS - (STRIP[0] - 1) / 2


def texture(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for _ in range(12):
        a, b = rng.normal(0, 0.35, 2)
        total = total + np.sin(a * x + b * y + rng.uniform(0, 6))
    return 128 + 14 * total


def patches(gray: np.ndarray, free: FloatArray | None = None) -> Patches:
    made = np.asarray(gray, np.float32)[None]
    ones = np.ones_like(made)
    return Patches(made, ones, ones if free is None else free)


def found(left: np.ndarray, right: np.ndarray, weight: np.ndarray | None = None, **given: float) -> Match:
    use = np.ones((1, *STRIP), np.float32) if weight is None else np.asarray(weight, np.float32)[None]
    ranges, rows = np.array([given.get("reach", REACH)]), np.array([given.get("row_std", 0.0)])
    (made,) = match(patches(left), patches(right), (use, np.ones_like(use)), ranges, rows)
    return made


@pytest.mark.parametrize("shift", [0.0, 0.3, -2.5, 7.45])
def test_shifts_are_exact_whatever_gain_and_offset(shift: float) -> None:
    made = found(texture(ACROSS, DOWN), 20 + 0.7 * texture(ACROSS - shift, DOWN))
    assert made.reason == "" and made.score > 0.95
    assert abs(made.shift - shift) < 0.07 and abs(made.shift - shift) < 3 * made.std


def test_of_something_slanted_the_middle_counts_though_only_one_side_is_seen() -> None:
    tilt, shift = 0.08, 1.2
    right = texture((ACROSS - shift) / (1 + tilt), DOWN)  # left x is seen at x + shift + tilt x
    weight = (ACROSS < 1).astype(np.float32)
    made = found(texture(ACROSS, DOWN), right, weight)
    assert made.reason == "" and abs(made.shift - shift) < 0.15
    assert abs(made.shift - shift) < 3.5 * made.std


def test_noise_is_told_as_it_is() -> None:
    rng = np.random.default_rng(0)
    clean, other = texture(ACROSS, DOWN), texture(ACROSS - 0.4, DOWN)
    errors, stds = [], []
    for _ in range(60):
        made = found(clean + rng.normal(0, 8, STRIP), other + rng.normal(0, 8, STRIP))
        errors.append(made.shift - 0.4)
        stds.append(made.std)
    spread = float(np.std(errors))
    assert spread < np.median(stds) < 3 * spread  # noise here is of single samples: less than what is allowed for


def test_what_runs_along_rows_tells_nothing() -> None:
    stripes = 128 + 40 * np.sin(DOWN / 2 + 0.02 * ACROSS)
    made = found(stripes, stripes, row_std=0.5)
    assert made.reason in (UNCLEAR, AMBIGUOUS)


def test_what_repeats_is_ambiguous() -> None:
    bars = 128 + 40 * np.sin(ACROSS * 2 * np.pi / 8)
    assert found(bars, bars).reason == AMBIGUOUS


def test_what_the_other_eye_does_not_show() -> None:
    rng = np.random.default_rng(1)
    made = found(texture(ACROSS, DOWN), rng.uniform(0, 255, STRIP))
    assert "shows nothing like it" in made.reason


def test_a_place_beyond_what_is_searched() -> None:
    made = found(texture(ACROSS, DOWN), texture(ACROSS - 6, DOWN), reach=4)
    assert made.reason


def test_nothing_to_see() -> None:
    black = np.zeros(STRIP)
    nothing = np.zeros(STRIP)
    for left, right in ((black, black), (texture(ACROSS, DOWN), black)):
        assert found(left, right).reason and found(left, right, nothing).reason
    hidden = patches(texture(ACROSS, DOWN), np.zeros((1, *STRIP), np.float32))
    ones = np.ones((1, *STRIP), np.float32)
    (made,) = match(hidden, hidden, (ones, ones), np.array([6.0]), np.zeros(1))
    assert "shows nothing like it" in made.reason
    none = Patches(*(np.zeros((0, *STRIP), np.float32) for _ in range(3)))
    assert match(none, none, (none.own, none.own), np.zeros(0), np.zeros(0)) == []
