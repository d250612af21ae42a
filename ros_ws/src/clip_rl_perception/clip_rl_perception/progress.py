"""Progress on standard error, by tqdm: a bar on a terminal, a line now and then where the output is none."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

P = TypeVar("P", bound="Progress")
T = TypeVar("T")

PLAIN_PERIOD_S = 5.0
"""How often it is told where lines cannot be rewritten, s."""
_OF_MANY = "{desc}  {bar:24} {n_fmt}/{total_fmt}{note}  {rate_fmt}, {remaining} left"
_OF_MANY_PLAIN = "{desc}  {n_fmt}/{total_fmt}{note}  {rate_fmt}, {remaining} left"
_COUNT = "{desc}  {n_fmt}{note}"
_NOTE = "{desc}{note}"


class Progress:
    """How far a piece of work is; use it as a context manager."""

    def __init__(self, title: str, *, unit: str = "frames", stream: TextIO | None = None) -> None:
        """Show nothing yet.

        Args:
            title: what is being done.
            unit: what is counted.
            stream: where to, if not to standard error.
        """
        self._title, self._unit = title, unit
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._bar: _Bar | None = None

    def __enter__(self: P) -> P:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Show how far it is; `total` None: only a count."""
        bar = self._opened()
        many = _OF_MANY if self._live else _OF_MANY_PLAIN
        bar.bar_format = many if total else _COUNT if done else _NOTE
        bar.total, bar.note = total, f"  {note}" if note else ""
        bar.update(done - bar.n)

    def say(self, line: str) -> None:
        """Print a line above it."""
        tqdm.write(line, file=self._stream)
        self._stream.flush()

    def _opened(self, *, at_once: bool = False) -> _Bar:
        """The bar, made when first needed: rates count from there."""
        if self._bar is None:
            plain: dict[str, Any] = {"file": _Lines(self._stream), "mininterval": PLAIN_PERIOD_S}
            if not at_once:
                plain |= {"delay": PLAIN_PERIOD_S, "leave": False}
            live: dict[str, Any] = {"file": self._stream, **_size(self._stream)}
            self._bar = _Bar(
                desc=self._title, unit=f" {self._unit}", miniters=0, ascii=".#", bar_format=_NOTE,
                **(live if self._live else plain),
            )  # fmt: skip
        return self._bar


def _size(stream: TextIO) -> dict[str, Any]:
    """How large the terminal is; where it does not know, as in some containers, tqdm would show nothing."""
    try:
        known = min(os.get_terminal_size(stream.fileno())) > 0
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}


class Stage(Progress):
    """One of several stages of the work: its beginning is told, and at its end how long it took."""

    def __init__(self, number: int, total: int, title: str, stream: TextIO | None = None) -> None:
        """`number` of `total` stages, and what it does."""
        super().__init__(f"[{number}/{total}] {title}", stream=stream)
        self._started = time.monotonic()
        self._note = ""

    def __enter__(self: P) -> P:
        bar = self._opened(at_once=True)
        if self._live:
            bar.last_print_t = 0.0  # the first update is shown, however soon it comes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        word = "" if kind is None else "interrupted " if kind is KeyboardInterrupt else "failed "
        bar = self._opened()
        bar.bar_format = _NOTE
        bar.note = f"  {word}{time.monotonic() - self._started:.1f} s{self._note}"
        super().__exit__(kind, value, traceback)

    def result(self, note: str) -> None:
        """What the stage's last line says beside its time."""
        self._note = f"  {note}"


def shown(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """The items one by one, with their progress."""
    with Progress(title) as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(done, total)


class _Bar(tqdm):  # type: ignore[misc]
    """tqdm with a note."""

    monitor_interval = 0  # no thread of its own: every update looks at the time
    note = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "note": self.note}


class _Lines:
    """Makes whole lines of what is meant to rewrite a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()
