"""Reinforcement learning of the mask refiner: an actor-critic in which every pixel is an agent with shared weights.

Read top to bottom: `RefinerAgents` (the policy bound to one batch), `rollout` (T steps of sampled actions),
`generalised_advantages` (GAE), `actor_critic_loss` (the gradient). The setting is PixelRL's (Furuta et al. 2019, arXiv
1912.07190): pixels of one image act at the same time, a fully convolutional policy gives each its distribution, the
reward is what the pixel gained.

    state    s_t(i)   what the refiner observes around pixel i: log-probabilities l_t, decoder features, image, text
    action   a_t(i)   one of the refiner's bounded edits of the pixel's log-probabilities; 0 keeps them
    reward   r_t(i)   gain in log p(truth), plus shares of the image's gain in soft mIoU and boundary score (rewards.py)
    end      after T steps; T comes from the curriculum

With `all_actions` the reward of the step itself is not sampled: what every action would gain at a pixel is worked out
(`rewards.step_reward` with `alone`) and its expectation under the policy is differentiated, as in the all-action
gradient of Sutton et al. 2001 ("Comparing policy-gradient algorithms") and mean actor-critic (Allen et al. 2017, arXiv
1709.00503); only what follows from the step is left to the sampled action. A rare edit that helps is then seen wherever
it would help, not only where it happened to be drawn, and the policy does not settle for keeping everything.

Left out on purpose. PPO's clipped ratio (arXiv 1707.06347): every batch is used for one gradient step, so the ratio is
1 and clipping would never act. PixelRL's reward map convolution: the value head sees a neighbourhood already.
Asynchronous actors (A3C): one batch of thousands of pixels is decorrelated enough; what remains is A2C.

Notation: B images, K classes, A actions, h x w pixels (stride 4). Pixels labelled 255 take part in no mean.
"""

from __future__ import annotations

import dataclasses

import torch
from clip_rl_perception.model.refiner import Refiner, RefinerContext
from torch import Tensor
from torch.nn import functional

from clip_rl_training.losses.segmentation_losses import IGNORE
from clip_rl_training.refiner.refiner_config import ReinforceConfig, RewardConfig
from clip_rl_training.refiner.rewards import soft_miou, step_reward


