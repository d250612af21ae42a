"""Ctrl-C as a wish: the step in progress ends, its state is saved, then the program does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Interruptible(Protocol):
    """Work that looks at `interrupted` between its steps."""

    interrupted: bool

    def say(self, text: str) -> None:
        """Tell the user one line."""
        ...


@contextmanager
def interrupts_flagged(work: Interruptible) -> Iterator[None]:
    """Ctrl-C lets the step in progress end and its state be saved; a second one ends at once, the last state kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def flag(signum: int, frame: object) -> None:
        if work.interrupted:
            raise KeyboardInterrupt
        work.interrupted = True
        work.say("interrupted: finishing this step (once more to end at once)")

    before = signal.signal(signal.SIGINT, flag)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
