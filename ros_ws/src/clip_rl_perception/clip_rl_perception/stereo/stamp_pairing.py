"""Which frame of the right eye is of the same moment as one of the left. No ROS here."""

from __future__ import annotations

import collections
import dataclasses
from typing import Generic, TypeVar

Frame = TypeVar("Frame")
JUMP_NS = 1_000_000_000
"""A left stamp so much before the last one is a clock that was set back: all that waits is forgotten."""
SKEW_MS, WAIT_MS = 10.0, 200.0
"""Where nobody says otherwise: how far apart the stamps of one moment may be, how long a left frame waits."""
KEPT = 16
"""Frames of the right eye that are kept."""


@dataclasses.dataclass(frozen=True)
class Moment(Generic[Frame]):
    """A frame of the left eye with that of the right one."""

    stamp_ns: int
    left: Frame
    right: Frame | None
    right_ns: int
    """Stamp of the right frame; of the nearest one where `right` is None and `seen`."""
    seen: bool
    """Whether the right eye has any frame at all."""

    @property
    def skew_ms(self) -> float:
        """Right stamp minus left stamp."""
        return (self.right_ns - self.stamp_ns) / 1e6


class StampPairer(Generic[Frame]):
    """Gives left frames in their order, each with the nearest right one within tolerance, as soon as that is known.

    It is known when a right frame has the same stamp or a later one, or when the left one has waited long enough. A
    right frame serves once.

    Args:
        tolerance_ns: greatest difference of stamps.
        wait_ns: how long a left frame waits, of the time given to `put` and `waited`.
    """

    def __init__(self, tolerance_ns: int, wait_ns: int) -> None:
        self._tolerance, self._wait = tolerance_ns, wait_ns
        self._left: collections.deque[tuple[int, Frame, int]] = collections.deque()
        self._right: dict[int, Frame] = {}
        self._newest_right: int | None = None

    def put(self, side: str, stamp_ns: int, frame: Frame, now_ns: int) -> list[Moment[Frame]]:
        """Take a frame of an eye, "left" or "right"; the moments that are known now."""
        if side == "left":
            if self._left and stamp_ns < self._left[-1][0] - JUMP_NS:
                self.clear()
            self._left.append((stamp_ns, frame, now_ns))
        else:
            if self._newest_right is not None and stamp_ns < self._newest_right - JUMP_NS:
                self._right.clear()
            self._newest_right = stamp_ns
            self._right[stamp_ns] = frame
            while len(self._right) > KEPT:
                del self._right[next(iter(self._right))]
        return self.waited(now_ns)

    def waited(self, now_ns: int) -> list[Moment[Frame]]:
        """The moments that are known now that time has passed."""
        known = []
        while self._left:
            stamp, frame, came = self._left[0]
            nearest = min(self._right, key=lambda other: abs(other - stamp), default=None)
            settled = nearest == stamp or any(other > stamp for other in self._right)
            if not settled and now_ns - came < self._wait:
                break
            self._left.popleft()
            right = None
            if nearest is not None and abs(nearest - stamp) <= self._tolerance:
                right = self._right.pop(nearest)
            seen = nearest if nearest is not None else self._newest_right
            known.append(Moment(stamp, frame, right, seen or 0, seen is not None))
        return known

    def clear(self) -> None:
        """Forget everything that waits."""
        self._left.clear()
        self._right.clear()
        self._newest_right = None
