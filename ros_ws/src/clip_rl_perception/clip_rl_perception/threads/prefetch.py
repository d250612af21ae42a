"""Reads ahead in a thread, so that decoding does not hold up who plays or evaluates."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from clip_rl_perception.threads.priority import lower_this_thread

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterates `items` in a thread ahead of its consumer, in order, holding a bounded number of bytes.

    An exception in `items` reaches the consumer after the items before it. Use it as a context manager: leaving it ends
    the thread.
    """

    def __init__(
        self, items: Iterable[T], *, limit_bytes: int, size: Callable[[T], int], give_way: bool = False
    ) -> None:
        """Start reading.

        Args:
            items: what to iterate; its iterator runs in the thread.
            limit_bytes: most bytes to hold; one item is always taken, whatever its size.
            size: bytes of an item.
            give_way: read at a low priority, so that who takes the items has the cores first.
        """
        self._items = items
        self._limit, self._size, self._give_way = limit_bytes, size, give_way
        self._queue: collections.deque[tuple[T, int]] = collections.deque()
        self._bytes = 0
        self._done = self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._done or self._closed)
            if not self._queue:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopIteration
            item, size = self._queue.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def wait_filled(self, timeout_s: float) -> bool:
        """Wait until no more fits or nothing more comes; False when `timeout_s` passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done or self._closed or self._bytes >= self._limit, timeout_s)

    def close(self) -> None:
        """Stop reading and forget what is ready."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._bytes = 0
            self._changed.notify_all()
        self._thread.join()

    def _read(self) -> None:
        if self._give_way:
            lower_this_thread()
        try:
            for item in self._items:
                size = self._size(item)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._bytes < self._limit)
                    if self._closed:
                        return
                    self._queue.append((item, size))
                    self._bytes += size
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()
