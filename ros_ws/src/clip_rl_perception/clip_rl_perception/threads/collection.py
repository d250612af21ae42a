"""Keeps Python's garbage collector away from frames.

A pass over everything that is loaded stops all threads for a third of a second: torch and its like are half a million
objects, which stay. So one pass is made when loading is over, and what is left is set aside (`gc.freeze`): later passes
look at what frames leave behind, which is little.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

from clip_rl_perception.threads.memory import give_back_freed_memory

_lock = threading.RLock()
_loading = 0
_working: set[int] = set()
"""Who works now, by identity: what is loaded stays aside until the last one is done."""


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Nothing is collected while the block runs: of what loading makes hardly anything is garbage."""
    global _loading
    with _lock:
        was_enabled = gc.isenabled() or _loading > 0
        _loading += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _loading -= 1
            if was_enabled and not _loading:
                gc.enable()


def begin_work(worker: object) -> None:
    """Collect now, give back what loading has freed, and set aside what it left, until `end_work` of this worker."""
    with _lock:
        _working.add(id(worker))
        gc.collect()
        give_back_freed_memory()
        gc.freeze()


def end_work(worker: object) -> None:
    """What was set aside counts again when the last worker is done, so that nothing is kept for good; may be repeated.

    While others work it waits for them: theirs is the same process.
    """
    with _lock:
        if id(worker) in _working:
            _working.remove(id(worker))
            if not _working:
                gc.unfreeze()
                give_back_freed_memory()


@contextlib.contextmanager
def working(worker: object) -> Iterator[None]:
    """From `begin_work` to `end_work`."""
    begin_work(worker)
    try:
        yield
    finally:
        end_work(worker)
