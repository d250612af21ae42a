"""Everything that was left out of a run or is unusual about it, one line each."""

from __future__ import annotations

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
        self._alike: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        """Add a line; repeated ones are kept once."""
        with self._lock:
            if line in self._lines[-50:]:
                return
            self._lines.append(line)
            kind = _kind(line)
            self._alike[kind] = self._alike.get(kind, 0) + 1
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


def _kind(line: str) -> str:
    """What lines about different places have in common."""
    return re.sub(r"\d+", "#", line)
