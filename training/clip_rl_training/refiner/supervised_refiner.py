"""The control by which reinforcement earns its place: the same refiner trained by cross-entropy through T steps.

Each pixel draws an action as in reinforcement, but the gradient comes from the loss itself: straight-through
Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144, section 2.2). Forwards the drawn action's outcome is taken;
backwards the outcomes of all actions are weighted with ``softmax((log pi + g) / tau)``, g Gumbel noise. Cross-entropy
against the truth is averaged over the steps. (A plain mixture of outcomes without drawing learns to blend: its
greedy action then stays "keep".) At inference the greedy action is taken as ever, so both refiners run alike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from clip_rl_training.losses.segmentation_losses import IGNORE, cross_entropy
from clip_rl_training.refiner.reinforce import RefinerAgents
from clip_rl_training.refiner.rewards import soft_miou


def supervised_refinement(
    agents: RefinerAgents,
    log_probs: Tensor,
    labels: Tensor,
    *,
    steps: int,
    entropy_weight: float,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one batch and what to log; arguments as in `reinforce.reinforce`, which this function stands in for.

    `temperature` is tau.
    """
    current = log_probs.detach()
    valid = (labels != IGNORE).float()
    losses, entropies, edited = [], [], []
    for _ in range(steps):
        logits, _ = agents.decide(current)
        log_policy = logits.float().log_softmax(1)
        uniform = torch.rand(log_policy.shape, generator=generator).to(log_policy.device).clamp(1e-6, 1.0 - 1e-6)
        soft = ((log_policy - (-uniform.log()).log()) / temperature).softmax(1)
        drawn = soft.argmax(1)
        weights = functional.one_hot(drawn, soft.shape[1]).permute(0, 3, 1, 2) - soft.detach() + soft
        mixture = torch.zeros_like(current)
        for action in range(soft.shape[1]):
            outcome = agents.apply(current, torch.full_like(labels, action))
            mixture = mixture + weights[:, action : action + 1] * outcome.exp()
        current = mixture.clamp(min=1e-7).log().log_softmax(1)
        losses.append(cross_entropy(current, labels))
        entropies.append(_mean(-(log_policy.exp() * log_policy).sum(1), valid))
        edited.append(_mean((drawn != 0).float(), valid))
    entropy = torch.stack(entropies).mean()
    loss = torch.stack(losses).mean() - entropy_weight * entropy
    report = {
        "cross_entropy": losses[-1].item(),
        "entropy": entropy.item(),
        "edited": torch.stack(edited).mean().item(),
        "soft_miou_before": soft_miou(log_probs.detach(), labels).mean().item(),
        "soft_miou_after": soft_miou(current.detach(), labels).mean().item(),
    }
    return loss, report


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return (values * valid).sum() / valid.sum().clamp(min=1.0)
