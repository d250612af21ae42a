"""Ghosts and lag of a stream beside one plain look at each frame: `clip-rl eval --video --ghosts`."""

from __future__ import annotations

from typing import Any

from clip_rl_perception.metrics.ghosts import GhostMetrics
from clip_rl_perception.progress import shown

from clip_rl_training.datasets import SegmentationDataset
from clip_rl_training.datasets.dataset import UnreadableError
from clip_rl_training.evaluating.evaluated_classes import ClassMapping
from clip_rl_training.evaluating.pipeline_predictor import PipelinePredictor

STREAM, PLAIN = "stream", "plain"
"""What the report calls the two."""


def measure_ghosts(
    dataset: SegmentationDataset, predictor: PipelinePredictor, mapping: ClassMapping, *, tau: float
) -> dict[str, Any]:
    """Run the frames of a data set as one video through a stream, sequence after sequence without a word of the cuts.

    Args:
        dataset: frames and truth; frames that cannot be read are left out.
        predictor: the stream; begins anew.
        mapping: of both.
        tau: tolerance of the NSD, px.

    Returns:
        `GhostMetrics.report` of the models `STREAM` and `PLAIN`, one plain look at each frame alone.
    """
    models = {STREAM: predictor, PLAIN: predictor.looking_plainly()}
    metrics = GhostMetrics(list(models), tau=tau)
    previous: str | None = None
    for item in shown(dataset.items, "ghosts", len(dataset)):
        try:
            rgb, labels = dataset.load(item)
        except UnreadableError:
            continue
        if previous not in (None, item.sequence):
            metrics.cut()
        predictions = {
            name: mapping.prediction[model.predict(rgb, follows=previous is not None).label_map]
            for name, model in models.items()
        }
        previous = item.sequence
        metrics.update(rgb, mapping.truth[labels], predictions)
    return metrics.report()


def ghost_lines(report: dict[str, Any]) -> list[str]:
    """A report of ghosts for people: a line for each class of frames."""

    def pair(entry: dict[str, Any], name: str, form: str, factor: float = 1.0) -> str:
        values = [entry[model][name] for model in (STREAM, PLAIN)]
        return " / ".join("-" if value is None else format(factor * value, form) for value in values)

    lines = ["by speed of instruments, px a frame at 1280 px width, stream / one plain look:"]
    for kind, entry in report.items():
        lines.append(
            f"  {kind:12} {entry['frames']:5} frames"
            f"  IoU {pair(entry, 'iou', '.3f')}  NSD {pair(entry, 'nsd', '.3f')}"
            f"  ghosts {pair(entry, 'ghosts', '.2f', 100.0)} % of {entry['gone']} px that were left,"
            f" {pair(entry, 'far_ghosts', '.2f', 100.0)} % of {entry['far']} far from all"
        )
    return lines
