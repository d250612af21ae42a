"""Everything that was left out of a run or is unusual about it, one line each."""

from __future__ import annotations

import collections
import re
import threading
from collections.abc import Callable

SHOWN_ALIKE = 3
"""Lines of one kind that are told at once; the others are counted, and all stand in report.json."""


class ProblemLog:
    """Collects lines from several threads, and tells the first of each kind as they come."""

    def __init__(self, tell: Callable[[str], None] = lambda line: None) -> None:
        """`tell`: shown the lines, a few of each kind."""
        self._tell = tell
        self._lines: list[str] = []
        self._alike: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def add(self, *lines: str) -> None:
        """Add lines; repeated ones are kept once."""
        for line in lines:
            with self._lock:
                if line in self._lines[-50:]:
                    continue
                self._lines.append(line)
                kind = re.sub(r"\d+", "#", line)  # what lines about different places have in common
                self._alike[kind] += 1
                tell = self._alike[kind] <= SHOWN_ALIKE
            if tell:
                self._tell(line)

    def lines(self) -> tuple[str, ...]:
        """All of them, in the order met."""
        with self._lock:
            return tuple(self._lines)

    def untold(self) -> int:
        """How many lines were not told because others like them were."""
        with self._lock:
            return sum(max(0, count - SHOWN_ALIKE) for count in self._alike.values())
