"""Frames of a run through the evaluators: every metric of masks and of tags, per sequence and overall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.metrics.tag_evaluator import TagEvaluator
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


def tag_report(frames: Iterable[FrameRecord]) -> dict[str, Any] | None:
    """`TagEvaluator.report` over the frames with a truth of tags, as video; None without any."""
    evaluator = TagEvaluator(video=True)
    for frame in frames:
        if frame.tags is not None:
            evaluator.add(frame.tags, sequence=frame.sequence)
    return evaluator.report() if len(evaluator) else None
