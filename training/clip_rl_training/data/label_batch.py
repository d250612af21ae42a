"""Batches of labelled images as tensors."""

from __future__ import annotations

from typing import NamedTuple

from clip_rl_perception.model.segmenter import STRIDE
from torch import Tensor
from torch.nn import functional


class Batch(NamedTuple):
    """What one training step sees."""

    images: Tensor
    """uint8 RGB, (B, 3, H, W)."""
    labels: Tensor
    """int64, (B, H, W), ids of `space`, 255 = ignored."""
    captions: tuple[str, ...]
    """One per image."""
    space: str
    """Name of the label space."""
    close_ups: bool = False
    """Whether these are close-ups of single instruments, not scenes."""


def stride_labels(labels: Tensor) -> Tensor:
    """Labels at stride 4, int64 (B, h, w), of labels (B, H, W): those nearest to each cell's centre."""
    return functional.interpolate(labels[:, None].float(), scale_factor=1 / STRIDE, mode="nearest-exact")[:, 0].long()
