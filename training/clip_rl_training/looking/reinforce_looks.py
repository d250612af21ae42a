"""Learning which look to take: an actor-critic over clips, its supervised twin, and imitation of the best look.

    rl        sampled looks; proximal policy optimisation (Schulman et al. 2017) with generalised advantages
              (Schulman et al. 2016) from what the chosen look gains over the mean of all looks at the frame
    twin      regression of every look's gain, which the cache knows; acts greedily
    imitate   cross-entropy with the look that the truth would choose

All see the same states, have the same network, clips and steps, and begin as the fixed turn. Reinforcement alone goes
without dropout: it weighs looks by how much more likely they are than when they were taken, which must be 1 before any
step. Policies of before (docs/results/looks-policy.md) learned with dropout, from ratios that its noise moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_training.looking.look_policy import LookPolicy
from clip_rl_training.looking.looking_env import LookingEnv, RewardConfig, Streams

Mode = Literal["rl", "twin", "imitate"]
_DROPOUT = 0.1
"""While the truth is learned from."""


@dataclasses.dataclass(frozen=True)
class LearningConfig:
    """How a policy learns."""

    iterations: int = 120
    """Rounds of acting and learning."""
    clips: int = 48
    """Clips that are acted on in a round."""
    head_start: float = 1.0
    """Logit by which an untrained policy prefers the fixed turn."""
    learning_rate: float = 3e-3
    """At the beginning; it falls to zero in a straight line."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    discount: float = 0.7
    """Of rewards of later frames."""
    trace: float = 0.95
    """Lambda of the generalised advantages."""
    clip: float = 0.2
    """Largest change of an action's probability ratio that still counts."""
    entropy: float = 0.02
    """Price of certainty; it falls to zero."""
    epochs: int = 4
    """Passes over a round's frames."""
    minibatch: int = 256
    """Frames of a step."""
    most_steps: int = 18
    """Steps of a round where the truth is learned from: about as many as reinforcement takes."""
    explore: float = 0.2
    """Share of random looks while the twin and the imitator act."""
    reward_scale: float = 20.0
    """Rewards are multiplied by this."""


@dataclasses.dataclass(frozen=True)
class Round:
    """What was seen and done on clips (V, T)."""

    states: Tensor
    """(V, T, looks, features)."""
    turn: Tensor
    """(V, T, looks)."""
    looks: Tensor
    """Taken, (V, T)."""
    worth: Tensor
    """Of every look's fused map, less their mean, (V, T, looks)."""
    valid: Tensor
    """(V, T)."""


