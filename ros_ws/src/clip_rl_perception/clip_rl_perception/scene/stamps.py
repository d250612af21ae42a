"""Are the stamps of frames believable: future, repeated, out of order, or a clock that jumped back? No ROS here."""

from __future__ import annotations

import dataclasses
import enum

NANOSECONDS = 1_000_000_000
RESTART_RUN = 3
"""So many older stamps in a row, rising among themselves, mean that the source began again (a short bag in a loop)."""


class StampKind(enum.Enum):
    """What is wrong with a stamp, if anything."""

    GOOD = "good"
    UNSET = "unset"
    """All zero: the driver does not stamp."""
    FUTURE = "future"
    """Ahead of the node's clock by more than the tolerance."""
    REPEATED = "repeated"
    """Equal to the last one."""
    OLDER = "older"
    """Before the last one: frames out of order."""
    JUMP_BACK = "jump back"
    """Far before the last one, or a run of older ones: the source's clock began again."""


@dataclasses.dataclass(frozen=True)
class StampVerdict:
    """Judgement of one stamp."""

    kind: StampKind
    reason: str
    """Empty when GOOD, else one line."""

    @property
    def good(self) -> bool:
        """True when there is nothing to report."""
        return self.kind is StampKind.GOOD

    @property
    def reset(self) -> bool:
        """True when tracks and memory belong to another timeline and must be dropped before this frame."""
        return self.kind is StampKind.JUMP_BACK


class StampMonitor:
    """Judges stamps one after another. Not thread-safe: one thread calls it."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._older_run: list[int] = []

    def reset(self) -> None:
        """Forget earlier stamps: the next one begins a new timeline."""
        self._last = None
        self._older_run = []

    def check(
        self, stamp_ns: int, now_ns: int, *, future_tolerance_ns: int, jump_ns: int, reject_future: bool = False
    ) -> StampVerdict:
        """Judge the next stamp and remember it.

        Args:
            stamp_ns: header stamp, ns.
            now_ns: the node's clock, ns, in the same time base (simulated with use_sim_time).
            future_tolerance_ns: how far ahead of the clock a stamp may be, ns.
            jump_ns: a step back of at least this much is a jump of the clock and not frames out of order, ns.
            reject_future: True when frames from the future are not processed; then they do not move the timeline, so
                that the good frames after one wild stamp are not called older.

        Returns:
            The verdict. OLDER, REPEATED and UNSET stamps never move the timeline.
        """
        if stamp_ns == 0:
            return StampVerdict(StampKind.UNSET, "header stamp is zero; stamp images when they are acquired")
        ahead = stamp_ns - now_ns
        future = StampVerdict(
            StampKind.FUTURE,
            f"stamp is {ahead / NANOSECONDS:.3f} s in the future of the node's clock "
            f"(tolerance {future_tolerance_ns / NANOSECONDS:.3f} s); synchronise clocks or set use_sim_time"
            if now_ns > 0
            else "the node's clock stands at 0: use_sim_time is set and nothing has published /clock",
        )
        if ahead > future_tolerance_ns and reject_future:
            return future
        disorder = self._order(stamp_ns, jump_ns)
        if disorder is not None:
            return disorder
        return future if ahead > future_tolerance_ns else StampVerdict(StampKind.GOOD, "")

    def _order(self, stamp_ns: int, jump_ns: int) -> StampVerdict | None:
        """Verdict on the order alone; None when the stamp moves forward."""
        last = self._last
        if last is None or stamp_ns > last:
            self._begin(stamp_ns)
            return None
        if stamp_ns == last:
            return StampVerdict(StampKind.REPEATED, f"stamp {_seconds(stamp_ns)} s is the same as the last frame's")
        back = last - stamp_ns
        if self._older_run and stamp_ns <= self._older_run[-1]:
            self._older_run = []
        self._older_run.append(stamp_ns)
        if back >= jump_ns or len(self._older_run) >= RESTART_RUN:
            self._begin(stamp_ns)
            return StampVerdict(
                StampKind.JUMP_BACK, f"stamps jumped back by {back / NANOSECONDS:.3f} s; tracks and memory are reset"
            )
        return StampVerdict(
            StampKind.OLDER, f"stamp {_seconds(stamp_ns)} s is {back / NANOSECONDS:.3f} s older than the last frame's"
        )

    def _begin(self, stamp_ns: int) -> None:
        self._last = stamp_ns
        self._older_run = []


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // NANOSECONDS}.{stamp_ns % NANOSECONDS:09d}"
