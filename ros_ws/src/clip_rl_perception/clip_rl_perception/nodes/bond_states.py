"""One end of a bond as ros/bond_core defines it (bond/BondSM.sm): what was heard to what is to be said. No ROS.

A bond has two ends, each a process that says in `bond/msg/Status` that it lives. An end that means to go says so, and
waits until the other has said the same. The end here never breaks the bond because the other is silent: like nav2's
servers it leaves that to the lifecycle manager, whose death is no reason to stop.
"""

from __future__ import annotations

import enum

CONNECT_S = 10.0
"""Longest wait for the other end's first word (Constants.DEFAULT_CONNECT_TIMEOUT), s."""
DISCONNECT_S = 2.0
"""Longest wait for the other end's last word (Constants.DEFAULT_DISCONNECT_TIMEOUT), s."""
DYING_PERIOD_S = 0.05
"""How often an end that goes says so until then (Constants.DEAD_PUBLISH_PERIOD), s."""


class BondState(enum.Enum):
    """States of BondSM.sm, and what diagnostics call them."""

    WAITING = "waiting for a lifecycle manager"
    ALIVE = "formed"
    DYING = "ending"
    DEAD = "ended"


class BondMachine:
    """From activation to the end of the bond. Times are seconds of one monotonic clock.

    Args:
        now: the time.
        former: who was at the other end of bonds before this one: their last words do not end it.
    """

    def __init__(self, now: float, former: frozenset[str] = frozenset()) -> None:
        self.state = BondState.WAITING
        self.other = ""
        """Instance id of the other end; empty until it was heard."""
        self.broken_by_other = False
        """The other end said first that it goes."""
        self.heard_at = now
        """When the other end was last heard."""
        self._former = former
        self._since = now

    def hear(self, instance: str, active: bool, now: float) -> bool:
        """The other end says whether it lives; True where that is to be answered at once, with a last word.

        A third end is ignored: only the first that was heard counts.
        """
        if (instance in self._former and not active) or instance != (self.other or instance):
            return False
        self.other, self.heard_at = instance, now
        if active:
            if self.state is BondState.WAITING:
                self.state = BondState.ALIVE
            return False
        if self.state in (BondState.WAITING, BondState.ALIVE):
            self.state, self.broken_by_other = BondState.DEAD, True
            return True
        self.state = BondState.DEAD
        return False

    def die(self, now: float) -> bool:
        """This end goes; True where that is to be said, and again every `DYING_PERIOD_S` while it is dying."""
        before = self.state
        if before is BondState.WAITING:
            self.state = BondState.DEAD
        elif before is BondState.ALIVE:
            self.state, self._since = BondState.DYING, now
        return before in (BondState.WAITING, BondState.ALIVE)

    def word(self, now: float) -> bool | None:
        """What is to be said now: True that it lives, False that it goes, None nothing any more."""
        if self.state is BondState.WAITING and now - self._since >= CONNECT_S:
            self.state = BondState.DEAD
        if self.state is BondState.DYING and now - self._since >= DISCONNECT_S:
            self.state = BondState.DEAD
        return {BondState.WAITING: True, BondState.ALIVE: True, BondState.DYING: False}.get(self.state)
