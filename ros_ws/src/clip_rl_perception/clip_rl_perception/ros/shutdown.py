"""SIGINT and SIGTERM as something that any thread can wait for."""

from __future__ import annotations

import contextlib
import os
import select
import signal


class ShutdownSignals:
    """Takes both signals from its making on, until the process is gone; used like a `threading.Event`.

    A wait on an Event may sleep through a signal: where the kernel hands it to another thread, or just before the main
    thread falls asleep, nothing wakes the main thread, in which alone Python runs handlers. And a handler that sets the
    Event while its own thread is inside `wait` stops for good. So Python's C handler, whichever thread it interrupts,
    writes into a pipe here, and waiting is for that pipe. What was written is never read: once set, set for ever.

    Only in the main thread (ValueError from `signal` elsewhere).
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # the byte in the pipe says it

    def set(self) -> None:
        """As if a signal had come; from any thread."""
        with contextlib.suppress(BlockingIOError):  # full of signals: set long since
            os.write(self._write, b"\0")

    def is_set(self) -> bool:
        """Whether a signal came."""
        return self.wait(0.0)

    def wait(self, seconds: float | None = None) -> bool:
        """Until a signal comes, at most `seconds`; whether one came."""
        readable, _, _ = select.select([self._read], [], [], seconds)
        return bool(readable)
