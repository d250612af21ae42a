from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from clip_rl_perception.harness.pacing import Pace
from clip_rl_perception.threads.prefetch import Prefetch


def test_order_is_kept_and_the_end_is_the_end() -> None:
    with Prefetch(range(100), limit_bytes=7, size=lambda item: 1) as items:
        assert list(items) == list(range(100))
        assert next(items, "end") == "end"


def test_memory_is_bounded() -> None:
    made = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for index in range(50):
            made.release()
            yield index

    with Prefetch(source(), limit_bytes=30, size=lambda item: 10) as items:
        assert items.wait_filled(10.0)
        # Three are held, and a fourth is made and waits for room.
        for _ in range(4):
            assert made.acquire(timeout=10.0)
        assert not made.acquire(timeout=0.05)
        assert next(items) == 0
        assert made.acquire(timeout=10.0)
        assert list(items) == list(range(1, 50))


def test_an_item_larger_than_the_limit_still_passes() -> None:
    with Prefetch([1, 2, 3], limit_bytes=1, size=lambda item: 100) as items:
        assert list(items) == [1, 2, 3]


def test_an_error_arrives_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk gone")

    with Prefetch(source(), limit_bytes=10, size=lambda item: 1) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="disk gone"):
            next(items)
        assert list(items) == []


def test_leaving_early_ends_the_thread_and_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with Prefetch(source(), limit_bytes=2, size=lambda item: 1) as items:
        next(items)
    assert threading.active_count() == 1 or not any(thread.name == "prefetch" for thread in threading.enumerate())
    assert list(items) == []
    del items
    assert closed.wait(10.0)


def due(pace: Pace, *stamps_ms: float) -> list[float]:
    return [round(pace.due(round(stamp * 1e6)), 6) for stamp in stamps_ms]


def test_pace_follows_the_stamps() -> None:
    assert due(Pace(25.0), 1000, 1040, 1100) == [0.0, 0.04, 0.1]


def test_pace_at_another_speed() -> None:
    assert due(Pace(25.0, speed=2.0), 0, 40, 100) == [0.0, 0.02, 0.05]
    assert due(Pace(25.0, speed=0.5), 0, 40) == [0.0, 0.08]


def test_pace_with_repeated_older_or_far_stamps_takes_the_nominal_period() -> None:
    assert due(Pace(25.0), 1000, 1000, 500, 540, 99_000) == [0.0, 0.04, 0.08, 0.12, 0.16]


def test_fixed_pace_ignores_stamps() -> None:
    assert due(Pace(10.0, fixed=True), 0, 1, 500) == [0.0, 0.1, 0.2]


def test_b_frames_are_due_with_the_picture_that_they_lean_on() -> None:
    assert due(Pace(25.0, video=True), 1000, 1120, 1040, 1080, 1240, 1160) == [0.0, 0.12, 0.12, 0.12, 0.24, 0.24]
    assert due(Pace(25.0, video=True), 1000, 1000, 1040) == [0.0, 0.04, 0.08], "repeated stamps are no B-frames"


@pytest.mark.parametrize("arguments", [{"rate_hz": 0.0}, {"rate_hz": 25.0, "speed": 0.0}])
def test_impossible_pace(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Pace(**arguments)
