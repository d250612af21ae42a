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

    def refine(
        self, step: Callable[[], int], limit: int, *, start: float, begun: float, budget_ms: float | None
    ) -> tuple[int, bool]:
        """Take steps until every pixel keeps, the budget is spent or `limit` is reached.

        Args:
            step: takes one step and returns how many pixels it moved.
            limit: most steps.
            start: when the frame's inference began (`time.perf_counter`, s); the budget counts from there.
            begun: when its refinement began; the first step's duration counts from there.
            budget_ms: of the frame, ms; None: no limit.

        Returns:
            How many steps moved pixels, and whether the budget refused one.
        """
        steps = 0
        while steps < limit:
            if budget_ms is not None and (time.perf_counter() - start) * 1e3 + self.step_ms > budget_ms:
                return steps, True
            moved = step()
            now = time.perf_counter()
            self._learn((now - begun) * 1e3)
            begun = now
            if moved == 0:
                break
            steps += 1
        return steps, False

    def _learn(self, milliseconds: float) -> None:
        """Exponential average that rises faster than it falls: a missed deadline costs more than a lost step."""
        if self.step_ms == 0.0:
            self.step_ms = milliseconds
        else:
            self.step_ms += (0.5 if milliseconds > self.step_ms else 0.1) * (milliseconds - self.step_ms)
