"""Notices a job that does not return, from a thread of its own. No ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    """Calls `stalled` once for every job that runs longer than `limit_s`, and `recovered` when such a job returns.

    Both callbacks get the job's running time in seconds; `stalled` runs on the watchdog's thread, `recovered` on the
    job's. One job at a time.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        stalled: Callable[[float], None],
        recovered: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._stalled = stalled
        self._recovered = recovered
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._reported = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def limit_s(self) -> float:
        """Longest time that a job may take before it counts as stalled, s."""
        return self._limit_s

    def begin(self) -> None:
        """A job begins."""
        with self._lock:
            self._since = self._clock()
            self._reported = False

    def end(self) -> None:
        """The job has returned, by result or by exception."""
        with self._lock:
            since, reported = self._since, self._reported
            self._since, self._reported = None, False
        if reported and since is not None:
            self._recovered(self._clock() - since)

    def stalled_for(self) -> float | None:
        """Running time of a job beyond the limit, s; None when nothing is stalled."""
        with self._lock:
            if self._since is None:
                return None
            running = self._clock() - self._since
        return running if running > self._limit_s else None

    def check(self) -> None:
        """Appearance once; the thread does this four times per limit."""
        running = self.stalled_for()
        if running is None:
            return
        with self._lock:
            if self._reported or self._since is None:
                return
            self._reported = True
        self._stalled(running)

    def start(self) -> None:
        """Start looking."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="clip_rl_watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; returns when the thread has ended."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def _run(self) -> None:
        while not self._stopping.wait(self._limit_s / 4):
            self.check()
