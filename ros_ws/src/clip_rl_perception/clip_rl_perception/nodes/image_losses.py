"""How many images never came: what the middleware counts, or the gaps in the camera's stamps, whichever knows more.

The middleware does not see what a full queue replaced, nor what was lost before its publisher; gaps do not see a loss
where nothing comes at all. Headers of ROS 2 have no running number: gaps are counted in the camera's periods. No ROS.
"""

from __future__ import annotations

import collections

import numpy as np
import numpy.typing as npt

ENOUGH = 16
"""Steps from stamp to stamp before a period is believed."""
KEPT = 48
"""Newest steps that tell the period."""
MOST_PARTS = 32
"""Longest usual step, in periods: up to 97 % may be lost."""
MOST_OFF = 0.12
"""Farthest that steps may lie from whole periods, in periods, on average; at random they lie 0.25 away."""


class ImageLosses:
    """Counts for one subscription; not for several threads at once.

    Args:
        longest_gap_s: a longer one is a camera that stood still, not loss, s.
    """

    def __init__(self, longest_gap_s: float) -> None:
        self._longest_ns = longest_gap_s * 1e9
        self._steps: collections.deque[int] = collections.deque(maxlen=KEPT)
        self._last_ns = 0
        self._period_ns: float | None = None
        self._since_look = 0
        self._in_gaps = self._told = self._lost = 0

    def told(self, total: int) -> int:
        """The middleware's count since the subscription began; returns how many more are lost than was known."""
        self._told = total
        return self._grown()

    def arrived(self, stamp_ns: int) -> int:
        """An image with this header stamp, ns; returns how many more are lost than was known."""
        step, self._last_ns = stamp_ns - self._last_ns, stamp_ns
        if not 0 < step <= self._longest_ns:  # the first one, a clock set back, a camera that stood still
            return 0
        self._steps.append(step)
        self._since_look += 1
        if self._since_look >= ENOUGH:
            unknown, self._since_look = self._period_ns is None, 0
            self._period_ns = camera_period(np.array(self._steps, np.float64))
            if unknown and self._period_ns is not None:
                self._in_gaps += sum(round(step / self._period_ns) - 1 for step in list(self._steps)[:-1])
        if self._period_ns is not None:
            self._in_gaps += round(step / self._period_ns) - 1  # less than none after an image that was only late
        return self._grown()

    def restart(self) -> None:
        """Another publisher: from its last image to the first of this one nothing was lost."""
        self._last_ns = 0

    def _grown(self) -> int:
        grown = max(self._told, self._in_gaps, self._lost) - self._lost
        self._lost += grown
        return grown


def camera_period(steps: npt.NDArray[np.float64]) -> float | None:
    """The time from image to image of a camera that sends regularly, some of whose images are missing.

    Args:
        steps: from stamp to stamp, above 0, in any unit.

    Returns:
        The longest period that nearly all steps are multiples of, in the same unit; None where there is none: irregular
        stamps, or a beat (24 pictures a second on a display of 60 Hz) in which no step is one period.
    """
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    for parts in range(1, MOST_PARTS + 1):
        counts = np.rint(steps / (usual / parts))
        if not counts.any():
            continue
        period = float(steps.sum() / counts.sum())
        counts = np.rint(steps / period)
        if np.abs(steps / period - counts).mean() < MOST_OFF:
            singles = np.count_nonzero(counts == 1)
            if parts == 1 or singles >= max(2.0, 0.25 * len(steps) / counts.mean()):
                return period
    return None
