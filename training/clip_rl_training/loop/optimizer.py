"""AdamW with one group per part of the network, gradient clipping, and norms that hold still."""

from __future__ import annotations

import torch
from torch import nn

from clip_rl_training.loop.training_config import OptimizerConfig

_PARTS = ("encoder", "text", "decoder", "close_up")


def part_of(name: str) -> str:
    """Part of the network to which the parameter called `name` belongs: encoder, text, decoder or close_up."""
    name = name.removeprefix("segmenter.")
    head = name.split(".", 1)[0]
    if head in ("text", "logit_scale"):
        return "text"
    return head if head in ("encoder", "close_up") else "decoder"


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; vectors and scalars (biases, norms, temperatures) do not decay."""
    groups = []
    for part in _PARTS:
        for decays in (True, False):
            parameters = [
                parameter
                for name, parameter in module.named_parameters()
                if parameter.requires_grad and part_of(name) == part and (parameter.ndim > 1) == decays
            ]
            if parameters:
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": parameters, "weight_decay": decay, "part": part})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, factor: float) -> None:
    """Set every group's learning rate to the peak times `factor` times the part's own factor."""
    own = {
        "encoder": config.encoder_factor,
        "text": config.text_factor,
        "decoder": 1.0,
        "close_up": 1.0,
    }
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor * own[group["part"]]


def clip_gradients(module: nn.Module, limit: float) -> dict[str, float]:
    """Clip the gradient norms of the network (towers, decoder) and the close-up branch to `limit` each.

    A `limit` of 0 clips nothing. Returns the norms.
    """
    norms = {}
    clipped = {"network": ("encoder", "text", "decoder"), "close_up": ("close_up",)}
    for label, parts in clipped.items():
        parameters = [p for name, p in module.named_parameters() if part_of(name) in parts and p.grad is not None]
        if parameters:
            norm = torch.nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else float("inf"))
            norms[f"gradient/{label}"] = norm.item()
    return norms


def hold_norms(module: nn.Module) -> None:
    """Let batch norms use their running statistics, and leave them as they are, until the next ``module.train()``.

    For batches of another kind than what the network will see: at inference there is one set of statistics for all, so
    close-ups are to be learned under those of scenes. Weights and biases of the norms go on learning. The branch for
    close-ups sees nothing else: its norms are those of close-ups.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part_of(name) != "close_up":
            part.eval()
