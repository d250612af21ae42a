"""How hard a labelled scene is, for a curriculum that shows easy scenes first.

Small and rare classes are hard: the difficulty of a scene is the mean, over the foreground classes in its truth, of
``-log`` of the class's share of the image. Easy scenes come first by drawing several candidates for a sample and
keeping the easiest (the tournament of evolutionary search), which needs no ranking of the whole dataset and makes a
sample depend on its number alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from clip_rl_perception.labels import UNLABELLED

MOST_CANDIDATES = 4
"""Candidates per sample at a curriculum's `difficulty` of 0; at 1 there is one: scenes come as they are."""


def difficulty(labels: npt.NDArray[np.uint8]) -> float:
    """Difficulty of labels, uint8 (H, W), 0 = background, 255 = ignored; 0 without any foreground."""
    counts = np.bincount(labels.ravel(), minlength=256)
    labelled = int(counts[:UNLABELLED].sum())
    areas = counts[1:UNLABELLED]
    areas = areas[areas > 0]
    return float(-np.log(areas / labelled).mean()) if areas.size else 0.0


def candidates(level: float) -> int:
    """Candidates per sample at a curriculum's `difficulty` of `level`, 0 to 1."""
    return 1 + round((MOST_CANDIDATES - 1) * (1.0 - min(1.0, max(0.0, level))))
