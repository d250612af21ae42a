"""Brings together what belongs to one stamp, from topics that arrive one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

STATUS = "status"
"""The part that makes a frame worth showing: without it nothing is known of the frame."""


class StampJoiner:
    """Collects parts by stamp and hands over frames in the order in which their first parts came.

    A frame is ready when all wanted parts are there. Frames before it that have a status are handed over first, with
    what they have; those without one were never processed and are forgotten.

    Args:
        wanted: tells the parts that a frame with these parts needs; asked whenever the status is there.
        depth: most frames that may wait; beyond it the oldest is handed over, or forgotten without a status.
    """

    def __init__(self, wanted: Callable[[Mapping[str, Any]], frozenset[str]], *, depth: int = 8) -> None:
        self._wanted = wanted
        self._depth = depth
        self._waiting: dict[int, dict[str, Any]] = {}

    def put(self, part: str, stamp_ns: int, value: Any) -> list[tuple[int, dict[str, Any]]]:
        """Take a part; a second one of the same stamp replaces the first.

        Returns:
            Frames that are ready now, as (stamp in ns, parts).
        """
        parts = self._waiting.setdefault(stamp_ns, {})
        parts[part] = value
        ready: list[tuple[int, dict[str, Any]]] = []
        if STATUS in parts and self._wanted(parts) <= parts.keys():
            while True:
                oldest = next(iter(self._waiting))
                ready += self._take(oldest)
                if oldest == stamp_ns:
                    break
        while len(self._waiting) > self._depth:
            ready += self._take(next(iter(self._waiting)))
        return ready

    def clear(self) -> None:
        """Forget everything that waits."""
        self._waiting.clear()

    def _take(self, stamp_ns: int) -> list[tuple[int, dict[str, Any]]]:
        parts = self._waiting.pop(stamp_ns)
        return [(stamp_ns, parts)] if STATUS in parts else []
