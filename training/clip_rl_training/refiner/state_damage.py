"""Damage to what the refiner sees in training, so that its errors look like those met later.

A refiner that only sees the decoder's errors on scenes the decoder was trained on learns nothing of use on others. So
the decoder's features lose channels, and its log-probabilities get what unseen cameras cause: wrong classes over smooth
patches, rims out of place, flattened confidence and noise. Severity 0 changes nothing.

Notation: B images, K classes, h x w pixels (stride 4).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from clip_rl_training.refiner.refiner_config import DamageConfig


def corrupt_log_probs(
    log_probs: Tensor, *, severity: float, config: DamageConfig, generator: torch.Generator
) -> Tensor:
    """Damaged log-probabilities, (B, K, h, w), logsumexp over K equal to 0; no gradient.

    Args:
        log_probs: float (B, K, h, w).
        severity: 0..1.
        config: strengths at severity 1.
        generator: on the CPU; the same state gives the same damage on any device.
    """
    with torch.no_grad():
        if severity <= 0.0:
            return log_probs.log_softmax(1)
        batch, classes = log_probs.shape[:2]
        device = log_probs.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator).to(device)

        # A floor lets wrong classes win by patches even where the decoder was sure.
        value = log_probs.log_softmax(1).clamp(min=-8.0)
        value = _shifted(value, round(config.shift * severity), generator)
        value = value * (1.0 - config.flatten * severity * uniform(batch, 1, 1, 1))
        spread = config.noise * severity * uniform(batch, 1, 1, 1)
        value = value + spread * smooth_noise(value.shape, cells=12, generator=generator).to(device)
        chosen = uniform(batch) < config.patches * severity
        share = config.patch_share * severity * uniform(batch)
        field = smooth_noise((batch, 1, *value.shape[2:]), cells=6, generator=generator).to(device)
        limit = torch.stack([row.quantile(1.0 - part) for row, part in zip(field.flatten(1), share, strict=True)])
        inside = (field > limit[:, None, None, None]) & chosen[:, None, None, None]
        wrong = torch.randint(0, classes, (batch,), generator=generator).to(device)
        boost = (2.0 + 4.0 * uniform(batch))[:, None] * functional.one_hot(wrong, classes)
        value = value + inside * boost[:, :, None, None]
        kept = uniform(batch)[:, None, None, None] < config.clean
        return torch.where(kept, log_probs, value).log_softmax(1)


def drop_channels(features: Tensor, *, severity: float, config: DamageConfig, generator: torch.Generator) -> Tensor:
    """Features (B, C, h, w) with a random share of whole channels set to 0 and the rest scaled up to keep the sum."""
    share = config.feature_dropout * severity * torch.rand(features.shape[0], 1, generator=generator)
    kept = (torch.rand(features.shape[:2], generator=generator) >= share).to(features.dtype) / (1.0 - share)
    return features * kept[:, :, None, None].to(features.device)


def previous_frame(
    log_probs: Tensor, *, severity: float, config: DamageConfig, absent: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What the previous frame's refinement may have looked like, for training on stills.

    The same scene with damage of its own and moved by up to 3 pixels: errors of neighbouring frames differ in part, and
    the recall action is to learn when that helps.

    Returns:
        Log-probabilities (B, K, h, w), and whether each image has a previous frame, bool (B,); without one the
        log-probabilities equal the input.
    """
    with torch.no_grad():
        damaged = corrupt_log_probs(log_probs, severity=severity, config=config, generator=generator)
        moved = _shifted(damaged, 3, generator)
        present = (torch.rand(log_probs.shape[0], generator=generator) >= absent).to(log_probs.device)
        return torch.where(present[:, None, None, None], moved, log_probs), present


def smooth_noise(shape: tuple[int, ...] | torch.Size, *, cells: int, generator: torch.Generator) -> Tensor:
    """Smooth Gaussian noise of about unit variance, (B, C, h, w), with some `cells` bumps along a side; on the CPU."""
    coarse = torch.randn(shape[0], shape[1], cells, cells, generator=generator)
    return functional.interpolate(coarse, size=tuple(shape[2:]), mode="bicubic", align_corners=False)


def _shifted(value: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `reach` pixels in x and y, rims repeated."""
    if reach < 1:
        return value
    height, width = value.shape[2:]
    padded = functional.pad(value, (reach,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * reach + 1, (value.shape[0], 2), generator=generator).tolist()
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, offsets, strict=True)])
