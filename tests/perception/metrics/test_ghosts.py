"""Ghosts, lag and speed by hand: a square that moves over a still texture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.metrics.confusion import MetricError
from clip_rl_perception.metrics.ghosts import AFTER_CUT, LAST, GhostMetrics

SIZE = (120, 160)
EMPTY = np.zeros(SIZE, np.uint8)


def texture(seed: int, size: tuple[int, int]) -> ByteArray:
    spots = np.random.default_rng(seed).integers(40, 216, (size[0] // 4, size[1] // 4), dtype=np.uint8)
    return np.asarray(cv2.resize(spots, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


TISSUE, STEEL = texture(1, SIZE), texture(2, (40, 40))


def truth_at(left: int) -> ByteArray:
    labels = EMPTY.copy()
    labels[40:80, left : left + 40] = 1
    return labels


def picture_at(left: int) -> ByteArray:
    grey = TISSUE.copy()
    grey[40:80, left : left + 40] = STEEL
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("step", "kind"), [(0, "0 to 2"), (1, "2 to 8"), (2, "2 to 8"), (4, "above 8"), (9, "above 8")]
)
def test_frames_count_by_the_speed_of_instruments(step: int, kind: str) -> None:
    """480 px wide: a pixel is 2.67 of the reference."""
    wide, metrics, found = texture(3, (120, 480)), GhostMetrics(["m"]), []
    for number in range(6):
        shown, truth = wide.copy(), np.zeros_like(wide)
        here = (slice(40, 80), slice(200 + step * number, 240 + step * number))
        shown[here], truth[here] = STEEL, 1
        found.append(metrics.update(np.repeat(shown[..., None], 3, axis=2), truth, {"m": truth}))
    assert found == [None, *[kind] * 5]


def test_the_right_mask_has_no_ghosts_and_one_that_lags_has() -> None:
    metrics = GhostMetrics(["right", "late", "blind"], tau=1.0)
    for number in range(4):
        left, late = 20 + 4 * number, 20 + 4 * max(0, number - 1)
        truth = truth_at(left)
        metrics.update(picture_at(left), truth, {"right": truth, "late": truth_at(late), "blind": EMPTY})
    found = metrics.report()["above 8"]
    # Left of the square: 4, 8, 12 columns of 40 px that were instrument just before; of each the late mask keeps 4.
    assert (found["frames"], found["gone"]) == (3, 40 * (4 + 8 + 12))
    # 32 px of 1280 are 4 of 160: of the columns that were left those at 1 to 4 px are near, all others far.
    assert found["far"] == 40 * (0 + 4 + 8)
    assert found["right"] == {"iou": 1.0, "nsd": 1.0, "ghosts": 0.0, "far_ghosts": 0.0}
    assert found["late"]["far_ghosts"] == 0.0
    assert found["late"]["ghosts"] == pytest.approx(3 * 4 / 24)
    assert found["late"]["iou"] == pytest.approx(36 / 44)
    # Of 156 px of boundary 34 in each row of the square's top and bottom, and those at most a pixel beyond, lie near.
    assert 0.4 < found["late"]["nsd"] < 0.6
    assert found["blind"] == {"iou": 0.0, "nsd": 0.0, "ghosts": 0.0, "far_ghosts": 0.0}
    unknown = {"iou": None, "nsd": None, "ghosts": None, "far_ghosts": None}
    nothing = {"frames": 0, "gone": 0, "far": 0, "right": unknown, "late": unknown, "blind": unknown}
    assert metrics.report()["0 to 2"] == nothing


def test_what_was_instrument_longer_ago_than_the_last_frames_is_no_ghost() -> None:
    metrics = GhostMetrics(["m"])
    everywhere = np.ones(SIZE, np.uint8)
    for left in (20, *[100] * (LAST + 2)):
        metrics.update(picture_at(left), truth_at(left), {"m": everywhere})
    # In the first frame at its new place the whole square is gone from the old one, and in the next four as well.
    assert sum(entry["gone"] for entry in metrics.report().values()) == LAST * 40 * 40


def test_after_a_cut_the_first_frame_counts_apart_and_what_was_before_it_in_that_one_alone() -> None:
    metrics = GhostMetrics(["m"])
    metrics.update(picture_at(20), truth_at(20), {"m": truth_at(20)})
    metrics.cut()
    stuck = truth_at(20) | truth_at(100)
    kinds = [metrics.update(picture_at(100), truth_at(100), {"m": stuck}) for _ in range(3)]
    assert kinds == [AFTER_CUT, "0 to 2", "0 to 2"]
    found = metrics.report()
    assert (found[AFTER_CUT]["frames"], found[AFTER_CUT]["gone"], found[AFTER_CUT]["m"]["ghosts"]) == (1, 1600, 1.0)
    assert found[AFTER_CUT]["m"]["iou"] == pytest.approx(0.5)
    assert found[AFTER_CUT]["far"] == 1600 and found[AFTER_CUT]["m"]["far_ghosts"] == 1.0
    assert found["0 to 2"]["gone"] == 0 and found["0 to 2"]["m"]["ghosts"] is None


def test_what_is_not_counted_and_unlabelled_is_left_out() -> None:
    metrics = GhostMetrics(["m"])
    hidden = truth_at(100)
    hidden[:, :60] = 255
    prediction = truth_at(100)
    prediction[40:80, 20:60] = 1
    prediction[:10] = 255
    metrics.update(picture_at(20), truth_at(20), {"m": EMPTY})
    metrics.update(picture_at(100), hidden, {"m": prediction})
    (found,) = [entry for entry in metrics.report().values() if entry["frames"]]
    assert found["gone"] == 0 and found["m"] == {"iou": 1.0, "nsd": 1.0, "ghosts": None, "far_ghosts": None}


def test_without_instruments_nothing_counts_and_another_size_begins_anew() -> None:
    metrics = GhostMetrics(["m"])
    for _ in range(3):
        assert metrics.update(picture_at(20), EMPTY, {"m": EMPTY}) is None
    small = np.ones((60, 80), np.uint8)
    assert metrics.update(np.zeros((60, 80, 3), np.uint8), small, {"m": small}) is None
    assert metrics.update(np.zeros((60, 80, 3), np.uint8), small, {"m": small}) == "0 to 2"


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(MetricError, match="-1"):
        GhostMetrics(["m"], tau=-1)
