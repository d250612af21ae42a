"""Anytime refinement: how many steps fit into a frame's latency budget.

A step that was begun cannot be stopped, so one begins only when its expected duration still fits. The expectation is
learned from the steps that ran, over all frames of an engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class StepBudget:
    """The expected duration of a refinement step, kept from frame to frame."""

    def __init__(self) -> None:
        self.step_ms = 0.0
        """Expected duration of a step; 0 until one has run."""

    def begin(self, start: float, budget_ms: float | None) -> FrameBudget:
        """Start the refinement of a frame whose inference began at `start` (`time.perf_counter`, s)."""
        return FrameBudget(self, start, budget_ms)

    def learn(self, milliseconds: float) -> None:
        """Exponential average that rises faster than it falls: a missed deadline costs more than a lost step."""
        if self.step_ms == 0.0:
            self.step_ms = milliseconds
        else:
            self.step_ms += (0.5 if milliseconds > self.step_ms else 0.1) * (milliseconds - self.step_ms)


class FrameBudget:
    """One frame's refinement against the clock."""

    def __init__(self, steps: StepBudget, start: float, budget_ms: float | None) -> None:
        self._steps = steps
        self._start = start
        self._budget_ms = budget_ms
        self._refine_start = self._last = time.perf_counter()
        self.truncated = False
        """True once a step was refused."""

    def refine(self, step: Callable[[], int], limit: int) -> int:
        """Take steps until every pixel keeps, the budget is spent or `limit` is reached; returns how many moved pixels.

        Args:
            step: takes one step and returns how many pixels it moved.
            limit: most steps.
        """
        steps = 0
        while steps < limit and self.allows_step():
            moved = step()
            self.record_step()
            if moved == 0:
                break
            steps += 1
        return steps

    def allows_step(self) -> bool:
        """Whether another step is expected to end within the budget; a refusal is remembered in `truncated`."""
        if self._budget_ms is None:
            return True
        spent_ms = (time.perf_counter() - self._start) * 1e3
        self.truncated = spent_ms + self._steps.step_ms > self._budget_ms
        return not self.truncated

    def record_step(self) -> None:
        """A step has ended now; the time since the last one, or since the beginning, was its duration."""
        now = time.perf_counter()
        self._steps.learn((now - self._last) * 1e3)
        self._last = now

    def elapsed_ms(self) -> float:
        """Time spent on refinement so far, ms."""
        return (time.perf_counter() - self._refine_start) * 1e3
