"""Telling what a long piece of work is at, so that it never looks like hanging."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]
"""Called with one line at every stage's begin and end, and every `HEARTBEAT_S` seconds within one."""

HEARTBEAT_S = 3.0
"""Below the 5 s that are promised: a heartbeat may come late on a busy machine."""


@contextmanager
def stage(name: str, progress: Progress, heartbeat_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Report a stage's begin and end, and that it is still at work every `heartbeat_s` seconds between."""
    start = time.monotonic()
    done = threading.Event()

    def heartbeat() -> None:
        while not done.wait(heartbeat_s):
            progress(f"  {name}: {time.monotonic() - start:.0f} s so far")

    progress(name)
    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    progress(f"  {name}: done in {time.monotonic() - start:.1f} s")
