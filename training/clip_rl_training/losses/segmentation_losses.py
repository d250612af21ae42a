"""Supervised losses of label maps, each with its equation and source, and their weighted sum.

Notation: B images, K classes, H x W pixels (any stride). y is the label map, 255 = ignored; p = softmax(logits); [.] is
1 when true, else 0. Every loss is a scalar, 0 for a perfect prediction, and is exactly 0 with zero gradient when no
pixel counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from clip_rl_training.losses.loss_config import LossConfig

IGNORE = 255
"""Label of pixels that count in no loss; equals `clip_rl_perception.labels.UNLABELLED`."""


def supervised_loss(
    logits: Tensor, labels: Tensor, weights: LossConfig, class_weights: Tensor | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the supervised losses, and each of them for the log.

    Args:
        logits: float (B, K, h, w), any stride.
        labels: int64 (B, h, w), 255 = ignored.
        weights: of the
        class_weights: float (K,) for the cross-entropy, or None.
    """
    total = logits.new_zeros(())
    report: dict[str, float] = {}

    def add(name: str, weight: float, loss: Callable[[], Tensor]) -> None:
        nonlocal total
        if weight > 0:
            value = loss()
            total = total + weight * value
            report[name] = value.item()

    add(
        "cross_entropy",
        weights.cross_entropy,
        lambda: cross_entropy(logits, labels, class_weights=class_weights, smoothing=weights.smoothing),
    )
    add("dice", weights.dice, lambda: soft_dice(logits, labels))
    add("iou", weights.iou, lambda: soft_iou(logits, labels))
    add("lovasz", weights.lovasz, lambda: lovasz_softmax(logits, labels))
    return total, report


def cross_entropy(
    logits: Tensor, labels: Tensor, *, class_weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Weighted pixel cross-entropy, ``-sum_i w[y_i] log p_i[y_i] / sum_i w[y_i]`` over pixels with y != 255.

    Args:
        logits: float (B, K, H, W).
        labels: int64 (B, H, W), 0..K-1 or 255.
        class_weights: float (K,), w; None means ones.
        smoothing: label smoothing in [0, 1) (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    """
    if not bool((labels != IGNORE).any()):
        return logits.sum() * 0.0
    weight = None if class_weights is None else class_weights.to(logits.dtype)
    return functional.cross_entropy(
        logits, labels, weight=weight, ignore_index=IGNORE, label_smoothing=smoothing, reduction="mean"
    )


def soft_dice(logits: Tensor, labels: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Soft Dice loss over the classes that the batch's truth holds, sums pooled over the batch.

    ``1 - mean_c (2 sum_i p_i[c] [y_i = c] + s) / (sum_i p_i[c] + sum_i [y_i = c] + s)``, V-Net (Milletari et al. 2016,
    arXiv 1606.04797) without the squares. Pooling over the batch keeps classes of a few pixels from dominating.

    Args:
        logits: float (B, K, H, W).
        labels: int64 (B, H, W), 0..K-1 or 255.
        smooth: s, pixels; keeps tiny classes from swinging the loss.
    """
    probabilities, truth = masked(logits.float().softmax(dim=1), labels)
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    total = probabilities.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    if not bool(present.any()):
        return logits.sum() * 0.0
    dice = (2.0 * overlap + smooth) / (total + smooth)
    return 1.0 - dice[present].mean()


def soft_iou(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Jaccard loss pooled over the batch, ``1 - mean_c I_c / U_c`` over classes present in the truth.

    ``I_c = sum_i p_i[c] [y_i = c]``, ``U_c = sum_i p_i[c] + [y_i = c] - p_i[c] [y_i = c]`` (Rahman & Wang 2016).
    Shapes as in `soft_dice`.
    """
    probabilities, truth = masked(logits.float().softmax(dim=1), labels)
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    union = (probabilities + truth - probabilities * truth).sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    if not bool(present.any()):
        return logits.sum() * 0.0
    return 1.0 - (overlap[present] / union[present]).mean()


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovasz-softmax: the Lovasz extension of the Jaccard loss (Berman et al. 2018, arXiv 1705.08790, equation 11).

    For each class c in the truth the errors ``m_i = |[y_i = c] - p_i[c]|`` are sorted downwards and weighted with the
    increments of the Jaccard loss, ``sum_i m_(i) (J_i - J_(i-1))``; the mean over classes is returned. Shapes as in
    `soft_dice`; pixels are pooled over the batch.
    """
    classes = logits.shape[1]
    flat = logits.float().softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, classes)
    target = labels.reshape(-1)
    valid = target != IGNORE
    flat, target = flat[valid], target[valid]
    losses = []
    for index in torch.unique(target).tolist():
        foreground = (target == index).to(flat.dtype)
        errors = (foreground - flat[:, index]).abs()
        errors, order = errors.sort(descending=True)
        losses.append(torch.dot(errors, _jaccard_increments(foreground[order])))
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def class_weights(pixels: Tensor, *, power: float) -> Tensor:
    """Class weights ``(1 / f_c)^power`` from pixel counts, scaled to mean 1 over seen classes, unseen classes get 1.

    ``power`` 0 gives ones, 0.5 is the usual compromise between rare and frequent classes, 1 balances all.

    Args:
        pixels: float or int (K,), counts.
        power: at least 0.
    """
    counts = pixels.double()
    seen = counts > 0
    if not bool(seen.any()):
        return torch.ones_like(counts, dtype=torch.float32)
    weights = torch.ones_like(counts)
    weights[seen] = (counts[seen].sum() / counts[seen]) ** power
    weights[seen] /= weights[seen].mean()
    return weights.float()


def masked(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot truth, both float (B, K, H, W), zero where labels, int64 (B, H, W), are 255."""
    valid = (labels != IGNORE).unsqueeze(1)
    safe = torch.where(labels == IGNORE, 0, labels)
    truth = functional.one_hot(safe, probabilities.shape[1]).permute(0, 3, 1, 2) * valid
    return probabilities * valid, truth.to(probabilities.dtype)


def _jaccard_increments(sorted_foreground: Tensor) -> Tensor:
    """Increments of the Jaccard loss along errors sorted downwards (Berman et al. 2018, algorithm 1), (N,)."""
    total = sorted_foreground.sum()
    intersection = total - sorted_foreground.cumsum(0)
    union = total + (1.0 - sorted_foreground).cumsum(0)
    jaccard = 1.0 - intersection / union
    return torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))
