"""Losses from stamps that are drawn: what was left out is known, so what is counted can be compared."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.nodes.image_losses import ImageLosses, camera_period

PERIOD = 1e9 / 30


def stamps(count: int, jitter: float = 0.0, seed: int = 0) -> np.ndarray:
    """Of a camera of 30 Hz whose stamps scatter by this part of its period, ns."""
    noise = np.random.default_rng(seed).normal(0, jitter * PERIOD, count)
    return np.round(1e18 + PERIOD * np.arange(count) + noise).astype(np.int64)


def counted(stamps: np.ndarray, longest_gap_s: float = 2.0) -> int:
    losses = ImageLosses(longest_gap_s)
    return sum(losses.arrived(int(stamp)) for stamp in stamps)


def test_a_camera_that_loses_nothing() -> None:
    assert counted(stamps(300)) == 0
    assert counted(stamps(300, jitter=0.05)) == 0


@pytest.mark.parametrize("jitter", [0.0, 0.03])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8, 0.9])
def test_images_lost_at_random_are_counted(share: float, jitter: float) -> None:
    every = stamps(900, jitter)
    kept = every[np.random.default_rng(1).random(900) >= share]
    between = round((kept[-1] - kept[0]) / PERIOD) + 1 - len(kept)
    assert counted(kept) == pytest.approx(between, rel=0.1, abs=2)


def test_a_burst_is_counted_to_the_image() -> None:
    every = stamps(200, jitter=0.02)
    assert counted(np.delete(every, range(100, 109))) == 9


def test_losses_among_the_first_images_are_counted_when_the_period_is_known() -> None:
    assert counted(np.delete(stamps(60), [3, 4, 9])) == 3


def test_an_image_that_is_only_late_is_no_loss_however_often() -> None:
    late = stamps(300)
    late[50::20] += round(0.6 * PERIOD)
    assert counted(late) <= 1


def test_a_camera_that_stood_still_was_restarted_or_set_its_clock_back_lost_nothing() -> None:
    first = stamps(100)
    assert counted(np.concatenate([first, first + 20_000_000_000])) == 0
    assert counted(np.concatenate([first, first - 1_000_000_000, first])) == 0
    losses = ImageLosses(2.0)
    for stamp in first:
        assert losses.arrived(int(stamp)) == 0
    losses.restart()
    assert losses.arrived(int(first[-1] + 1_000_000_000)) == 0


@pytest.mark.parametrize(
    "made",
    [
        np.cumsum(np.tile([33_333_333, 50_000_000], 100)),  # 24 pictures a second on a display of 60 Hz
        np.cumsum(np.random.default_rng(2).exponential(33e6, 300)).astype(np.int64),
        np.zeros(100, np.int64),
        stamps(300, jitter=0.3),
    ],
    ids=["beat", "at random", "no stamps", "much jitter"],
)
def test_where_there_is_no_period_nothing_is_claimed(made: np.ndarray) -> None:
    assert counted(made) == 0


def test_a_lower_rate_is_not_a_loss_for_long() -> None:
    """30 Hz, then 15 Hz when it gets dark."""
    slower = np.concatenate([stamps(200), stamps(200)[-1] + np.round(2 * PERIOD * np.arange(1, 400)).astype(np.int64)])
    assert 0 < counted(slower) < 60


def test_the_middleware_and_the_gaps_speak_of_the_same_images() -> None:
    losses, lost = ImageLosses(2.0), 0
    assert losses.told(5) == 5, "nothing need arrive"
    for stamp in np.delete(stamps(100), range(50, 57)):
        lost += losses.arrived(int(stamp))
    assert lost == 2, "seven in gaps, of which five were known"
    assert losses.told(7) == 0 and losses.told(9) == 2


def test_period_in_any_unit() -> None:
    assert camera_period(np.array([1.0, 2.0, 1.0, 3.0, 1.0, 1.0, 4.0, 1.0])) == pytest.approx(1.0)
    assert camera_period(np.array([2.0, 2.0, 2.0])) == pytest.approx(2.0)