@dataclasses.dataclass(frozen=True)
class RefinerAgents:
    """The policy bound to one batch: image, features, text and previous frame are fixed, log-probabilities change."""

    refiner: Refiner
    context: RefinerContext

    def decide(self, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Action logits (B, A, h, w) and values (B, h, w) in the state of log-probabilities (B, K, h, w)."""
        output = self.refiner(self.refiner.observe(log_probs, self.context))
        return output.action_logits, output.value

    def apply(self, log_probs: Tensor, actions: Tensor) -> Tensor:
        """Log-probabilities after int64 actions (B, h, w); logsumexp over K stays 0."""
        return self.refiner.act(log_probs, actions, self.context)


@dataclasses.dataclass
class Trajectory:
    """T steps of one batch. Lists have T entries; tensors with gradient: log_policy, entropy, value, divergence."""

    log_policy: list[Tensor]
    """log pi(a_t | s_t), (B, h, w)."""
    entropy: list[Tensor]
    """Entropy of pi(. | s_t), nats, (B, h, w)."""
    value: list[Tensor]
    """V(s_t), (B, h, w)."""
    divergence: list[Tensor]
    """KL(pi || reference) at s_t, (B, h, w); empty without a reference."""
    reward: list[Tensor]
    """r_t, (B, h, w), scaled."""
    actions: list[Tensor]
    """a_t, int64 (B, h, w)."""
    last: Tensor
    """Log-probabilities after step T, (B, K, h, w)."""
    policy: list[Tensor] = dataclasses.field(default_factory=list)
    """With `all_actions`: pi(. | s_t), (B, A, h, w), with gradient."""
    alone: list[Tensor] = dataclasses.field(default_factory=list)
    """With `all_actions`: what each action would gain at one pixel alone, (B, A, h, w), scaled."""


def rollout(
    agents: RefinerAgents,
    log_probs: Tensor,
    labels: Tensor,
    *,
    steps: int,
    config: ReinforceConfig,
    rewards: RewardConfig,
    generator: torch.Generator,
    reference: RefinerAgents | None = None,
) -> Trajectory:
    """Let the policy act `steps` times, actions drawn from it.

    Args:
        agents: the policy, bound to the batch.
        log_probs: l_0, (B, K, h, w).
        labels: truth, int64 (B, h, w).
        steps: T, at least 1.
        config: actor-critic settings.
        rewards: weights of the gains.
        generator: on the CPU; drives the sampling.
        reference: a policy to stay close to, bound to the same batch, or None.
    """
    track = Trajectory([], [], [], [], [], [], log_probs.detach())
    for _ in range(steps):
        before = track.last
        logits, value = agents.decide(before)
        log_policy = logits.float().log_softmax(1)
        actions = sample(log_policy.detach(), generator)
        track.log_policy.append(log_policy.gather(1, actions.unsqueeze(1)).squeeze(1))
        track.entropy.append(-(log_policy.exp() * log_policy).sum(1))
        track.value.append(value.float())
        with torch.no_grad():
            after = agents.apply(before, actions)
            track.reward.append(config.reward_scale * step_reward(before, after, actions, labels, rewards))
            if config.all_actions:
                track.alone.append(config.reward_scale * _alone(agents, before, labels, log_policy.shape[1], rewards))
            if reference is not None:
                wanted = reference.decide(before)[0].float().log_softmax(1)
        if config.all_actions:
            track.policy.append(log_policy.exp())
        if reference is not None:
            track.divergence.append((log_policy.exp() * (log_policy - wanted)).sum(1))
        track.actions.append(actions)
        track.last = after
    return track


def _alone(agents: RefinerAgents, before: Tensor, labels: Tensor, count: int, rewards: RewardConfig) -> Tensor:
    """What each of `count` actions would gain at each pixel alone, (B, A, h, w)."""
    gains = []
    for index in range(count):
        actions = torch.full_like(labels, index)
        gains.append(step_reward(before, agents.apply(before, actions), actions, labels, rewards, alone=True))
    return torch.stack(gains, dim=1)


def generalised_advantages(
    rewards: list[Tensor], values: list[Tensor], *, discount: float, decay: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Advantages and returns by GAE (Schulman et al. 2016, arXiv 1506.02438, equations 11, 12 and 16).

    ``delta_t = r_t + gamma V(s_{t+1}) - V(s_t)``, ``A_t = delta_t + gamma lambda A_{t+1}``, with V(s_T) = 0 because the
    episode ends; the return to which V is fitted is ``A_t + V(s_t)``. Tensors of any one shape; no gradient.
    """
    advantage = torch.zeros_like(rewards[-1])
    following = torch.zeros_like(rewards[-1])
    advantages: list[Tensor] = []
    returns: list[Tensor] = []
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        value = value.detach()
        advantage = reward + discount * following - value + discount * decay * advantage
        advantages.append(advantage)
        returns.append(advantage + value)
        following = value
    return advantages[::-1], returns[::-1]


def actor_critic_loss(
    track: Trajectory, labels: Tensor, *, config: ReinforceConfig, entropy_weight: float
) -> tuple[Tensor, dict[str, float]]:
    """The loss whose gradient is the actor-critic's (Mnih et al. 2016, arXiv 1602.01783, section 4), and what to log.

    ``L = mean[ -log pi(a_t|s_t) A_t - beta H(pi(.|s_t)) + c_v h(V(s_t) - R_t) + c_kl KL(pi || pi_ref) ]``

    The mean runs over steps and labelled pixels of all images; A and R carry no gradient. h is
    Huber's loss in place of the square, because shares of the mIoU have heavy tails.
    """
    valid = (labels != IGNORE).float()
    pixels = valid.sum().clamp(min=1.0)

    def mean(terms: list[Tensor]) -> Tensor:
        return torch.stack([(term * valid).sum() for term in terms]).sum() / (pixels * len(terms))

    advantages, returns = generalised_advantages(track.reward, track.value, discount=config.discount, decay=config.gae)
    expected = []
    if track.alone:
        means = [(policy.detach() * alone).sum(1) for policy, alone in zip(track.policy, track.alone, strict=True)]
        expected = [alone - mean[:, None] for alone, mean in zip(track.alone, means, strict=True)]
        # The step's own gain is in `expected`; the sampled action answers for the rest.
        own = [alone.gather(1, a[:, None]).squeeze(1) for alone, a in zip(track.alone, track.actions, strict=True)]
        advantages = [a - (o - mean_) for a, o, mean_ in zip(advantages, own, means, strict=True)]
    if config.image_baseline:
        per_image = valid.sum(dim=(1, 2), keepdim=True).clamp(min=1.0)
        advantages = [a - (a * valid).sum(dim=(1, 2), keepdim=True) / per_image for a in advantages]
    if config.normalise:
        # With all actions the variance of what a sampled action would have gained is added to that of the rest.
        drawn = [(p.detach() * e.square()).sum(1) for p, e in zip(track.policy, expected, strict=False)]
        squares = [a.square() + d for a, d in zip(advantages, drawn, strict=True)] if drawn else None
        spread = mean(squares or [a.square() for a in advantages]).sqrt()
        advantages = [a / (spread + 1e-6) for a in advantages]
        expected = [e / (spread + 1e-6) for e in expected]
    policy_loss = mean([-log_policy * a for log_policy, a in zip(track.log_policy, advantages, strict=True)])
    if expected:
        policy_loss = policy_loss - mean([(p * e).sum(1) for p, e in zip(track.policy, expected, strict=True)])
    value_loss = mean(
        [functional.huber_loss(v, r, reduction="none") for v, r in zip(track.value, returns, strict=True)]
    )
    entropy = mean(track.entropy)
    loss = policy_loss - entropy_weight * entropy + config.value_weight * value_loss
    report = {
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
        "entropy": entropy.item(),
        "reward": mean(track.reward).item() * len(track.reward),
        "edited": mean([(actions != 0).float() for actions in track.actions]).item(),
    }
    if track.divergence:
        divergence = mean(track.divergence)
        loss = loss + config.kl_weight * divergence
        report["kl"] = divergence.item()
    return loss, report


def reinforce(
    agents: RefinerAgents,
    log_probs: Tensor,
    labels: Tensor,
    *,
    steps: int,
    entropy_weight: float,
    config: ReinforceConfig,
    rewards: RewardConfig,
    generator: torch.Generator,
    reference: RefinerAgents | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """One batch of the actor-critic: roll out, estimate advantages, return the loss and what to log.

    Arguments as in `rollout`; `entropy_weight` is beta. The log also holds the soft mIoU before and after.
    """
    track = rollout(
        agents,
        log_probs,
        labels,
        steps=steps,
        config=config,
        rewards=rewards,
        generator=generator,
        reference=reference,
    )
    loss, report = actor_critic_loss(track, labels, config=config, entropy_weight=entropy_weight)
    report["soft_miou_before"] = soft_miou(log_probs.detach(), labels).mean().item()
    report["soft_miou_after"] = soft_miou(track.last, labels).mean().item()
    return loss, report


def sample(log_policy: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one action per pixel, int64 (B, h, w), from log-probabilities (B, A, h, w), by inverting the cumulative sum.

    One uniform number per pixel from a generator on the CPU makes rollouts equal on every device.
    """
    uniform = torch.rand(log_policy[:, :1].shape, generator=generator).to(log_policy.device)
    actions = (log_policy.exp().cumsum(1) < uniform).sum(1)
    return actions.clamp(max=log_policy.shape[1] - 1)
