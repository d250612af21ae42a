"""The eyes of a stereo endoscope.

Of two pinhole cameras side by side with focal length f (px) and baseline B (mm), what lies at depth z (mm) is seen
f B / z px further left by the right one.

One over the depth of a plane is linear in the picture: three numbers (a, b, c), 1/mm, tell it,
``1 / z = a x + b y + c`` at pixels of the left picture.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from clip_rl_perception.arrays import DoubleArray

from clip_rl_training.synthetic.drawing.shapes import Points

Nearness = DoubleArray
"""(a, b, c) of a plane, as above."""


def nearness_at(nearness: Nearness, points: Points) -> DoubleArray:
    """One over the depth at points (..., 2) of a plane, 1/mm."""
    return np.asarray(points @ nearness[:2] + nearness[2])


@dataclasses.dataclass(frozen=True)
class Eye:
    """One eye before a scene."""

    focal: float
    """px."""
    tissue_mm: float
    """Depth of the tissue."""
    baseline_mm: float = 0.0
    """How far right of the left eye it is."""
    converging: bool = False
    """Its picture is shifted so that the tissue lies still; else it looks the same way as the left eye."""

    @property
    def moved(self) -> float:
        """How much further right its principal point lies than the left eye's, px."""
        return self.focal * self.baseline_mm / self.tissue_mm if self.converging else 0.0

    def aside(self, near: float) -> float:
        """How much further left than the left eye it sees something, one over whose depth is `near` 1/mm, px."""
        return self.focal * self.baseline_mm * near - self.moved

    def of_plane(self, nearness: Nearness) -> Points:
        """Pixels of the left picture to its own, for what lies in a plane, (3, 3)."""
        a, b, c = self.focal * self.baseline_mm * nearness
        return np.array([[1.0 - a, -b, self.moved - c], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
