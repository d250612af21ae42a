"""Verdicts on stamps, worked out by hand, and what must hold for any sequence."""

from __future__ import annotations

from clip_rl_perception.scene.stamps import StampKind, StampMonitor
from hypothesis import given
from hypothesis import strategies as st

MS = 1_000_000
SECOND = 1000 * MS


def kinds(stamps_ms: list[int], now_ms: int = 10**9, tolerance_ms: int = 20, jump_ms: int = 1000) -> list[StampKind]:
    monitor = StampMonitor()
    return [
        monitor.check(s * MS, now_ms * MS, future_tolerance_ns=tolerance_ms * MS, jump_ns=jump_ms * MS).kind
        for s in stamps_ms
    ]


def test_rising_stamps_are_good() -> None:
    assert kinds([1, 2, 40, 5000, 900_000]) == [StampKind.GOOD] * 5


def test_zero_is_unset_and_does_not_begin_a_timeline() -> None:
    assert kinds([0, 500, 0, 501]) == [StampKind.UNSET, StampKind.GOOD, StampKind.UNSET, StampKind.GOOD]


def test_future_beyond_the_tolerance() -> None:
    assert kinds([1020], now_ms=1000) == [StampKind.GOOD]
    assert kinds([1021], now_ms=1000) == [StampKind.FUTURE]


def test_constant_offset_into_the_future_keeps_order_checks() -> None:
    assert kinds([2000, 2040, 2030, 2080], now_ms=1000) == [
        StampKind.FUTURE,
        StampKind.FUTURE,
        StampKind.OLDER,
        StampKind.FUTURE,
    ]


def test_a_rejected_wild_stamp_leaves_the_timeline_alone() -> None:
    monitor = StampMonitor()
    limits = {"now_ns": 1000 * MS, "future_tolerance_ns": 0, "jump_ns": SECOND, "reject_future": True}
    assert monitor.check(900 * MS, **limits).good
    assert monitor.check(99_000 * MS, **limits).kind is StampKind.FUTURE
    assert monitor.check(940 * MS, **limits).good


def test_simulated_time_without_a_clock_is_named() -> None:
    verdict = StampMonitor().check(5 * SECOND, 0, future_tolerance_ns=0, jump_ns=SECOND)
    assert verdict.kind is StampKind.FUTURE and "/clock" in verdict.reason


def test_one_frame_out_of_order() -> None:
    assert kinds([100, 140, 120, 180]) == [StampKind.GOOD, StampKind.GOOD, StampKind.OLDER, StampKind.GOOD]


def test_repeated_stamp() -> None:
    assert kinds([100, 100, 140]) == [StampKind.GOOD, StampKind.REPEATED, StampKind.GOOD]


def test_jump_back_begins_again() -> None:
    assert kinds([5000, 5040, 4040, 4080]) == [StampKind.GOOD, StampKind.GOOD, StampKind.JUMP_BACK, StampKind.GOOD]


def test_step_back_below_the_jump_is_disorder() -> None:
    assert kinds([5000, 4001])[1] is StampKind.OLDER
    assert kinds([5000, 4000])[1] is StampKind.JUMP_BACK


def test_short_bag_in_a_loop_restarts_after_three_frames() -> None:
    assert kinds([400, 440, 480, 400, 410, 420, 440]) == [StampKind.GOOD] * 3 + [
        StampKind.OLDER,
        StampKind.OLDER,
        StampKind.JUMP_BACK,
        StampKind.GOOD,
    ]


def test_shuffled_older_frames_do_not_count_as_a_restart() -> None:
    assert kinds([1000, 960, 940, 920, 900]) == [StampKind.GOOD] + [StampKind.OLDER] * 4


def test_reset_forgets() -> None:
    monitor = StampMonitor()
    monitor.check(5 * SECOND, 10 * SECOND, future_tolerance_ns=0, jump_ns=SECOND)
    monitor.reset()
    assert monitor.check(SECOND, 10 * SECOND, future_tolerance_ns=0, jump_ns=SECOND).good


def test_reasons_name_the_numbers_exactly() -> None:
    monitor = StampMonitor()
    big = 1_763_800_000 * SECOND + 123_456_789
    assert monitor.check(big, big, future_tolerance_ns=0, jump_ns=SECOND).reason == ""
    assert "1763800000.123456789" in monitor.check(big, big, future_tolerance_ns=0, jump_ns=SECOND).reason
    older = monitor.check(big - 40 * MS, big, future_tolerance_ns=0, jump_ns=SECOND)
    assert "1763800000.083456789" in older.reason and "0.040 s older" in older.reason
    jump = monitor.check(big - 2 * SECOND, big, future_tolerance_ns=0, jump_ns=SECOND)
    assert jump.reset and "2.000 s" in jump.reason
    future = monitor.check(big + 2 * SECOND, big, future_tolerance_ns=0, jump_ns=SECOND)
    assert "2.000 s in the future" in future.reason and not future.reset


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_any_sequence(stamps: list[int]) -> None:
    """A verdict is good exactly when it has no reason, and no sequence locks rising stamps out for long."""
    monitor = StampMonitor()
    for stamp in stamps:
        verdict = monitor.check(stamp * MS, 10**6 * MS, future_tolerance_ns=0, jump_ns=1000 * MS)
        assert verdict.good == (verdict.reason == "")
    tail = [monitor.check((1 + k) * MS, 10**6 * MS, future_tolerance_ns=0, jump_ns=1000 * MS).kind for k in range(6)]
    assert tail[-1] is StampKind.GOOD
