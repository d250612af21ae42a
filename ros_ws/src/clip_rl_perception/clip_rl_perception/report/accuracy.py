"""Frames of a run through the evaluator: every metric, per class, sequence and overall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.runs.run_record import FrameRecord


def accuracy_report(frames: Iterable[FrameRecord], names: Sequence[str], nsd_tau: float) -> dict[str, Any] | None:
    """`Evaluator.report` over the frames with truth: per class, per sequence, overall; None without any."""
    evaluator = Evaluator(names, nsd_tau=nsd_tau, temporal=True)
    scored = False
    for frame in frames:
        if frame.measures is not None:
            evaluator.add(frame.measures, sequence=frame.sequence, frame=str(frame.index))
            scored |= frame.measures.confusion is not None
    return evaluator.report() if scored else None
