"""Which frame of the right eye is of the same moment as one of the left. No ROS here."""

from __future__ import annotations

import collections
import dataclasses
from typing import Generic, TypeVar

from clip_rl_perception.scene.stamps import StampKind, StampMonitor, StampVerdict

Frame = TypeVar("Frame")
JUMP_NS = 1_000_000_000
"""A stamp so much before the last one of its eye is a clock that was set back; one so much later tells no order."""
SKEW_MS, WAIT_MS = 10.0, 200.0
"""Where nobody says otherwise: how far apart the stamps of one moment may be, how long a left frame waits."""
KEPT, MOST_KEPT = 16, 128
"""Frames of the right eye that are kept in any case, and those beyond which none is, however short it was there."""


@dataclasses.dataclass(frozen=True)
class Moment(Generic[Frame]):
    """A frame of the left eye with that of the right one."""

    stamp_ns: int
    left: Frame
    right: Frame | None
    right_ns: int
    """Stamp of the right frame; of the nearest one where `right` is None and `seen`."""
    seen: bool
    """Whether the right eye has any frame at all."""
    fault: str = ""
    """Why a stamp, of the left eye or of the right, cannot be paired, one line; empty where that is not the trouble."""
    anew: bool = False
    """A clock was set back since the last moment: what is remembered is of another time."""

    @property
    def skew_ms(self) -> float:
        """Right stamp minus left stamp."""
        return (self.right_ns - self.stamp_ns) / 1e6


@dataclasses.dataclass(frozen=True)
class _Waiting(Generic[Frame]):
    stamp: int
    frame: Frame
    came: int
    fault: str = ""
    """Of a left frame: why none of the right eye can be of its moment."""


class StampPairer(Generic[Frame]):
    """Gives left frames in their order, each with the nearest right one within tolerance, as soon as that is known.

    It is known when a right frame has the same stamp or a later one, or when the left one has waited long enough. A
    right frame serves once. A stamp of zero, or one that an eye has had before, belongs to no other: such a left
    frame is alone with the reason, such a right one is not used. When the clock of either eye is set back, what waits
    of both from before is let go.

    Args:
        tolerance_ns: greatest difference of stamps.
        wait_ns: how long a left frame waits, of the time given to `put` and `waited`.
    """

    def __init__(self, tolerance_ns: int, wait_ns: int) -> None:
        self._tolerance, self._wait = tolerance_ns, wait_ns
        self._left: collections.deque[_Waiting[Frame]] = collections.deque()
        self._right: dict[int, _Waiting[Frame]] = {}
        self._newest: dict[str, int] = {}
        """Where the clock of each eye is."""
        self._monitors = {"left": StampMonitor(), "right": StampMonitor()}
        self._right_fault = ""
        self._anew = False

    def put(self, side: str, stamp_ns: int, frame: Frame, now_ns: int) -> list[Moment[Frame]]:
        """Take a frame of an eye, "left" or "right"; the moments that are known now."""
        verdict = self._judged(side, stamp_ns)
        let_go = self._set_back(side, stamp_ns) if verdict.reset else []
        if verdict.good or verdict.reset:
            self._newest[side] = stamp_ns
        fault = f"{side} eye: {verdict.reason}" if verdict.kind in (StampKind.UNSET, StampKind.REPEATED) else ""
        if side == "left":
            self._left.append(_Waiting(stamp_ns, frame, now_ns, fault))
        elif not fault:
            self._right_fault = ""
            self._keep(_Waiting(stamp_ns, frame, now_ns))
        elif verdict.kind is StampKind.UNSET:
            self._right_fault = fault
        return [*let_go, *self.waited(now_ns)]

    def waited(self, now_ns: int) -> list[Moment[Frame]]:
        """The moments that are known now that time has passed."""
        known = []
        while self._left:
            stamp, came, fault = self._left[0].stamp, self._left[0].came, self._left[0].fault
            nearest = min(self._right, key=lambda other: abs(other - stamp), default=None)
            settled = fault or nearest == stamp or any(0 < other - stamp < JUMP_NS for other in self._right)
            if not settled and now_ns - came < self._wait:
                break
            frame = self._left.popleft().frame
            if not fault and nearest is not None and abs(nearest - stamp) <= self._tolerance:
                known.append(self._moment(stamp, frame, self._right.pop(nearest), nearest))
            else:
                known.append(self._moment(stamp, frame, None, nearest, fault or self._right_fault))
        return known

    def _judged(self, side: str, stamp_ns: int) -> StampVerdict:
        """Whether a stamp may be of a moment; the future is the perception node's to judge."""
        return self._monitors[side].check(stamp_ns, stamp_ns, future_tolerance_ns=0, jump_ns=JUMP_NS)

    def _set_back(self, side: str, stamp_ns: int) -> list[Moment[Frame]]:
        """Let go of what lies nearer to where the clock was than to where it is; the left frames among it."""
        before = self._newest[side]

        def old(other: int) -> bool:
            return abs(before - other) < abs(other - stamp_ns)

        self._anew = True
        self._right = {stamp: entry for stamp, entry in self._right.items() if not old(stamp)}
        gone = [entry for entry in self._left if old(entry.stamp)]
        self._left = collections.deque(entry for entry in self._left if not old(entry.stamp))
        fault = f"the clock of the {side} eye was set back while the frame waited"
        return [self._moment(entry.stamp, entry.frame, fault=fault) for entry in gone]

    def _moment(
        self,
        stamp_ns: int,
        left: Frame,
        right: _Waiting[Frame] | None = None,
        right_ns: int | None = None,
        fault: str = "",
    ) -> Moment[Frame]:
        anew, self._anew = self._anew, False
        near = right_ns if right_ns is not None else self._newest.get("right")
        frame = right.frame if right is not None else None
        return Moment(stamp_ns, left, frame, near or 0, near is not None, fault, anew)

    def _keep(self, entry: _Waiting[Frame]) -> None:
        """A right frame waits as long as a left one does, for an eye that is slower."""
        self._right[entry.stamp] = entry
        for stamp, old in list(self._right.items()):
            over = len(self._right) - KEPT
            if over <= 0 or (over <= MOST_KEPT - KEPT and entry.came - old.came <= self._wait):
                break
            del self._right[stamp]
