"""When to play which frame."""

from __future__ import annotations

MAX_GAP_S = 2.0
"""Longest pause between two frames that is played; a longer one in the source is a cut, not a wait, s."""


class Pace:
    """Times of frames after the start of playing, from their stamps in the source."""

    def __init__(self, rate_hz: float, *, speed: float = 1.0, fixed: bool = False, video: bool = False) -> None:
        """Prepare.

        Args:
            rate_hz: nominal rate; its period stands in where stamps do not increase or pause longer than `MAX_GAP_S`.
            speed: times the source's own speed, above 0.
            fixed: play at exactly `rate_hz` x `speed`, whatever the stamps say.
            video: packets in the order of coding: one shown before an earlier one (a B-frame) is due with that one.
        """
        if rate_hz <= 0 or speed <= 0:
            raise ValueError(f"rate {rate_hz} Hz and speed {speed} must be above 0")
        self.period_s = 1.0 / (rate_hz * speed)
        self._speed, self._fixed, self._video = speed, fixed, video
        self._last_stamp: int | None = None
        self._due = 0.0

    def due(self, stamp_ns: int) -> float:
        """Seconds after the start at which the next frame, of this stamp, is due; never decreases."""
        if self._last_stamp is not None:
            gap = (stamp_ns - self._last_stamp) / 1e9
            if self._video and not self._fixed and -MAX_GAP_S <= gap < 0.0:
                return self._due
            regular = self._fixed or not 0.0 < gap <= MAX_GAP_S
            self._due += self.period_s if regular else gap / self._speed
        self._last_stamp = stamp_ns
        return self._due
