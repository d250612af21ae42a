"""Learning which look to take, where what is right is known."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from clip_rl_training.looking.cached_looks import CachedVideo
from clip_rl_training.looking.contenders import by_policy, in_turn, run_contender
from clip_rl_training.looking.look_policy import LookPolicy
from clip_rl_training.looking.looking_env import LookingEnv, Streams
from clip_rl_training.looking.reinforce_looks import (
    LearningConfig,
    Mode,
    generalised_advantages,
    train_look_policy,
)
from looking_videos import kept_video

QUICK = LearningConfig(iterations=30, clips=12, learning_rate=5e-3, minibatch=32, head_start=1.0)


def lit_videos(count: int, seed: int) -> list[CachedVideo]:
    """In bright scenes the darker up-down image sees the instrument, in dark ones the brighter left-right one."""
    return [
        kept_video(
            f"v{seed + number}", right=5 if number % 2 else 11, light=0.8 if number % 2 else 0.2, seed=seed + number
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_policy_learns_which_look_suits_the_light(mode: Mode) -> None:
    policy = train_look_policy(Streams(lit_videos(16, 0), 6), mode, QUICK, seed=1)
    unseen = Streams(lit_videos(8, 100), 6)
    env = LookingEnv(unseen)
    chosen = policy(env.see(), env.turn())[0].argmax(-1)
    assert chosen.tolist() == [11, 5] * 4
    learned, turn = (run_contender(unseen, chooser, tau=None) for chooser in (by_policy(policy), in_turn()))
    assert min(worth.iou for worth in learned.values()) > max(worth.iou for worth in turn.values()) + 0.3


def test_untrained_it_is_the_fixed_turn() -> None:
    streams = Streams(lit_videos(2, 0), 6)
    env = LookingEnv(streams)
    policy = LookPolicy(env.see().shape[-1]).eval()
    turn, same = (run_contender(streams, chooser, tau=None) for chooser in (in_turn(), by_policy(policy)))
    assert turn == same


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    streams = Streams(lit_videos(6, 0), 6)
    config = dataclasses.replace(QUICK, iterations=2)
    one, same, other = (train_look_policy(streams, "rl", config, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_reinforcement_learns_from_the_chances_by_which_looks_were_taken() -> None:
    streams = Streams(lit_videos(2, 0), 6)
    policy = train_look_policy(streams, "rl", dataclasses.replace(QUICK, iterations=1), seed=3)
    env = LookingEnv(streams)
    seen = env.see(), env.turn()
    acting, learning = policy.eval()(*seen)[0], policy.train()(*seen)[0]
    assert torch.equal(acting, learning), "before a step no look is likelier than when it was taken"


def test_training_leaves_the_callers_randomness_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train_look_policy(Streams(lit_videos(2, 0), 6), "twin", dataclasses.replace(QUICK, iterations=1), seed=9)
    assert torch.equal(torch.rand(3), wanted)


def test_advantages_by_hand() -> None:
    """Two clips of three frames, the second ends after two. Discount 0.5, trace 0.5."""
    rewards = torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 7.0]])
    values = torch.tensor([[0.5, 1.0, 0.0], [0.0, 0.5, 9.0]])
    valid = torch.tensor([[True, True, True], [True, True, False]])
    found = generalised_advantages(rewards, values, valid, 0.5, 0.5)
    # First clip: errors 1 + .5 * 1 - .5 = 1, 0 + .5 * 0 - 1 = -1, 2 - 0 = 2; second: 1 + .25 - 0, 1 + 0 - .5.
    wanted = [[1 + 0.25 * (-1 + 0.25 * 2), -1 + 0.25 * 2, 2], [1.25 + 0.25 * 0.5, 0.5, 0]]
    np.testing.assert_allclose(found.numpy(), wanted)
