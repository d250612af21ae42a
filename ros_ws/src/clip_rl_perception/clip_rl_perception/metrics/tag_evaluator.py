"""One evaluator for all measures of tags: feed measured frames, read a report of everything and of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clip_rl_perception.metrics.instance_scores import instance_scores
from clip_rl_perception.metrics.keypoint_scores import keypoint_scores
from clip_rl_perception.metrics.tag_measures import Overlap, TagMeasures, kept, matched
from clip_rl_perception.metrics.tracking_scores import TrackedFrame, count_sequence, no_counts
from clip_rl_perception.metrics.type_scores import NamedMatch, type_scores


class TagEvaluator:
    """Measures of tags over a stream of frames; memory grows by a few numbers a frame."""

    def __init__(self, *, video: bool) -> None:
        """`video`: frames of a sequence follow each other in time, so that identities mean something."""
        self._video = video
        self._sequences: dict[str, list[TagMeasures]] = {}

    def add(self, measures: TagMeasures, *, sequence: str = "") -> None:
        """Add the next frame of a sequence."""
        self._sequences.setdefault(sequence, []).append(measures)

    def __len__(self) -> int:
        return sum(map(len, self._sequences.values()))

    def report(self) -> dict[str, Any]:
        """Plain data for JSON; None stands for undefined.

        Keys: frames; boxes and masks, each `instance_scores` and on video `TrackingCounts.report` (masks is None where
        pixels of tags are not known); keypoints (see `keypoint_scores`); types (see `type_scores`); sequences: boxes
        and masks of each.
        """
        frames = [frame for frames in self._sequences.values() for frame in frames]
        return {
            "frames": len(frames),
            **self._overlaps(self._sequences),
            "keypoints": keypoint_scores(
                (each.name, each.px, frame.diagonal) for frame in frames for each in frame.keypoints
            ),
            "types": type_scores(
                [match for name, seen in self._sequences.items() for frame in seen for match in _named(name, frame)],
                tracks=self._video,
            ),
            "sequences": {name: self._overlaps({name: seen}) for name, seen in self._sequences.items()},
        }

    def _overlaps(self, sequences: dict[str, list[TagMeasures]]) -> dict[str, Any]:
        by_box = [[(frame, frame.boxes) for frame in frames] for frames in sequences.values()]
        by_mask = [[(each, each.masks) for each in frames if each.masks is not None] for frames in sequences.values()]
        return {"boxes": self._scores(by_box), "masks": self._scores(by_mask) if any(by_mask) else None}

    def _scores(self, sequences: Sequence[Sequence[tuple[TagMeasures, Overlap]]]) -> dict[str, Any]:
        frames = [pair for sequence in sequences for pair in sequence]
        scores = instance_scores([(overlap, frame.confidences) for frame, overlap in frames])
        if not self._video:
            return scores
        counts = no_counts()
        for sequence in sequences:
            counts += count_sequence([_tracked(*pair) for pair in sequence])
        return scores | {"tracking": counts.report()}


def _tracked(frame: TagMeasures, overlap: Overlap) -> TrackedFrame:
    tags = kept(overlap)
    return TrackedFrame(frame.truths, frame.tracks[tags], overlap.iou[:, tags])


def _named(sequence: str, frame: TagMeasures) -> list[NamedMatch]:
    return [
        NamedMatch((sequence, int(frame.tracks[tag])), frame.stamp_s, frame.true_types[place], frame.types[tag])
        for place, tag in zip(*matched(frame.boxes.iou), strict=True)
        if frame.true_types[place]
    ]
