"""Rewards of the mask refiner: what one step of actions gained, per pixel and per image.

Notation: B images, K classes, h x w pixels (stride 4); l, l' are log-probabilities before and after a step,
(B, K, h, w) with logsumexp over K equal to 0; y the truth, int64 (B, h, w), 255 = ignored: such pixels get reward 0.
Nothing here needs to be differentiable and nothing carries a gradient; a larger reward is better.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from clip_rl_training.losses.segmentation_losses import IGNORE, masked
from clip_rl_training.refiner.refiner_config import RewardConfig


@torch.no_grad()
def log_probability_gain(before: Tensor, after: Tensor, labels: Tensor, *, floor: float = -4.0) -> Tensor:
    """``max(l'[y], floor) - max(l[y], floor)``, (B, h, w): the relative-entropy gain of IteR-MRL (arXiv 1911.10334)."""
    safe = torch.where(labels == IGNORE, 0, labels).unsqueeze(1)
    gain = after.gather(1, safe).clamp(min=floor) - before.gather(1, safe).clamp(min=floor)
    return torch.where(labels == IGNORE, 0.0, gain.squeeze(1))


@torch.no_grad()
def soft_miou(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Soft mIoU per image, (B,): mean over the truth's classes of ``sum p[c] [y=c] / sum (p[c] + [y=c] - p[c] [y=c])``.

    Images without any labelled pixel score 0.
    """
    overlap, union, present = _soft_counts(*masked(log_probs.exp(), labels))
    iou = torch.where(present, overlap / union.clamp(min=1e-6), 0.0)
    return iou.sum(1) / present.sum(1).clamp(min=1)


@torch.no_grad()
def iou_credit(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """What each pixel's change added to its image's soft mIoU, times the number of labelled pixels, (B, h, w).

    A difference reward (Wolpert & Tumer 2002, "Optimal payoff functions for members of collectives"; COMA, arXiv
    1705.08926, section 3): ``N (G(s') - G(s' with pixel i as in s))``. For soft IoU it has a closed form: with d =
    p'_i[c] - p_i[c], a pixel of class c adds ``I/U - (I-d)/U`` to IoU_c and any other adds ``I/U - I/(U-d)``, where I
    and U are taken after the step. Pixels share no blame for each other's actions, so the variance is that of a
    per-pixel reward, while the mean over pixels is, to first order, the image's gain in soft mIoU. For sure pixels
    (`decided`) soft mIoU is the mIoU itself.
    """
    p_before, truth = masked(before.exp(), labels)
    p_after, _ = masked(after.exp(), labels)
    overlap, union, present = _soft_counts(p_after, truth)
    change = p_after - p_before
    overlap, union = overlap[..., None, None], union[..., None, None].clamp(min=1e-6)
    own = change / union
    # U - d > 0 always: it is the union of the image in which this one pixel is as it was.
    others = overlap / union - overlap / (union - change).clamp(min=1e-6)
    credit = torch.where(truth > 0, own, others) * present[..., None, None]
    labelled = (labels != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    scale = labelled / present.sum(1).clamp(min=1)
    return torch.where(labels == IGNORE, 0.0, credit.sum(1) * scale[:, None, None])


@torch.no_grad()
def lone_iou_credit(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """What each pixel's change alone would add to its image's soft mIoU, times the labelled pixels, (B, h, w).

    As `iou_credit`, seen from before the step: ``N (G(s with pixel i as in s') - G(s))``. A pixel of class c adds
    ``d / U`` to IoU_c, any other adds ``I / (U + d) - I / U``, with I and U of the state before: what it would take
    away again if all went back.
    """
    return -iou_credit(after, before, labels)


def decided(log_probs: Tensor) -> Tensor:
    """Log-probabilities (B, K, h, w) of a pixel that is sure of its first class: 0 there, -inf elsewhere."""
    chosen = functional.one_hot(log_probs.argmax(1), log_probs.shape[1]).permute(0, 3, 1, 2)
    return chosen.to(log_probs.dtype).log()


@torch.no_grad()
def boundary_f_score(prediction: Tensor, labels: Tensor, *, classes: int, tolerance: int = 1) -> Tensor:
    """Boundary F-score per image, (B,), in [0, 1]: mean over classes in truth or prediction.

    Csurka et al. 2013 ("What is a good evaluation measure for semantic segmentation?"): precision is the share of
    predicted boundary pixels within `tolerance` (Chebyshev distance) of a true one, recall the reverse. A class whose
    region has no boundary in one map only (fills the image or is missing) scores 0; in both maps, 1.

    Args:
        prediction: int64 (B, h, w), class ids.
        labels: int64 (B, h, w); ignored pixels are taken from the prediction, so that they cost nothing.
        classes: K.
        tolerance: stride-4 pixels.
    """
    truth = torch.where(labels == IGNORE, prediction, labels)
    seen_p, edge_p = _class_edges(prediction, classes)
    seen_t, edge_t = _class_edges(truth, classes)
    near_p, near_t = _dilate(edge_p, tolerance), _dilate(edge_t, tolerance)
    count_p, count_t = edge_p.sum(dim=(2, 3)), edge_t.sum(dim=(2, 3))
    precision = (edge_p * near_t).sum(dim=(2, 3)) / count_p.clamp(min=1)
    recall = (edge_t * near_p).sum(dim=(2, 3)) / count_t.clamp(min=1)
    score = 2 * precision * recall / (precision + recall).clamp(min=1e-6)
    score = torch.where((count_p == 0) & (count_t == 0) & seen_p & seen_t, 1.0, score)
    counted = seen_p | seen_t
    return (score * counted).sum(1) / counted.sum(1).clamp(min=1)


@torch.no_grad()
def step_reward(
    before: Tensor, after: Tensor, actions: Tensor, labels: Tensor, config: RewardConfig, *, alone: bool = False
) -> Tensor:
    """Reward of one step, (B, h, w): the weighted sum of the gains in `config`.

    Args:
        before: log-probabilities l, (B, K, h, w).
        after: log-probabilities l', (B, K, h, w).
        actions: int64 (B, h, w); 0 is "keep".
        labels: int64 (B, h, w), 255 = ignored.
        config: weights.
        alone: what each pixel's action would bring if it alone acted; without `boundary`, which pixels share.
    """
    credit = lone_iou_credit if alone else iou_credit
    reward = config.log_probability * log_probability_gain(before, after, labels, floor=config.log_floor)
    if config.iou:
        reward = reward + config.iou * credit(before, after, labels)
    if config.hard_iou:
        reward = reward + config.hard_iou * credit(decided(before), decided(after), labels)
    if config.boundary and not alone:
        reward = reward + config.boundary * _boundary_credit(before, after, labels, config.boundary_tolerance)
    if config.cost:
        reward = reward - config.cost * (actions != 0)
    return torch.where(labels == IGNORE, 0.0, reward.clamp(-config.limit, config.limit))


def _boundary_credit(before: Tensor, after: Tensor, labels: Tensor, tolerance: int) -> Tensor:
    """Gain in boundary F-score, spread over the band around boundaries so that its mean over pixels is the gain."""
    classes = before.shape[1]
    old, new = before.argmax(1), after.argmax(1)
    gain = boundary_f_score(new, labels, classes=classes, tolerance=tolerance)
    gain = gain - boundary_f_score(old, labels, classes=classes, tolerance=tolerance)
    band = torch.zeros_like(labels, dtype=torch.bool)
    for regions in (old, new, torch.where(labels == IGNORE, new, labels)):
        band |= _dilate(_class_edges(regions, classes)[1], tolerance).amax(1) > 0
    pixels = labels[0].numel()
    share = pixels / band.sum(dim=(1, 2)).clamp(min=1)
    return band * (gain * share)[:, None, None]


def _soft_counts(probabilities: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft intersection and union (B, K) and which classes the truth holds, bool (B, K)."""
    overlap = (probabilities * truth).sum(dim=(2, 3))
    union = (probabilities + truth - probabilities * truth).sum(dim=(2, 3))
    return overlap, union, truth.sum(dim=(2, 3)) > 0


def _class_edges(regions: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Which classes occur, bool (B, K), and each class's inner boundary (4-neighbourhood), float (B, K, h, w).

    Pixels at the image's rim are boundary only where a neighbour inside the image differs.
    """
    one_hot = functional.one_hot(regions, classes).permute(0, 3, 1, 2).float()
    padded = functional.pad(one_hot, (1, 1, 1, 1), mode="replicate")
    neighbours = torch.stack(
        (padded[..., :-2, 1:-1], padded[..., 2:, 1:-1], padded[..., 1:-1, :-2], padded[..., 1:-1, 2:])
    )
    edge = one_hot * (neighbours.amin(0) < 1)
    return one_hot.sum(dim=(2, 3)) > 0, edge


def _dilate(mask: Tensor, radius: int) -> Tensor:
    return functional.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius) if radius else mask
