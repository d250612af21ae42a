"""How far off the keypoints of tags are, learned from how the two eyes' tags differ.

Both eyes' tags tell of the same points. What is left of their difference when the disparity is taken out is the error
of both: its square is twice the variance of one. Errors that both share are not seen so; `SHARED` adds them.
"""

from __future__ import annotations

import math

PRIOR_WEIGHT = 20.0
"""Differences that what is assumed at first counts for."""
MEMORY = 400.0
"""Differences after which an old one counts for little."""
SHARED = 2.0
"""Standard deviation of what both eyes' tags share, by that of one: one network looks at two pictures that are nearly
alike, and errs alike. Chosen on drawn videos (docs/results/stereo.md)."""


class KeypointNoise:
    """Standard deviations by name of keypoint, px of the virtual camera.

    Args:
        assumed: before anything is seen, px.
    """

    def __init__(self, assumed: float) -> None:
        self._assumed = assumed
        self._known: dict[str, tuple[float, float]] = {}

    def std(self, name: str) -> float:
        """Of one eye's keypoint, in each direction."""
        return math.sqrt(self._known.get(name, (self._assumed**2, PRIOR_WEIGHT))[0])

    def of_mean(self, name: str, difference: float | None) -> float:
        """Of the mean of both eyes' keypoints, or of the left one's alone where `difference` is None.

        One that differs by more than is usual is less sure, whatever was seen before.
        """
        one = self.std(name)
        if difference is None:
            return one * math.sqrt(1 + SHARED**2)
        one = max(one, difference / 2)
        return one * math.sqrt(0.5 + SHARED**2)

    def add(self, name: str, difference: float) -> None:
        """A difference between both eyes' keypoints, px: the root of the mean square over x and y."""
        square, weight = self._known.get(name, (self._assumed**2, PRIOR_WEIGHT))
        # A keypoint that is altogether wrong is none of the noise.
        new = min(difference**2 / 2, 9 * square)
        weight = min(weight + 1.0, MEMORY)
        self._known[name] = (square + (new - square) / weight, weight)
