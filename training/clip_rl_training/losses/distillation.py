"""What a network says at several looks, taught to one that is to say it at the first (Hinton et al. 2015, 1503.02531).

Errors that depend on the sides that instruments come from cancel in the mean over mirror images; a network that learned
the mean would have it at the price of one look. Notation: B images, H x W pixels, h x w = H/4 x W/4, K classes.
"""

from __future__ import annotations

import copy

import torch
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.looks.look import MIRRORS, Look
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor
from torch.nn import functional

from clip_rl_training.losses.segmentation_losses import IGNORE


def turned_dims(look: Look) -> list[int]:
    """Dimensions of (B, C, H, W) that a mirror image turns round."""
    return [dim for dim, step in ((2, look.down), (3, look.across)) if step < 0]


class Teacher:
    """A network as it was, frozen; no module, so that it is neither trained nor kept in a run's state."""

    def __init__(self, segmenter: ClipRlSegmenter, views: int) -> None:
        """Keep a copy of `segmenter`, whose mean over the first `views` of the mirror images is what is taught."""
        self._segmenter = copy.deepcopy(segmenter).eval().requires_grad_(False)
        self._looks = MIRRORS[:views]
        self._text: dict[str, Tensor] = {}

    @torch.no_grad()
    def probabilities(self, pixels: Tensor, space: LabelSpace) -> Tensor:
        """Mean over the looks, float32 (B, K, h, w), of images (B, 3, H, W) as `ClipRlSegmenter.prepare` gives them."""
        net = self._segmenter
        if space.name not in self._text:
            self._text[space.name] = net.encode_text(space)
        said = []
        for look in self._looks:
            turned = turned_dims(look)
            features = net.decoder(net.encoder((pixels.flip(turned) - net.mean) / net.std).pyramid)
            with torch.autocast(pixels.device.type, enabled=False):
                logits = net.decoder.classify(features.float(), self._text[space.name])
            said.append(logits.softmax(1).flip(turned))
        return torch.stack(said).mean(0)


def divergence(logits: Tensor, taught: Tensor, labels: Tensor) -> Tensor:
    """Mean over pixels with y != 255 of ``KL(q || p) = sum_k q_k (log q_k - log p_k)``, p = softmax(logits).

    Args:
        logits: float (B, K, h, w).
        taught: q, float (B, K, h, w), sums to 1.
        labels: y, int64 (B, h, w), 255 where nothing is taught.
    """
    counted = (labels != IGNORE).to(logits.dtype)
    each = functional.kl_div(logits.log_softmax(1), taught, reduction="none").sum(1)
    return (each * counted).sum() / counted.sum().clamp(min=1.0)
