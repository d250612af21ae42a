"""The newest frame only: a slot of one between the executor and the inference thread. No ROS.

The message callback hands over and returns; what is still in the slot when a newer frame comes is dropped and counted.
While inference is busy, a second thread prepares the frame in the slot (decoding, resizing), and does so again when a
newer one takes its place: the newest frame is in the network as soon as the network is free.
At every moment received = processed + invalid + dropped + (frame in the slot) + (frame in hand).
"""

from __future__ import annotations

import dataclasses
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from clip_rl_perception.nodes.watchdog import Watchdog

Frame = TypeVar("Frame")
Prepared = TypeVar("Prepared")


@dataclasses.dataclass(frozen=True)
class FrameCounts:
    """Frames since activation."""

    received: int = 0
    """Handed to the worker."""
    processed: int = 0
    """Led to a mask."""
    dropped: int = 0
    """Replaced by a newer one, or left in the slot, before they were taken up."""
    invalid: int = 0
    """Rejected, or failed."""
    lost: int = 0
    """Never received: lost on their way, as far as that is known."""


class FrameCounter:
    """Counts from several threads; every addition gives a consistent picture of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = FrameCounts()

    def add(self, **more: int) -> FrameCounts:
        """Add to fields of `FrameCounts`; returns the counts after it."""
        with self._lock:
            sums = {name: getattr(self._counts, name) + count for name, count in more.items()}
            self._counts = dataclasses.replace(self._counts, **sums)
            return self._counts

    @property
    def counts(self) -> FrameCounts:
        """The counts now."""
        with self._lock:
            return self._counts


class _Waiting(Generic[Frame, Prepared]):
    """A frame in the slot, and how far its preparation is."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.begun = False
        self.done = threading.Event()
        self.prepared: list[Prepared] = []
        """One, when it is done."""
        self.error: Exception | None = None


class FrameWorker(Generic[Frame, Prepared]):
    """Runs `process` on a thread of its own, always on the newest frame. Starts once and stops once.

    Args:
        prepare: what `process` needs of a frame; never runs twice at a time, on frames in the order of their arrival.
        process: handles one prepared frame and counts it as processed or invalid in `counter`.
        failed: gets the frame and the exception when one of the two raises; counts the frame; the worker goes on.
        watchdog: told when a frame is taken up and put down.
        counter: where received and dropped frames are counted.
    """

    def __init__(
        self,
        prepare: Callable[[Frame], Prepared],
        process: Callable[[Frame, Prepared], None],
        *,
        failed: Callable[[Frame, Exception], None],
        watchdog: Watchdog,
        counter: FrameCounter,
    ) -> None:
        self._prepare = prepare
        self._process = process
        self._failed = failed
        self._watchdog = watchdog
        self._counter = counter
        self._lock = threading.Lock()
        # One condition for each thread: woken for nothing, it would take Python's lock from the other.
        self._arrived = threading.Condition(self._lock)
        """A frame for the thread that processes; or the end."""
        self._waits = threading.Condition(self._lock)
        """A frame to prepare ahead; or the end."""
        self._slot: list[_Waiting[Frame, Prepared]] = []
        self._running = False
        self._busy = False
        """True while `process` runs."""
        self._preparing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ahead: threading.Thread | None = None

    def start(self) -> None:
        """Take frames from now on."""
        if self._thread is not None:
            raise RuntimeError("a worker starts only once; make a new one")
        self._running = True
        self._watchdog.start()
        thread = threading.Thread(target=self._run, name="clip_rl_inference", daemon=True)
        ahead = threading.Thread(target=self._run_ahead, name="clip_rl_prepare", daemon=True)
        thread.start()
        ahead.start()
        self._thread, self._ahead = thread, ahead

    @property
    def alive(self) -> bool:
        """False when a thread of it has ended though nobody stopped it: then no frame is processed any more."""
        threads = [thread for thread in (self._thread, self._ahead) if thread is not None]
        return not self._running or all(thread.is_alive() for thread in threads)

    def submit(self, frame: Frame) -> int:
        """Hand over a frame and return at once; how many gave way to it. A stopped worker ignores it, uncounted."""
        with self._lock:
            if not self._running:
                return 0
            replaced = len(self._slot)
            self._counter.add(received=1, dropped=replaced)
            self._slot = [_Waiting(frame)]
            (self._waits if self._busy else self._arrived).notify()
            return replaced

    def stop(self, timeout_s: float | None = None) -> bool:
        """Take no more frames, drop the waiting one, and wait for the one in hand.

        Returns:
            False when the frame in hand did not come back within `timeout_s`; its thread is abandoned (a daemon).
        """
        with self._lock:
            self._running = False
            self._counter.add(dropped=len(self._slot))
            self._slot = []
            self._arrived.notify()
            self._waits.notify()
        finished = True
        for thread in (self._thread, self._ahead):
            if thread is not None:
                thread.join(timeout_s)
                finished = finished and not thread.is_alive()
        self._watchdog.stop()
        return finished

    def _report(self, frame: Frame, error: Exception) -> None:
        try:
            self._failed(frame, error)
        except Exception:  # a report that fails must not end the thread, and must not vanish
            traceback.print_exc()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._arrived.wait_for(lambda: self._slot or not self._running)
                if not self._running:
                    return
                waiting = self._slot.pop()
                mine, waiting.begun = not waiting.begun, True
            self._watchdog.begin()
            try:
                if mine:
                    self._prepare_one(waiting)
                waiting.done.wait()
                if waiting.error is not None:
                    raise waiting.error
                self._set_busy(True)
                self._process(waiting.frame, waiting.prepared[0])
            except Exception as error:
                self._report(waiting.frame, error)
            finally:
                self._set_busy(False)
                self._watchdog.end()

    def _run_ahead(self) -> None:
        """Prepare what waits while `process` is busy."""
        while True:
            with self._lock:
                self._waits.wait_for(
                    lambda: not self._running or (self._busy and self._slot and not self._slot[0].begun)
                )
                if not self._running:
                    return
                waiting = self._slot[0]
                waiting.begun = True
            self._prepare_one(waiting)

    def _prepare_one(self, waiting: _Waiting[Frame, Prepared]) -> None:
        try:
            with self._preparing:  # the other thread may still be at a frame that was replaced
                waiting.prepared.append(self._prepare(waiting.frame))
        except Exception as error:  # raised again by the thread that takes the frame up
            waiting.error = error
        finally:
            waiting.done.set()

    def _set_busy(self, busy: bool) -> None:
        with self._lock:
            self._busy = busy
            if busy and self._slot:  # it came while the frame now in hand was being prepared
                self._waits.notify()
