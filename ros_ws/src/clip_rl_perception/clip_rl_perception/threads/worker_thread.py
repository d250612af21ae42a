"""A thread that does one kind of work in order, fed through a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from clip_rl_perception.threads.priority import lower_this_thread

T = TypeVar("T")


class Worker(Generic[T]):
    """Calls `work` with every item put, in order, in a thread; use it as a context manager.

    Who puts waits while the queue is full, so memory stays bounded and the slowest stage sets the pace. An exception in
    `work` is raised to the one who puts or closes; items after it are thrown away. The thread has a low priority: it
    takes what inference leaves of the cores, and a full queue is what makes inference wait.
    """

    def __init__(self, work: Callable[[T], None], *, capacity: int, name: str) -> None:
        """Start the thread; `capacity` items may wait."""
        self._work = work
        self._queue: queue.Queue[T | None] = queue.Queue(capacity)
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Worker[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, item: T) -> None:
        """Hand over an item; raises what `work` raised for an earlier one."""
        self._raise()
        self._queue.put(item)

    def close(self) -> None:
        """Wait until everything put is done; raises what `work` raised. Calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        lower_this_thread()
        failed = False
        while (item := self._queue.get()) is not None:
            if failed:
                continue
            try:
                self._work(item)
            except BaseException as error:
                self._error, failed = error, True
