"""Losses of the instance head. Notation: B pictures, g x u places; instruments count by their width."""

from __future__ import annotations

from typing import NamedTuple

import torch
from clip_rl_perception.model.instance_head import squeeze
from torch import Tensor
from torch.nn import functional

_FOOT, _ALONG, _RADIUS, _END, _PEAKS = 1.0, 0.5, 0.5, 0.5, 1.0
"""Weights beside the axis's 1: of the foot, `along`, the radius, the working end, the peaks."""


class InstanceBatch(NamedTuple):
    """Tensors of `InstanceTargets`."""

    images: Tensor
    """uint8 (B, H, W, 3)."""
    instance: Tensor
    """int64 (B, g, u), 0 none."""
    fields: Tensor
    """float (B, 6, g, u)."""
    working_end: Tensor
    """float (B, g, u), 0 or 1."""
    peaks: Tensor
    """float (B, 2, g, u)."""


def instance_loss(said: Tensor, batch: InstanceBatch) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum, and each of its parts.

    Axis: 1 - cosine. Foot: smooth L1 in radii of the shaft, so that what counts is which shaft of two is meant.
    `along`: smooth L1 after `squeeze`. Radius: L1 of logarithms. Working end: binary cross-entropy. Peaks: `peak_loss`.

    Args:
        said: `instance_channels.CHANNELS`, float (B, 9, g, u).
        batch: what was to be said.
    """
    weights = place_weights(batch.instance)
    axis, foot, along, log_radius = batch.fields[:, :2], batch.fields[:, 2:4], batch.fields[:, 4], batch.fields[:, 5]
    radius = log_radius.exp().clamp(min=0.3)
    parts = {
        "axis": 1 - (said[:, :2] * axis).sum(dim=1),
        "foot": _FOOT * functional.smooth_l1_loss(
            said[:, 2:4] / radius[:, None], foot / radius[:, None], reduction="none", beta=0.3
        ).sum(dim=1),
        "along": _ALONG * functional.smooth_l1_loss(said[:, 4], squeeze(along), reduction="none", beta=0.3),
        "radius": _RADIUS * (said[:, 5] - log_radius).abs(),
        "working_end": _END
        * functional.binary_cross_entropy_with_logits(said[:, 6], batch.working_end, reduction="none"),
    }  # fmt: skip
    losses = {name: (weights * value).sum() for name, value in parts.items()}
    losses["peaks"] = _PEAKS * peak_loss(said[:, 7:9], batch.peaks)
    total = torch.stack(list(losses.values())).sum()
    return total, {name: value.item() for name, value in losses.items()}


def place_weights(instance: Tensor) -> Tensor:
    """Weights of places, (B, g, u), that sum to 1: an instrument of n places gives sqrt(n) in all, others 0."""
    numbered = instance + torch.arange(len(instance), device=instance.device)[:, None, None] * 256
    count = torch.bincount(numbered.flatten(), minlength=256 * len(instance)).clamp(min=1)
    weights = count[numbered].float().rsqrt() * (instance > 0)
    return weights / weights.sum().clamp(min=1e-6)


def peak_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """CenterNet's focal loss of heat maps (arXiv 1904.07850, equation 1: alpha 2, beta 4), over the number of peaks.

    Args:
        logits: (B, C, g, u).
        heat: truth, 1 exactly at the points, falling off around them.
    """
    probability = torch.sigmoid(logits)
    at = (heat == 1).float()
    found = functional.logsigmoid(logits) * (1 - probability) ** 2 * at
    elsewhere = functional.logsigmoid(-logits) * probability**2 * (1 - heat) ** 4 * (1 - at)
    return -(found.sum() + elsewhere.sum()) / at.sum().clamp(min=1)
