"""The newest-frame worker and its watchdog, with real threads; time limits only keep a broken build from hanging."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from clip_rl_perception.nodes.newest_frame import FrameCounter, FrameCounts, FrameWorker
from clip_rl_perception.nodes.watchdog import Watchdog

GUARD_S = 30.0
UNREADABLE = 99


class Bench:
    """A worker whose frames wait at a gate, so that a test decides when each one is done."""

    def __init__(self, limit_s: float = GUARD_S) -> None:
        self.taken: list[int] = []
        self.done: list[int] = []
        self.failures: list[tuple[int, Exception]] = []
        self.stalls: list[float] = []
        self.recoveries: list[float] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.finished = threading.Semaphore(0)
        self.stalled = threading.Event()
        self.recovered = threading.Event()
        self.counter = FrameCounter()
        self.watchdog = Watchdog(limit_s, stalled=self._on_stall, recovered=self._on_recovery)
        self.prepared: list[int] = []
        self.preparing: Callable[[int], None] = lambda frame: None
        self.worker: FrameWorker[int, str] = FrameWorker(
            self._prepare, self._process, failed=self._failed, watchdog=self.watchdog, counter=self.counter
        )

    def _prepare(self, frame: int) -> str:
        self.prepared.append(frame)
        self.preparing(frame)
        if frame == UNREADABLE:
            raise KeyError("unreadable")
        return f"prepared {frame}"

    def _process(self, frame: int, prepared: str) -> None:
        assert prepared == f"prepared {frame}"
        self.taken.append(frame)
        self.entered.release()
        assert self.gate.acquire(timeout=GUARD_S)
        if frame < 0:
            raise ValueError(f"frame {frame}")
        self.done.append(frame)
        self.counter.add(processed=1)
        self.finished.release()

    def _failed(self, frame: int, error: Exception) -> None:
        self.failures.append((frame, error))
        self.counter.add(invalid=1)
        self.finished.release()

    def _on_stall(self, seconds: float) -> None:
        self.stalls.append(seconds)
        self.stalled.set()

    def _on_recovery(self, seconds: float) -> None:
        self.recoveries.append(seconds)
        self.recovered.set()

    def wait_taken(self) -> None:
        assert self.entered.acquire(timeout=GUARD_S)

    def finish_one(self) -> None:
        self.gate.release()
        assert self.finished.acquire(timeout=GUARD_S)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.worker.start()
    return bench


def test_only_the_newest_waits_and_the_others_are_counted(bench: Bench) -> None:
    bench.worker.submit(1)
    bench.wait_taken()
    for frame in (2, 3, 4):
        bench.worker.submit(frame)
    assert bench.counter.counts == FrameCounts(received=4, processed=0, dropped=2, invalid=0)
    bench.finish_one()
    bench.wait_taken()
    bench.finish_one()
    assert bench.taken == [1, 4]
    assert bench.worker.stop(GUARD_S)
    assert bench.counter.counts == FrameCounts(received=4, processed=2, dropped=2, invalid=0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_waiting_frame_is_prepared_while_another_is_in_work(bench: Bench) -> None:
    bench.worker.submit(1)
    bench.wait_taken()
    bench.worker.submit(2)
    until(lambda: bench.prepared == [1, 2])  # although 1 is still in work
    bench.worker.submit(3)
    until(lambda: bench.prepared == [1, 2, 3])
    bench.finish_one()
    bench.wait_taken()
    bench.finish_one()
    assert bench.taken == [1, 3]
    assert bench.prepared == [1, 2, 3], "nothing is prepared twice"
    assert bench.worker.stop(GUARD_S)
    assert bench.counter.counts == FrameCounts(received=3, processed=2, dropped=1, invalid=0)


def test_a_frame_that_came_while_the_first_was_being_prepared_is_prepared_ahead_too(bench: Bench) -> None:
    bench.preparing = lambda frame: bench.worker.submit(2) if frame == 1 else None
    bench.worker.submit(1)
    bench.wait_taken()
    until(lambda: bench.prepared == [1, 2])  # although 1 is still in work
    bench.finish_one()
    bench.wait_taken()
    bench.finish_one()
    assert bench.taken == [1, 2]
    assert bench.worker.stop(GUARD_S)
    assert bench.counter.counts == FrameCounts(received=2, processed=2, dropped=0, invalid=0)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_frame_that_cannot_be_prepared_is_reported_in_its_turn(bench: Bench, ahead: bool) -> None:
    if ahead:
        bench.worker.submit(1)
        bench.wait_taken()
    bench.worker.submit(UNREADABLE)
    until(lambda: UNREADABLE in bench.prepared)
    if ahead:
        assert bench.failures == []
        bench.finish_one()
    assert bench.finished.acquire(timeout=GUARD_S)
    assert [frame for frame, _ in bench.failures] == [UNREADABLE]
    bench.worker.submit(4)
    bench.wait_taken()
    bench.finish_one()
    assert bench.worker.stop(GUARD_S)
    assert bench.counter.counts.invalid == 1


def test_stop_waits_for_the_frame_in_hand_and_drops_the_waiting_one(bench: Bench) -> None:
    bench.worker.submit(1)
    bench.wait_taken()
    bench.worker.submit(2)
    stopped: list[bool] = []
    stopper = threading.Thread(target=lambda: stopped.append(bench.worker.stop(GUARD_S)))
    stopper.start()
    until(lambda: bench.counter.counts.dropped == 1)  # stopping has begun
    assert stopper.is_alive(), "stop returned although a frame was in hand"
    bench.gate.release()
    stopper.join(GUARD_S)
    assert stopped == [True]
    assert bench.done == [1] and bench.taken == [1]
    assert bench.counter.counts == FrameCounts(received=2, processed=1, dropped=1, invalid=0)


def test_a_failing_frame_is_reported_and_the_next_one_processed(bench: Bench) -> None:
    bench.worker.submit(-7)
    bench.wait_taken()
    bench.finish_one()
    bench.worker.submit(8)
    bench.wait_taken()
    bench.finish_one()
    assert [(frame, str(error)) for frame, error in bench.failures] == [(-7, "frame -7")]
    assert bench.done == [8]
    assert bench.worker.stop(GUARD_S)
    assert bench.counter.counts == FrameCounts(received=2, processed=1, dropped=0, invalid=1)


def test_a_stopped_worker_ignores_frames_and_does_not_start_again(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="only once"):
        bench.worker.start()
    assert bench.worker.stop(GUARD_S)
    bench.worker.submit(1)
    assert bench.counter.counts.received == 0
    with pytest.raises(RuntimeError, match="only once"):
        bench.worker.start()
    assert bench.worker.stop(GUARD_S), "stopping twice does no harm"


def test_stop_gives_up_on_a_frame_that_never_comes_back(bench: Bench) -> None:
    bench.worker.submit(1)
    bench.wait_taken()
    assert not bench.worker.stop(0.05)
    bench.gate.release()


def test_stall_and_recovery_are_reported_once() -> None:
    bench = Bench(limit_s=0.02)
    bench.worker.start()
    bench.worker.submit(1)
    bench.wait_taken()
    assert bench.stalled.wait(GUARD_S)
    assert bench.watchdog.stalled_for() is not None
    bench.finish_one()
    assert bench.recovered.wait(GUARD_S)
    assert bench.worker.stop(GUARD_S)
    assert len(bench.stalls) == 1 and len(bench.recoveries) == 1
    assert bench.recoveries[0] >= bench.stalls[0] > 0.02
    assert bench.watchdog.stalled_for() is None


def test_watchdog_on_a_hand_driven_clock() -> None:
    now = [100.0]
    events: list[str] = []

    def note(kind: str) -> Callable[[float], None]:
        return lambda seconds: events.append(f"{kind} {seconds:.0f}")

    watchdog = Watchdog(10.0, stalled=note("stalled"), recovered=note("recovered"), clock=lambda: now[0])
    watchdog.check()
    watchdog.begin()
    now[0] += 10
    watchdog.check()
    assert events == [] and watchdog.stalled_for() is None
    now[0] += 1
    watchdog.check()
    now[0] += 1
    watchdog.check()
    watchdog.end()
    assert events == ["stalled 11", "recovered 12"]
    watchdog.begin()
    now[0] += 5
    watchdog.end()
    watchdog.check()
    assert events == ["stalled 11", "recovered 12"]


def test_counts_add_up_under_a_flood_from_many_threads() -> None:
    counter = FrameCounter()
    watchdog = Watchdog(GUARD_S, stalled=lambda _: None, recovered=lambda _: None)
    worker: FrameWorker[int, int] = FrameWorker(
        lambda frame: frame,
        lambda frame, _: counter.add(processed=1) and None if frame % 3 else counter.add(invalid=1) and None,
        failed=lambda frame, error: None,
        watchdog=watchdog,
        counter=counter,
    )
    worker.start()
    senders = [threading.Thread(target=lambda: [worker.submit(k) for k in range(2000)]) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(GUARD_S)
    until(lambda: counter.counts.processed + counter.counts.invalid >= 1)  # else stopping may drop the only frame left
    assert worker.stop(GUARD_S)
    counts = counter.counts
    assert counts.received == 8000
    assert counts.processed + counts.dropped + counts.invalid == 8000
    assert counts.processed + counts.invalid >= 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_whose_thread_ends_by_itself_is_not_alive(bench: Bench) -> None:
    ended = threading.Event()

    def end(frame: int) -> None:
        ended.set()
        raise SystemExit  # no Exception: the loop does not catch it

    assert bench.worker.alive
    bench.preparing = end
    bench.worker.submit(1)
    assert ended.wait(GUARD_S)
    until(lambda: not bench.worker.alive)
    assert bench.worker.stop(GUARD_S) and bench.worker.alive  # nothing is expected of it any more
