"""Does the model know surgery when it sees it? A dataset's frames against pictures of anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.frame_classifier import KINDS, SURGERY
from clip_rl_perception.sources.media_source import open_source

from clip_rl_training.datasets import SegmentationDataset
from clip_rl_training.datasets.dataset import UnreadableError
from clip_rl_training.validity.examples import Example
from clip_rl_training.validity.fit_classifier import describe
from clip_rl_training.validity.measure_classifier import validity_report

_ANYTHING_ELSE = KINDS.index("out_of_distribution")


def measure_validity(dataset: SegmentationDataset, others: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Each frame and picture as the first of its stream, by each of the four looks.

    Args:
        dataset: frames of surgery; those that cannot be read are left out.
        others: folder, video or bag that shows none.
        checkpoint: judges, as the node does.

    Returns:
        Plain data as `validity_report` has it, but nothing of which kind the others are.

    Raises:
        ClipRlError: `others` cannot be read, or one of the two has no picture.
    """
    segmenter, calibration = checkpoint.segmenter.eval(), checkpoint.calibration
    try:
        real = describe(segmenter, _frames(dataset))
        other = describe(segmenter, _pictures(others))
    except ValueError as error:
        if isinstance(error, ClipRlError):
            raise
        raise ClipRlError(f"--others {others}: no picture to compare with; expected at least one of each") from error
    report = validity_report(real, other, calibration)
    for name, row in report["rows"].items():
        row["kind_right"] = None if name.startswith("others") else row["kind_right"]
    return report


def validity_lines(report: dict[str, Any]) -> list[str]:
    """A report for people."""
    real, other = report["rows"]["real"], report["rows"]["others"]
    area = "no ROC area: no classifier" if report["roc_area"] is None else f"ROC area {report['roc_area']:.4f}"
    return [
        f"validity: {1 - real['refused']:.1%} of {real['pictures']} frames are called usable, "
        f"{1 - other['refused']:.1%} of {other['pictures']} other pictures; {area}"
    ]


def _frames(dataset: SegmentationDataset) -> Iterator[Example]:
    for item in dataset.items:
        try:
            yield Example(dataset.load(item)[0], SURGERY, f"{item.sequence}: {item.frame}")
        except UnreadableError:  # told where masks are measured
            continue


def _pictures(path: Path) -> Iterator[Example]:
    for index, frame in enumerate(open_source(path)):
        yield Example(frame.rgb, _ANYTHING_ELSE, f"{path.name}: {index}")
