"""A branch that names the one instrument which a close-up shows: from the encoder's map at stride 8 to the text space.

Masks are learned from whole scenes, names from close-ups, and one set of deep layers serves both badly: what either
gains the other loses. So the first layers are shared, as scenes made them, and names have deep layers of their own.
Masks do not need the branch: no frame runs it. Pooling by attention as in CLIP (arXiv 2103.00020, section 2.4),
with one learned weight per place. Notation: B close-ups of H x W pixels, C channels of the map at stride 8, h x w
places, D width of the text space.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model import torchvision_compat  # noqa: F401  (before timm, which imports torchvision)
from clip_rl_perception.model.segmenter_config import CloseUpConfig

# isort: split
from timm.models.byobnet import BasicBlock


def orientations(images: Tensor) -> Iterator[Tensor]:
    """The quarter turns of a batch (B, C, H, W) and their mirror images: eight batches, the first as it is."""
    for quarters in range(4):
        turned = torch.rot90(images, quarters, (2, 3))
        yield turned
        yield turned.flip(3)


class CloseUpOutput(NamedTuple):
    """What the branch makes of a batch."""

    embedding: Tensor
    """Of the whole close-up, unit length, (B, D)."""
    places: Tensor
    """Of every place on its own, unit length, (B, D, h, w)."""
    attention: Tensor
    """Share of each place in the whole, sums to 1 over the places, (B, h, w)."""


class CloseUpBranch(nn.Module):
    """Residual blocks (He et al. 2016, arXiv 1512.03385), attention over places, projection into the text space."""

    def __init__(
        self, channels: int, embedding_dim: int, config: CloseUpConfig, first: nn.Module | None = None
    ) -> None:
        """Build the branch.

        Args:
            channels: C.
            embedding_dim: D.
            config: its blocks.
            first: layers of its own that make the map at stride 8 of an image; None: the encoder's do.
        """
        super().__init__()
        self.first = first
        widths = (channels, *config.widths)
        self.blocks = nn.Sequential(
            *(
                BasicBlock(before, after, stride=stride)
                for before, after, stride in zip(widths[:-1], config.widths, config.strides, strict=True)
            )
        )
        self.attention = nn.Conv2d(widths[-1], 1, 1, bias=False)
        nn.init.zeros_(self.attention.weight)
        self.project = nn.Conv2d(widths[-1], embedding_dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale_init)))

    def forward(self, features: Tensor) -> CloseUpOutput:
        """Of the encoder's map at stride 8, (B, C, H/8, W/8)."""
        features = self.blocks(features)
        attention = self.attention(features).flatten(1).float().softmax(dim=1).reshape(-1, *features.shape[2:])
        pooled = (features * attention[:, None].to(features.dtype)).sum(dim=(2, 3), keepdim=True)
        return CloseUpOutput(
            functional.normalize(self.project(pooled)[:, :, 0, 0].float(), dim=1),
            functional.normalize(self.project(features).float(), dim=1),
            attention,
        )

    def scale(self) -> Tensor:
        """Inverse temperature between close-ups and texts, (), at least 1 and at most CLIP's 100."""
        return self.log_scale.clamp(0.0, math.log(100.0)).exp()
