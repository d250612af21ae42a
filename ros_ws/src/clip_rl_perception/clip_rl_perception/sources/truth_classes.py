"""Whether truth shows what its label map names: a class that is nowhere, while pixels are ignored, was ignored away."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, CountArray
from clip_rl_perception.metrics.confusion import IGNORED


class TruthClasses:
    """Collects which classes occur in decoded masks."""

    def __init__(self, names: Sequence[str], described: str, *, every: bool) -> None:
        """`names`: by id, the background first; `described`: the coding; `every`: of all, not of any but the first."""
        self._names, self._described, self._every = names, described, every
        self._pixels = np.zeros(256, np.int64)
        self._masks = 0

    def add(self, truth: ByteArray) -> None:
        """Take in a mask in ids, uint8 (H, W), 255 ignored; costs nothing once every class has been seen."""
        if self._missing():
            self.count(np.rint(cv2.calcHist([truth], [0], None, [256], [0, 256]).ravel()).astype(np.int64))

    def count(self, pixels: CountArray) -> None:
        """Take in the pixels of a mask by id, int (256,)."""
        self._pixels += pixels
        self._masks += 1

    def problem(self) -> str:
        """What ignoring took away, one line; empty where it did not."""
        missing = self._missing()
        if not missing or not self._pixels[IGNORED]:
            return ""
        share = self._pixels[IGNORED] / self._pixels.sum()
        return (
            f"no pixel of {', '.join(missing)} in {self._masks} masks, while {share:.1%} of their pixels are ignored; "
            f"masks are read as {self._described}: is a value ignored that stands for a class? "
            "A label map says what values mean, for example truth: {0: background, 255: instrument}"
        )

    def _missing(self) -> list[str]:
        if not self._every and self._pixels[1 : len(self._names)].any():
            return []
        return [name for index, name in enumerate(self._names) if not self._pixels[index]]
