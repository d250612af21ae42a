"""Weights of the supervised losses: read before torch is, so that mistakes are told at once."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the supervised losses."""

    cross_entropy: float = 1.0
    """Pixel cross-entropy."""
    dice: float = 0.5
    """Soft Dice over the classes present."""
    iou: float = 0.0
    """Soft Jaccard."""
    lovasz: float = 0.0
    """Lovasz-softmax."""
    text_spread: float = 0.0
    """Keeps the classes' text embeddings apart; for text towers that start from random weights."""
    smoothing: float = 0.0
    """Label smoothing of the cross-entropy."""
    class_power: float = 0.0
    """Class weights of the cross-entropy are (1 / frequency)^class_power; 0 weighs all classes alike."""
    distillation: float = 0.0
    """Divergence from what the weights of `start_from`, frozen, say in the mean over mirror images; 0: no teacher."""
    distilled_views: Literal[1, 2, 4] = 4
    """Over how many mirror images, in the order of `looks.look`; 1 is the plain look."""
