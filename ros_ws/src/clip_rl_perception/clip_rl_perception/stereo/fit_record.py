"""Whether what the two eyes tell fits together, over several moments: single ones differ by their masks alone."""

from __future__ import annotations

import collections

MOMENTS = 10
"""How many moments are remembered."""
SEVERAL = 2
"""Instruments of each eye from which on a moment tells something of the rig: of one, one mask that errs is all."""
MIRRORED = 3
"""Pairs of swapped eyes from which on eyes are called swapped: one or two are masks that err. Of 780 moments of good
rigs 4 were called so with 2 pairs, none with 3 (docs/results/stereo.md)."""
HARDLY = 0.1
"""Pairs as a part of those that could be, at most so many of which speak of a rig that is not as it was calibrated.

With the tags of `7254ebb24f3d` of six rendered videos it is 0.20 to 0.79 with a good calibration, 0.00 to 0.15 where
the right camera looks 3 degrees up or down (docs/results/stereo.md)."""


class FitRecord:
    """The last `MOMENTS` moments in which both eyes told instruments."""

    def __init__(self) -> None:
        self._several: collections.deque[tuple[int, int]] = collections.deque(maxlen=MOMENTS)
        """(pairs that could be, pairs) of moments with `SEVERAL` instruments in each eye, single ones that fitted
        since added."""
        self._ways: collections.deque[tuple[int, int]] = collections.deque(maxlen=MOMENTS)
        """(pairs, pairs that would be, were the eyes swapped)."""

    def add(self, left: int, right: int, pairs: int, mirrored: int) -> None:
        """A moment.

        Args:
            left: instruments of the left eye.
            right: of the right eye.
            pairs: those that fit.
            mirrored: those that would fit, were the eyes swapped.
        """
        if min(left, right) >= SEVERAL:
            self._several.append((min(left, right), pairs))
        elif pairs and self._several:  # a single one that fits speaks for the rig; that it does not, says nothing
            could, did = self._several[-1]
            self._several[-1] = (could + pairs, did + pairs)
        if left and right:
            self._ways.append((pairs, mirrored))

    @property
    def swapped(self) -> bool:
        """More would fit, were the eyes swapped."""
        pairs, mirrored = (sum(column) for column in zip(*self._ways, strict=True)) if self._ways else (0, 0)
        return mirrored >= MIRRORED and mirrored > pairs

    @property
    def unfitting(self) -> bool:
        """Several instruments were told by both eyes in several moments, and hardly any fits."""
        could, did = (sum(column) for column in zip(*self._several, strict=True)) if self._several else (0, 0)
        return len(self._several) == MOMENTS and did <= HARDLY * could
