"""Tags of the pipeline against a dataset's truth of tags: `clip-rl eval` on datasets that have instances."""

from __future__ import annotations

import dataclasses
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.tag_evaluator import TagEvaluator
from clip_rl_perception.metrics.tag_measures import measure_tags
from clip_rl_perception.runs.scene_tags import content_pixels, scene_tags
from clip_rl_perception.scene.types import Scene
from clip_rl_perception.sources.tag_truth import TagTruthError

from clip_rl_training.datasets import Item
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth


@dataclasses.dataclass
class TagRun:
    """Measures the tags of frames in order."""

    truth: DatasetTagTruth
    space: LabelSpace
    """Classes of the tags."""
    video: bool
    """Frames of a sequence follow each other."""
    period_s: float
    """From frame to frame, s."""

    def __post_init__(self) -> None:
        self.problems: list[str] = []
        """Frames whose tags could not be measured, a line each."""
        self._evaluator, self._count = TagEvaluator(video=self.video), 0

    def add(self, item: Item, labels: ByteArray, scene: Scene) -> None:
        """Measure the tags of the next frame; `labels` as loaded."""
        self._count += 1
        try:
            truth = self.truth.of(item, labels)
        except TagTruthError as error:
            self.problems.append(f"{error}; its tags are not measured")
            return
        if truth is None:
            self.problems.append(f"{item.image}: no picture of instances; its tags are not measured")
            return
        measures = measure_tags(
            scene_tags(scene, self.space, tentative=not self.video),
            truth,
            content_area=content_pixels(scene.label_map),
            stamp_s=self._count * self.period_s,
        )
        self._evaluator.add(measures, sequence=item.sequence)

    def report(self) -> dict[str, Any] | None:
        """See `TagEvaluator.report`; None where no frame could be measured."""
        return self._evaluator.report() if len(self._evaluator) else None


def tag_lines(report: dict[str, Any]) -> list[str]:
    """A report of tags for people."""
    lines = [f"tags on {report['frames']} frames, IoU 0.5:"]
    for kind in ("boxes", "masks"):
        scores = report[kind]
        if scores is None:
            continue
        line = (
            f"  {kind:6} recall {_shown(scores['recall'])}  precision {_shown(scores['precision'])}"
            f"  AP50 {_shown(scores['ap50'])}  PQ {_shown(scores['pq'])}"
        )
        if "tracking" in scores:
            track = scores["tracking"]
            line += (
                f"  HOTA {_shown(track['hota'])}  IDF1 {_shown(track['idf1'])}"
                f"  {track['switches']} switches in {track['matches']} matches"
                f"  {track['identities']} identities of {track['instruments']} instruments"
            )
        lines.append(line)
    for kind, scores in report["keypoints"].items():
        lines.append(
            f"  {kind:6} error median {_shown(scores['median_px'], '.1f')} px,"
            f" {_shown(scores['median_percent'], '.2f')} % of the diagonal, 90 % within"
            f" {_shown(scores['p90_percent'], '.2f')} %;"
            f" {_shown(scores['missed'], '.0%')} of {scores['visible']} missed"
        )
    types = report["types"]
    if types["tags"]["count"]:
        line = f"  types  {_shown(types['tags']['right'], '.0%')} of {types['tags']['count']} matched tags right"
        for key, name in (("tracks", "tracks"), ("long_tracks", "tracks seen for 2 s")):
            if key in types:
                line += f", {_shown(types[key]['right'], '.0%')} of {types[key]['count']} {name}"
        lines.append(f"{line}; chance {_shown(types['chance'], '.0%')}, majority {_shown(types['majority'], '.0%')}")
    return lines


def _shown(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
