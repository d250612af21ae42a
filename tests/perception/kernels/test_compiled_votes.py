"""The compiled loops of votes against the same written down plainly."""

from __future__ import annotations

import numpy as np
import plain_votes as plain
import pytest
from clip_rl_perception.scene.instance_votes import VoteConfig, group_places, read_places
from voted_bars import PLACES, Bars


def noisy_bars(seed: int) -> Bars:
    """One to six bars, some of which cross, whose places err as those of a network do."""
    rng = np.random.default_rng(seed)
    bars = Bars()
    for _ in range(rng.integers(1, 7)):
        entry, end = rng.uniform((0, 0), (43, 35), (2, 2)).tolist()
        if np.hypot(*np.subtract(end, entry)) > 4:
            bars.add(tuple(entry), tuple(end), float(rng.uniform(0.8, 3.0)))
    noise = 10 ** rng.uniform(-3, -0.3)
    bars.said[:6] += rng.normal(scale=noise, size=(6, *PLACES)).astype(np.float32)
    return bars


@pytest.mark.parametrize("config", [VoteConfig(), VoteConfig(across=0.8, seeds=40, most=4, substantial=0.4)])
def test_groups_are_those_of_the_plain_way(config: VoteConfig) -> None:
    several = 0
    for seed in range(60):
        bars = noisy_bars(seed)
        rows, columns = np.nonzero(bars.owner)
        if not len(rows):
            continue
        areas = (columns > 20).astype(np.int64) if seed % 2 else np.zeros(len(rows), np.int64)
        areas = np.unique(areas, return_inverse=True)[1]
        owner, lines = group_places(read_places(bars.said, rows, columns), areas, config)
        expected = plain.group_places(plain.read_lines(bars.said, rows, columns), areas, config)
        np.testing.assert_array_equal(owner, expected[0], err_msg=f"seed {seed}")
        for name in ("axis", "end", "radius"):
            np.testing.assert_allclose(getattr(lines, name), getattr(expected[1], name), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(lines.trust, expected[2], atol=1e-9)
        several += len(lines) > 1
    assert several > 20


def line(axis: tuple[float, float], end: tuple[float, float], along: float = 0.0) -> plain.Lines:
    return plain.Lines(np.array([axis]), np.array([end]), np.array([along]), np.array([2.0]))


@pytest.mark.parametrize(
    ("of", "deviation"),
    [
        (line((1.0, 0.0), (10.0, 5.0)), 0.0),
        (line((0.5, np.sqrt(0.75)), (10.0, 5.0)), 1.0),
        (line((1.0, 0.0), (10.0, 7.0)), 1.0),  # one radius beside
        (line((1.0, 0.0), (14.0, 5.0), along=8.0), 1.0),  # half of 8
        (line((-1.0, 0.0), (10.0, 5.0)), 2.0),  # chord 2 of 1
    ],
)
def test_deviations_by_hand(of: plain.Lines, deviation: float) -> None:
    config = VoteConfig(angle=60.0, across=1.0, along=0.5, least_along=1.0, least_across=0.1)
    base = line((1.0, 0.0), (10.0, 5.0))
    assert plain.deviations(of, base, config)[0, 0] == pytest.approx(deviation)
