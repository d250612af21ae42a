"""The actor-critic: its estimates by hand, its gradient against a known one, a small world in which it must learn."""

from __future__ import annotations

import pytest
import torch
from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.refiner import Refiner
from clip_rl_perception.model.segmenter_config import RefinerConfig
from clip_rl_training.refiner import reinforce
from clip_rl_training.refiner.rewards import RewardConfig
from clip_rl_training.refiner.supervised_refiner import supervised_refinement
from torch import Tensor
from torch.nn import functional

CLASSES = 3
GRID = (24, 24)


def world(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Truth made of blocks of 8x8 pixels, and log-probabilities that are wrong at a quarter of the pixels at random.

    A wrong pixel's neighbours are mostly right, so the 3x3 mean mends most and promoting the runner-up mends half.
    """
    blocks = torch.randint(0, CLASSES, (batch, 3, 3), generator=generator)
    truth = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    noise = torch.randint(0, CLASSES, truth.shape, generator=generator)
    seen = torch.where(torch.rand(truth.shape, generator=generator) < 0.25, noise, truth)
    logits = 2.0 * functional.one_hot(seen, CLASSES).permute(0, 3, 1, 2).float()
    logits = logits + 0.1 * torch.randn(logits.shape, generator=generator)
    return truth, logits.log_softmax(1)


def make_refiner() -> Refiner:
    torch.manual_seed(0)
    return Refiner(4, 8, RefinerConfig(width=16, feature_channels=2, text_channels=2, dilations=(1,)))


def bind(refiner: Refiner, log_probs: Tensor) -> reinforce.RefinerAgents:
    batch, _, height, width = log_probs.shape
    features = torch.zeros(batch, 4, height, width)
    context = refiner.context(features, torch.zeros(batch, 3, height, width), torch.eye(CLASSES, 8))
    return reinforce.RefinerAgents(refiner, context)


def greedy_gain(refiner: Refiner, steps: int) -> float:
    truth, log_probs = world(8, torch.Generator().manual_seed(99))
    agents = bind(refiner, log_probs)
    refined = log_probs
    with torch.no_grad():
        for _ in range(steps):
            refined = agents.apply(refined, agents.decide(refined)[0].argmax(1))
    right_before = (log_probs.argmax(1) == truth).float().mean()
    return float((refined.argmax(1) == truth).float().mean() - right_before)


def test_advantages_by_hand() -> None:
    rewards = [torch.tensor(1.0), torch.tensor(0.0), torch.tensor(2.0)]
    values = [torch.tensor(0.5), torch.tensor(1.0), torch.tensor(1.5)]
    advantages, returns = reinforce.generalised_advantages(rewards, values, discount=0.9, decay=0.5)
    third = 2.0 - 1.5
    second = 0.0 + 0.9 * 1.5 - 1.0 + 0.45 * third
    first = 1.0 + 0.9 * 1.0 - 0.5 + 0.45 * second
    assert [a.item() for a in advantages] == pytest.approx([first, second, third])
    assert [r.item() for r in returns] == pytest.approx([first + 0.5, second + 1.0, third + 1.5])


def test_advantages_with_lambda_one_are_discounted_rewards_less_the_value() -> None:
    rewards = [torch.tensor(1.0), torch.tensor(2.0)]
    values = [torch.tensor(7.0), torch.tensor(-3.0)]
    advantages, returns = reinforce.generalised_advantages(rewards, values, discount=0.5, decay=1.0)
    assert [r.item() for r in returns] == pytest.approx([2.0, 2.0])
    assert [a.item() for a in advantages] == pytest.approx([-5.0, 5.0])


def test_samples_follow_the_policy_and_the_generator() -> None:
    log_policy = torch.tensor([0.2, 0.0, 0.5, 0.3]).clamp(min=1e-30).log()[None, :, None, None].expand(1, 4, 100, 100)
    actions = reinforce.sample(log_policy, torch.Generator().manual_seed(5))
    shares = torch.bincount(actions.flatten(), minlength=4) / 10000
    assert shares.tolist() == pytest.approx([0.2, 0.0, 0.5, 0.3], abs=0.02)
    assert shares[1] == 0
    again = reinforce.sample(log_policy, torch.Generator().manual_seed(5))
    assert torch.equal(actions, again)


class Bandit:
    """One pixel, two actions, log-probabilities that actions do not change."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def decide(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits[None, :, None, None], torch.zeros(1, 1, 1)

    def apply(self, log_probs: Tensor, actions: Tensor) -> Tensor:
        return log_probs


def test_gradient_is_that_of_the_policy_gradient_theorem() -> None:
    logits = torch.tensor([0.3, -0.2]).requires_grad_()
    labels = torch.tensor([[[0]]])
    config = reinforce.ReinforceConfig(normalise=False, value_weight=0.0, reward_scale=1.0)
    log_probs = torch.tensor([0.5, 0.5]).log()[None, :, None, None]
    track = reinforce.rollout(
        Bandit(logits), log_probs, labels, steps=1, config=config, rewards=RewardConfig(hard_iou=0.0, cost=0.25),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    loss, _ = reinforce.actor_critic_loss(track, labels, config=config, entropy_weight=0.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    action = int(track.actions[0])
    # Keep costs nothing and pays nothing; any other action costs 0.25. d(-log pi(a) A)/d logits = A (pi - onehot(a)).
    advantage = 0.0 if action == 0 else -0.25
    expected = advantage * (logits.detach().softmax(0) - functional.one_hot(torch.tensor(action), 2))
    assert torch.allclose(gradient, expected, atol=1e-6)


class Shifts:
    """Many equal pixels of two classes; actions move the first class's log-odds by fixed amounts."""

    moves = torch.tensor([0.0, 1.0, -0.7])

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def decide(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        batch, _, height, width = log_probs.shape
        return self.logits[None, :, None, None].expand(batch, -1, height, width), torch.zeros(batch, height, width)

    def apply(self, log_probs: Tensor, actions: Tensor) -> Tensor:
        odds = log_probs[:, 0] - log_probs[:, 1] + self.moves[actions]
        return torch.stack((odds, torch.zeros_like(odds)), 1).log_softmax(1)


@pytest.mark.parametrize("steps", [1, 3])
def test_all_actions_give_the_gradient_that_samples_give_in_the_mean(steps: int) -> None:
    labels = torch.zeros(1, 200, 200, dtype=torch.int64)
    log_probs = torch.full((1, 2, 200, 200), 0.5).log()
    gradients = []
    for every in (False, True):
        logits = torch.tensor([0.5, -0.3, 0.2]).requires_grad_()
        config = reinforce.ReinforceConfig(
            normalise=False, value_weight=0.0, reward_scale=1.0, all_actions=every, gae=1.0
        )
        track = reinforce.rollout(
            Shifts(logits), log_probs, labels, steps=steps, config=config,
            rewards=RewardConfig(log_probability=1.0, hard_iou=0.0, cost=0.05),
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        loss, _ = reinforce.actor_critic_loss(track, labels, config=config, entropy_weight=0.0)
        gradients.append(torch.autograd.grad(loss, logits)[0])
    assert torch.allclose(*gradients, atol=0.01)
    if steps == 1:
        # The gradient of the expected gain, by hand; chance enters by the baseline alone, which is 0 here, not learned.
        policy = torch.tensor([0.5, -0.3, 0.2]).softmax(0)
        gain = Shifts.moves.sigmoid().log() - torch.tensor(0.5).log() - 0.05 * (Shifts.moves != 0)
        expected = -policy * (gain - (policy * gain).sum())
        assert torch.allclose(gradients[1], expected, atol=1e-3)


def test_unlabelled_pixels_teach_nothing() -> None:
    refiner = make_refiner()
    _, log_probs = world(1, torch.Generator().manual_seed(1))
    labels = torch.full((1, *GRID), 255)
    loss, report = reinforce.reinforce(
        bind(refiner, log_probs), log_probs, labels, steps=2, entropy_weight=0.1,
        config=reinforce.ReinforceConfig(all_actions=True), rewards=RewardConfig(),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    loss.backward()
    assert report["reward"] == 0.0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in refiner.parameters())


def train(refiner: Refiner, updates: int, mode: str) -> list[float]:
    generator = torch.Generator().manual_seed(7)
    optimizer = torch.optim.Adam(refiner.parameters(), lr=0.02)
    config = reinforce.ReinforceConfig(discount=0.9, reward_scale=5.0, all_actions=mode == "all-actions")
    curve = []
    for update in range(updates):
        truth, log_probs = world(4, generator)
        weight = (0.0 if mode == "supervised" else 0.05) * (1 - update / updates)
        if mode != "supervised":
            loss, report = reinforce.reinforce(
                bind(refiner, log_probs), log_probs, truth, steps=2, entropy_weight=weight,
                config=config, rewards=RewardConfig(), generator=generator,
            )  # fmt: skip
        else:
            loss, report = supervised_refinement(
                bind(refiner, log_probs), log_probs, truth, steps=2, entropy_weight=weight, generator=generator
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(report.get("reward", 0.0))
    return curve


def test_untrained_refiner_keeps_everything() -> None:
    assert greedy_gain(make_refiner(), 2) == 0.0


@pytest.mark.parametrize(("mode", "updates"), [("rl", 40), ("all-actions", 20), ("supervised", 20)])
def test_the_policy_learns_to_mend_noise(mode: str, updates: int) -> None:
    refiner = make_refiner()
    curve = train(refiner, updates, mode)
    if mode != "supervised":
        assert sum(curve[-5:]) > sum(curve[:5])
    # Noise makes 1 - 0.25 * 2/3 = 83 % right; a 3x3 mean or vote mends most of the rest inside blocks.
    assert greedy_gain(refiner, 2) > 0.08


def test_training_is_repeatable() -> None:
    first, second = make_refiner(), make_refiner()
    train(first, 3, "rl")
    train(second, 3, "rl")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_kl_is_zero_to_itself_and_holds_the_policy() -> None:
    refiner = make_refiner()
    truth, log_probs = world(1, torch.Generator().manual_seed(1))
    agents = bind(refiner, log_probs)
    config = reinforce.ReinforceConfig(kl_weight=1.0)
    _, report = reinforce.reinforce(
        agents, log_probs, truth, steps=1, entropy_weight=0.0, config=config, rewards=RewardConfig(),
        generator=torch.Generator().manual_seed(0), reference=agents,
    )  # fmt: skip
    assert report["kl"] == pytest.approx(0.0, abs=1e-6)


def test_reported_reward_is_the_gain_of_the_rollout() -> None:
    refiner = make_refiner()
    with torch.no_grad():
        assert refiner.action_head.bias is not None
        refiner.action_head.bias[Action.MEAN] = 6.0
    truth, log_probs = world(2, torch.Generator().manual_seed(3))
    config = reinforce.ReinforceConfig(reward_scale=1.0)
    track = reinforce.rollout(
        bind(refiner, log_probs), log_probs, truth, steps=3, config=config,
        rewards=RewardConfig(log_probability=1.0, hard_iou=0.0, log_floor=-50.0, limit=1e9),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    gained = track.last.gather(1, truth[:, None]) - log_probs.gather(1, truth[:, None])
    assert torch.stack(track.reward).sum(0).mean().item() == pytest.approx(gained.mean().item(), rel=1e-4)
    mended = (track.last.argmax(1) == truth).float().mean() - (log_probs.argmax(1) == truth).float().mean()
    assert mended > 0.05