def train_look_policy(
    streams: Streams,
    mode: Mode,
    config: LearningConfig,
    *,
    seed: int,
    reward: RewardConfig | None = None,
    weights: Tensor | None = None,
    told: Callable[[int, float], None] = lambda iteration, gain: None,
) -> LookPolicy:
    """Train a policy; equal arguments give equal weights.

    Args:
        streams: clips to act on.
        mode: how to learn.
        config: see there.
        seed: of weights, draws and looks.
        reward: what maps are worth.
        weights: chance of each clip, (V,); None: all alike.
        told: iteration and mean gain per frame of the looks taken.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chance = torch.ones(len(streams)) if weights is None else weights
        first = _act(streams, _draw(chance, config.clips, generator), None, mode, config, reward, generator)
        dropout = 0.0 if mode == "rl" else _DROPOUT
        policy = LookPolicy(first.states.shape[-1], head_start=config.head_start, dropout=dropout)
        policy.normalise(first.states)
        optimizer = torch.optim.AdamW(policy.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        seen: list[Round] = []
        for iteration in range(config.iterations):
            left = 1 - iteration / config.iterations
            optimizer.param_groups[0]["lr"] = config.learning_rate * left
            chosen = _draw(chance, config.clips, generator)
            done = _act(streams, chosen, policy.eval(), mode, config, reward, generator)
            gains = done.worth.gather(-1, done.looks[..., None])[..., 0]
            told(iteration, float(gains[done.valid].mean()))
            policy.train()
            if mode == "rl":
                _learn_by_reinforcement(policy, optimizer, done, config, config.entropy * left, generator)
            else:
                seen = [*seen, done][-8:]
                _learn_from_truth(policy, optimizer, seen, mode, config, generator)
    return policy.eval()


def _draw(chance: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.multinomial(chance, min(count, len(chance)), generator=generator)


@torch.no_grad()
def _act(
    streams: Streams,
    chosen: Tensor,
    policy: LookPolicy | None,
    mode: Mode,
    config: LearningConfig,
    reward: RewardConfig | None,
    generator: torch.Generator,
) -> Round:
    env = LookingEnv(streams, chosen, reward=reward)
    states, turns, looks, worth = [], [], [], []
    for _ in range(streams.valid.shape[1]):
        state, turn = env.see(), env.turn()
        fused = env.fused()
        logits = torch.zeros_like(turn) if policy is None else policy(state, turn)[0]
        if policy is None or mode == "rl":
            taken = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        else:
            random = torch.randint(0, logits.shape[1], (len(logits),), generator=generator)
            explores = torch.rand(len(logits), generator=generator) < config.explore
            taken = torch.where(explores, random, logits.argmax(-1))
        values = env.worth(fused)
        env.take(taken, fused)
        states.append(state)
        turns.append(turn)
        looks.append(taken)
        worth.append(values - values.mean(-1, keepdim=True))
    joined = [torch.stack(parts, dim=1) for parts in (states, turns, looks, worth)]
    return Round(joined[0], joined[1], joined[2], joined[3], streams.valid[chosen])


def _learn_by_reinforcement(
    policy: LookPolicy,
    optimizer: torch.optim.Optimizer,
    done: Round,
    config: LearningConfig,
    entropy: float,
    generator: torch.Generator,
) -> None:
    with torch.no_grad():
        policy.eval()
        logits, values = policy(done.states, done.turn)
        policy.train()
        rewards = config.reward_scale * done.worth.gather(-1, done.looks[..., None])[..., 0]
        advantages = generalised_advantages(rewards, values, done.valid, config.discount, config.trace)
        before = logits.log_softmax(-1).gather(-1, done.looks[..., None])[..., 0]
    valid = done.valid
    states, turn, looks = done.states[valid], done.turn[valid], done.looks[valid]
    before, wanted = before[valid], (advantages + values)[valid]
    advantage = advantages[valid]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    for _ in range(config.epochs):
        for part in _shuffled(len(states), config.minibatch, generator):
            logits, value = policy(states[part], turn[part])
            logs = logits.log_softmax(-1)
            ratio = (logs.gather(-1, looks[part][:, None])[:, 0] - before[part]).exp()
            bounded = ratio.clamp(1 - config.clip, 1 + config.clip)
            gain = torch.minimum(ratio * advantage[part], bounded * advantage[part]).mean()
            uncertainty = -(logs.exp() * logs).sum(-1).mean()
            loss = -gain + 0.5 * functional.mse_loss(value, wanted[part]) - entropy * uncertainty
            _step(policy, optimizer, loss)


def generalised_advantages(rewards: Tensor, values: Tensor, valid: Tensor, discount: float, trace: float) -> Tensor:
    """Schulman et al. 2016, equation 16, for clips (V, T) that end where `valid` does."""
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for frame in reversed(range(rewards.shape[1])):
        following = values[:, frame + 1] * valid[:, frame + 1] if frame + 1 < rewards.shape[1] else 0.0
        error = (rewards[:, frame] + discount * following - values[:, frame]) * valid[:, frame]
        running = error + discount * trace * running
        advantages[:, frame] = running
    return advantages


def _learn_from_truth(
    policy: LookPolicy,
    optimizer: torch.optim.Optimizer,
    rounds: list[Round],
    mode: Mode,
    config: LearningConfig,
    generator: torch.Generator,
) -> None:
    states, turn, worth = (
        torch.cat([getattr(done, name)[done.valid] for done in rounds]) for name in ("states", "turn", "worth")
    )
    for part in _shuffled(len(states), config.minibatch, generator)[: config.most_steps]:
        logits, _ = policy(states[part], turn[part])
        if mode == "twin":
            centred = logits - logits.mean(-1, keepdim=True)
            loss = functional.mse_loss(centred, config.reward_scale * worth[part])
        else:
            loss = functional.cross_entropy(logits, worth[part].argmax(-1))
        _step(policy, optimizer, loss)


def _shuffled(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    order = torch.randperm(count, generator=generator)
    return [order[start : start + size] for start in range(0, count, size)]


def _step(policy: LookPolicy, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    optimizer.step()
