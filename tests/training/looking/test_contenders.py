"""Ways to spend looks on videos whose right look is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from clip_rl_training.looking.cached_looks import LOOKS, WHOLE
from clip_rl_training.looking.contenders import (
    Worth,
    always,
    at_random,
    best_fixed_order,
    by_truth,
    in_turn,
    join,
    run_contender,
    uncertain_part,
)
from clip_rl_training.looking.looking_comparison import (
    ComparisonConfig,
    Row,
    as_data,
    as_table,
    compare_looking,
    fixed_contenders,
)
from clip_rl_training.looking.looking_env import LookingEnv, Streams
from clip_rl_training.looking.reinforce_looks import LearningConfig
from looking_videos import kept_video


def streams(right: int = 2) -> Streams:
    return Streams([kept_video("a", right=right), kept_video("b", right=right, seed=5)], 8)


def test_the_right_look_is_perfect_and_the_others_are_not() -> None:
    right, wrong = (run_contender(streams(), always(look)) for look in (2, 0))
    assert all(worth.iou == 1 and worth.mean_nsd == 1 and worth.looks == worth.frames == 8 for worth in right.values())
    assert all(worth.iou < 0.5 and worth.mean_nsd < 1 for worth in wrong.values())


def test_the_oracle_takes_the_right_look_and_no_other_is_better() -> None:
    oracle = run_contender(streams(6), by_truth(range(WHOLE)))
    assert all(worth.iou == 1 for worth in oracle.values())
    for chooser in (in_turn(), at_random(1), always(0)):
        assert all(worth.iou < 1 for worth in run_contender(streams(6), chooser).values())
    mirrors = run_contender(streams(6), by_truth(range(4)))
    assert all(worth.iou < 0.6 for worth in mirrors.values()), "the right look is none of these"


def test_greedy_search_finds_the_right_look_first() -> None:
    assert best_fixed_order(streams(7), range(WHOLE)) == [7]


def test_without_memory_each_frame_is_its_own_look() -> None:
    some = streams(1)
    alone = run_contender(some, in_turn([1, 0]), memory=False, tau=None)
    both = run_contender(some, always(1), tau=None)["a"], run_contender(some, always(0), tau=None)["a"]
    assert alone["a"].both == pytest.approx((both[0].both + both[1].both) / 2)


def test_two_looks_are_joined_by_their_mean_and_parts_where_they_show_something() -> None:
    env = LookingEnv(streams())
    env.see()
    env.probabilities = env.probabilities.clone()
    env.probabilities[:, WHOLE, :, :11] = float("nan")
    first, part = env.probabilities[:, 0], env.probabilities[:, WHOLE]
    belief = join(env, [torch.zeros(2, dtype=torch.long), torch.full((2,), WHOLE)])
    np.testing.assert_allclose(belief[..., :11], first[..., :11], atol=1e-6)
    np.testing.assert_allclose(belief[..., 11:], ((first + part) / 2)[..., 11:], atol=1e-6)
    assert (env.weight[..., :11] == 1).all() and (env.weight[..., 11:] == 2).all()
    assert torch.isfinite(belief).all()


def test_the_most_uncertain_part_is_taken_second() -> None:
    some = streams()
    some.log_odds[:, :, 0, :, 15:] = 0.0  # the plain look is at a loss to the right
    some.log_odds[:, :, WHOLE:, :, :] = float("nan")
    some.log_odds[:, :, WHOLE + 2, :, 11:] = 1.0
    some.log_odds[:, :, WHOLE + 1, :, :11] = 1.0
    env = LookingEnv(some)
    first, second = uncertain_part(always(0))(env, env.see())
    assert first.tolist() == [0, 0] and second.tolist() == [WHOLE + 2] * 2


def test_sums_of_frames_and_empty_videos() -> None:
    assert Worth(1, 2, 0.5, 1, 1, 2).plus(Worth(1, 3, 0.5, 1, 1, 1)) == Worth(2, 5, 1.0, 2, 2, 3)
    assert np.isnan(Worth().iou) and np.isnan(Worth().mean_nsd)


def test_what_a_video_cannot_tell_is_none_in_json() -> None:
    row = Row("x", "real", None, 1.0, {"a": (float("nan"), 0.5), "b": (0.25, 0.75)})
    (data,) = json.loads(json.dumps(as_data([row]), allow_nan=False))
    assert data["by_video"] == {"a": [None, 0.5], "b": [0.25, 0.75]} and data["iou"] == 0.25 and data["nsd"] == 0.625


def test_all_contenders_are_compared_on_videos_that_nothing_learned_from() -> None:
    real = [kept_video(f"r{number}", right=5, seed=number) for number in range(2)]
    synthetic = [kept_video(f"s{number}", right=5, seed=10 + number) for number in range(4)]
    config = ComparisonConfig(learning=LearningConfig(iterations=2, clips=4), seeds=(0, 1), clip=8, stretch=8)
    told: list[str] = []
    rows = compare_looking(real, synthetic, config, told.append)
    assert {row.videos for row in rows} == {"real", "synthetic"}
    for row in rows:
        wanted = {"r0", "r1"} if row.videos == "real" else {"s3"}
        assert set(row.by_video) == wanted, row
    learned = {"policy by reinforcement", "regression of the gain", "imitation of the best look"}
    assert {row.contender for row in rows} == {*fixed_contenders(0), *learned, "best fixed order"}
    assert all(len([row for row in rows if row.contender == name]) == 4 for name in learned)
    assert any("best fixed order of looks is up-down, darker" in line for line in told), told
    table = as_table(rows).splitlines()
    assert len(table) == 2 + len({row.contender for row in rows})
    assert any(line.startswith("| oracle among whole looks | 1 | 100.0 | 100.0 | 100.0 | 100.0 |") for line in table)
    assert LOOKS[5].name == "up-down, darker"
