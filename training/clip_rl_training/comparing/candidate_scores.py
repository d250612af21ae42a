"""What is measured of a contender: every metric of the evaluator, and each frame's counts for tests of significance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.metrics.boundary import nsd_from_distances, surface_distances
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.metrics.evaluator import Evaluator, FrameScore

from clip_rl_training.comparing.comparison_config import EvaluationConfig
from clip_rl_training.corruptions import CORRUPTIONS
from clip_rl_training.datasets import SegmentationDataset
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth
from clip_rl_training.evaluating.evaluated_classes import ClassMapping
from clip_rl_training.evaluating.evaluation_loop import Predictor, evaluate
from clip_rl_training.evaluating.pipeline_predictor import DEFAULT_RATE
from clip_rl_training.evaluating.robustness import run_corruptions
from clip_rl_training.evaluating.tag_run import TagRun


class FrameCounts:
    """Intersection, union and NSD of everything that is not background, frame by frame; a watcher of the loop."""

    def __init__(self, tau: float) -> None:
        self._tau = tau
        self.rows: list[tuple[str, str, int, int, float | None]] = []
        """(sequence, frame, intersection px, union px, NSD or None where neither holds any foreground)."""

    def __call__(self, score: FrameScore, rgb: ByteArray, truth: ByteArray, prediction: ByteArray) -> None:
        """See a frame with its maps in evaluated ids."""
        counted = truth != IGNORED
        wanted = (truth > 0) & counted
        found = (prediction > 0) & (prediction != IGNORED) & counted
        union = int((wanted | found).sum())
        nsd = None
        if union:
            nsd = nsd_from_distances(*surface_distances(found.view(np.uint8), wanted.view(np.uint8)), self._tau)
        self.rows.append((score.sequence, score.frame, int((wanted & found).sum()), union, nsd))

    def blocks(self, length: int) -> list[dict[str, Any]]:
        """Sums over runs of `length` frames of one sequence; a rest shorter than half of that joins the run before it.

        Plain data per block: sequence, frames, intersection, union, nsd_sum, nsd_frames.
        """
        by_sequence: dict[str, list[tuple[str, str, int, int, float | None]]] = {}
        for row in self.rows:
            by_sequence.setdefault(row[0], []).append(row)
        blocks = []
        for sequence, rows in by_sequence.items():
            count = max(1, int(len(rows) / length + 0.5))
            for part in range(count):
                chosen = rows[part * length : None if part == count - 1 else (part + 1) * length]
                nsd = [row[4] for row in chosen if row[4] is not None]
                blocks.append(
                    {
                        "sequence": sequence,
                        "frames": len(chosen),
                        "intersection": sum(row[2] for row in chosen),
                        "union": sum(row[3] for row in chosen),
                        "nsd_sum": round(float(np.sum(nsd)), 4),
                        "nsd_frames": len(nsd),
                    }
                )
        return blocks


def measure(
    dataset: SegmentationDataset,
    predictor: Predictor,
    mapping: ClassMapping,
    config: EvaluationConfig,
    say: Callable[[str], None],
    truth: DatasetTagTruth | None = None,
) -> dict[str, Any]:
    """Measure a contender on test frames in the network's size, with `video` as frames that follow each other.

    Returns:
        Plain data: metrics (the evaluator's report), problems, blocks, frame_ms, looks; with a `truth` of tags, tags
        (as `TagEvaluator.report`); with `corruption_frames` corruptions (as `run_corruptions`).
    """
    counts = FrameCounts(config.tau)
    evaluator = Evaluator(mapping.names, nsd_tau=config.tau, temporal=config.video)
    tags = TagRun(truth, predictor.label_space, config.video, 1 / DEFAULT_RATE) if truth is not None else None
    facts = evaluate(dataset, predictor, mapping, evaluator, video=config.video, watcher=counts, tags=tags, title="")
    result: dict[str, Any] = {
        "metrics": evaluator.report(),
        "problems": facts.problems,
        "blocks": counts.blocks(config.block),
        "frame_ms": facts.report()["frame_ms"],
        "looks": facts.report()["looks"],
    }
    if tags is not None:
        result["tags"] = tags.report()
    if config.corruption_frames:
        say("corruption benchmark")
        result["corruptions"] = run_corruptions(
            dataset,
            predictor,
            mapping,
            frames=config.corruption_frames,
            names=config.corruptions or tuple(CORRUPTIONS),
            severities=config.severities,
            video=config.video,
        )
    return result
