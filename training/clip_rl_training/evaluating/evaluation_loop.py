"""The evaluation loop: frames of a dataset through a predictor into an evaluator."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics import latency
from clip_rl_perception.metrics.evaluator import Evaluator, FrameScore
from clip_rl_perception.progress import shown
from clip_rl_perception.report.run_summary import looks
from clip_rl_perception.scene.types import Basis, Scene
from clip_rl_perception.threads.prefetch import Prefetch

from clip_rl_training.datasets import DatasetError, Item, SegmentationDataset
from clip_rl_training.datasets.dataset import UnreadableError
from clip_rl_training.evaluating.evaluated_classes import ClassMapping
from clip_rl_training.evaluating.tag_run import TagRun

READ_AHEAD = 64 << 20
"""Bytes of decoded frames to hold in front of the network."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a predictor says of one frame."""

    label_map: ByteArray
    """Class ids at the frame's size, uint8 (H, W); 255 where nothing is said."""
    confidence: ByteArray | None
    """Calibrated probability of the class x 255, uint8 (H, W), or None."""
    milliseconds: float = 0.0
    """Time for this frame, from pixels to labels."""
    basis: Basis | None = None
    """What the label map rests on; None of a predictor that has no looks."""
    validity: str = "OK"
    """What the pipeline says of the frame."""
    scene: Scene | None = None
    """All of it, where the pipeline made it."""


class Predictor(Protocol):
    """A model that segments frames: the shipped pipeline, or a peer that it is compared with."""

    @property
    def label_space(self) -> LabelSpace:
        """Classes of its label maps."""
        ...

    def predict(self, rgb: ByteArray, *, follows: bool) -> Prediction:
        """Segment a frame.

        Args:
            rgb: uint8 (H, W, 3).
            follows: it is the frame after the last one in the same video, so that memory may be used.
        """
        ...


Damage = Callable[[ByteArray, Item], tuple[ByteArray, Any]]
"""(rgb, item) -> damaged rgb, and bool (H, W) of pixels that are hidden by something opaque, or None."""

Watcher = Callable[[FrameScore, ByteArray, ByteArray, ByteArray], None]
"""(score, rgb, truth, prediction), maps in evaluated ids; called for every frame."""


@dataclasses.dataclass
class RunFacts:
    """How the run itself went."""

    milliseconds: list[float] = dataclasses.field(default_factory=list)
    """Per frame, from pixels to labels."""
    bases: list[Basis] = dataclasses.field(default_factory=list)
    """Of the frames, where the predictor tells."""
    validity: dict[str, int] = dataclasses.field(default_factory=dict)
    """Frames by what the pipeline said of them."""
    seconds: float = 0.0
    """Wall time of the whole loop."""
    problems: list[str] = dataclasses.field(default_factory=list)
    """Frames that could not be read and were left out, and classes that ignoring left nothing of; one line each."""

    def report(self) -> dict[str, Any]:
        """Plain data for JSON."""
        times = latency.percentiles(self.milliseconds)
        return {
            "seconds": round(self.seconds, 3),
            "frame_ms": {name: times[name] for name in ("p50", "p95", "p99")},
            "looks": looks(self.bases),
            "validity": dict(sorted(self.validity.items())),
            "problems": self.problems,
        }


def evaluate(
    dataset: SegmentationDataset,
    predictor: Predictor,
    mapping: ClassMapping,
    evaluator: Evaluator,
    *,
    video: bool = False,
    damage: Damage | None = None,
    watcher: Watcher | None = None,
    tags: TagRun | None = None,
    title: str = "evaluating",
) -> RunFacts:
    """Run every frame of `dataset` through `predictor` into `evaluator`.

    Args:
        dataset: frames and truth; one sequence after the other.
        predictor: the model.
        mapping: from `class_mapping` of both.
        evaluator: over `mapping.names`.
        video: frames of a sequence follow each other, so the predictor may use its memory; else each stands alone.
        damage: applied to each image first; hidden pixels become background in truth, as an annotator would see it.
        watcher: shown every frame.
        tags: measures the tags of every frame.
        title: of the progress line; empty for none.

    Raises:
        ClipRlError: a frame that cannot be compared, or none that can be read; named.
    """
    facts, classes = RunFacts(), dataset.truth_classes()
    started = time.perf_counter()
    previous: str | None = None
    with contextlib.ExitStack() as stack:
        frames: Iterator[tuple[Item, ByteArray, ByteArray]] = stack.enter_context(
            Prefetch(
                _read(dataset, facts.problems),
                limit_bytes=READ_AHEAD,
                size=lambda read: read[1].nbytes + read[2].nbytes,
            )
        )
        told = shown(frames, title, len(dataset)) if title else frames
        for item, rgb, labels in told:
            classes.add(labels)
            truth = mapping.truth[labels]
            if damage is not None:
                rgb, hidden = damage(rgb, item)
                if hidden is not None:
                    truth = np.where(hidden & (truth != 255), 0, truth).astype(np.uint8)
            result = predictor.predict(rgb, follows=video and item.sequence == previous)
            previous = item.sequence
            prediction = mapping.prediction[result.label_map]
            score = evaluator.update(
                prediction, truth, result.confidence, sequence=item.sequence, frame=item.frame, rgb=rgb
            )
            facts.milliseconds.append(result.milliseconds)
            if result.basis is not None:
                facts.bases.append(result.basis)
            facts.validity[result.validity] = facts.validity.get(result.validity, 0) + 1
            if tags is not None and result.scene is not None:
                tags.add(item, labels, result.scene)
            if watcher is not None:
                watcher(score, rgb, truth, prediction)
    if dataset.items and not facts.milliseconds:
        raise DatasetError(f"none of {len(dataset)} frames can be read: {facts.problems[0]}")
    facts.problems += [line for line in [classes.problem()] if line] + (tags.problems if tags is not None else [])
    facts.seconds = time.perf_counter() - started
    return facts


def _read(dataset: SegmentationDataset, problems: list[str]) -> Iterator[tuple[Item, ByteArray, ByteArray]]:
    for item in dataset.items:
        try:
            yield item, *dataset.load(item)
        except UnreadableError as error:
            problems.append(f"{error}; left out")
