"""Progress on the terminal: one line per stage, rewritten in place; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

BAR_WIDTH = 24
PLAIN_PERIOD_S = 5.0
"""How often a stage is reported where lines cannot be rewritten, s."""


class Stage:
    """One stage of the work; use it as a context manager."""

    def __init__(self, number: int, total: int, title: str, stream: TextIO | None = None) -> None:
        """`number` of `total` stages, and what it does."""
        self._head = f"[{number}/{total}] {title}"
        self._stream = stream or sys.stderr
        self._started = self._told = time.monotonic()
        self._live = self._stream.isatty()
        self._width = 0
        self._note = ""

    def __enter__(self) -> Stage:
        self._print(self._head, end=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._started
        word = "" if kind is None else "interrupted " if kind is KeyboardInterrupt else "failed "
        note = f"  {self._note}" if self._note else ""
        self._print(f"{self._head}  {word}{seconds:.1f} s{note}", end=True)

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Show how far it is; `total` None: only a count."""
        if not self._live and time.monotonic() - self._told < PLAIN_PERIOD_S:
            return
        self._told = time.monotonic()
        if total:
            filled = min(BAR_WIDTH, BAR_WIDTH * done // total)
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            self._print(f"{self._head}  {bar} {done}/{total}{'  ' + note if note else ''}", end=False)
        else:
            self._print(f"{self._head}  {str(done) if done else ''}{'  ' + note if note else ''}", end=False)

    def result(self, note: str) -> None:
        """What the stage's last line says beside its time."""
        self._note = note

    def _print(self, text: str, *, end: bool) -> None:
        if self._live:
            self._stream.write("\r" + text.ljust(self._width) + ("\n" if end else ""))
            self._width = 0 if end else len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
