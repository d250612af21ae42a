from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from clip_rl_perception.stress.soak_memory import LEAST_S, Sample, sample, slope
from clip_rl_perception.stress.soak_plan import LONG_SHARE, SoakOptions, lives


def test_an_hour_kills_every_few_minutes_and_leaves_one_life_alone() -> None:
    options = SoakOptions(Path("out"))
    node, camera = (
        list(itertools.takewhile(lambda each: each.ends_s < 3600, lives(options, who))) for who in ("node", "camera")
    )
    lengths = [after.ends_s - before.ends_s for before, after in itertools.pairwise(node)]
    assert [length for length in lengths if length > 300] == [pytest.approx(LONG_SHARE * 3600)]
    assert all(90 <= length <= 270 for length in lengths if length <= 300)
    (place,) = (one.ends_s for one, length in zip(node, lengths, strict=False) if length > 300)
    assert 600 < place < 1200
    assert all(60 <= after.ends_s - before.ends_s <= 180 for before, after in itertools.pairwise(camera))
    assert {(each.compressed, each.recalls) for each in node} == set(itertools.product((False, True), repeat=2))


def test_the_same_seed_plans_the_same() -> None:
    one, again, other = (
        list(itertools.islice(lives(SoakOptions(Path("out"), seed=seed), "node"), 20)) for seed in (3, 3, 4)
    )
    assert one == again != other


def test_a_short_soak_has_no_long_life() -> None:
    few = itertools.islice(lives(SoakOptions(Path("out"), minutes=15.0), "node"), 8)
    assert max(after.ends_s - before.ends_s for before, after in itertools.pairwise(few)) <= 270


def samples(rss: list[float]) -> list[Sample]:
    return [Sample(0, float(age), value, value, 0.0) for age, value in enumerate(rss)]


def test_the_slope_is_that_after_settling() -> None:
    rising = [500 + 10 * min(age, 300) + age * 0.05 for age in range(900)]
    assert slope(samples(rising), 300.0) == pytest.approx(3.0)  # MB per minute


def test_one_step_or_a_squeezed_machine_is_no_growth() -> None:
    level = [500.0 if age < 300 else 520.0 for age in range(1200)]
    level[800:830] = [300.0] * 30
    assert slope(samples(level), 60.0) == pytest.approx(0.0, abs=0.1)


def test_a_short_life_is_not_judged() -> None:
    assert slope(samples([500.0] * int(60 + LEAST_S - 10)), 60.0) is None


def test_memory_of_a_process() -> None:
    import os

    found = sample(os.getpid(), 3, 1.5)
    assert found is not None and found.life == 3 and 10 < found.own < found.rss
    assert sample(2**22 + 1, 0, 0.0) is None
