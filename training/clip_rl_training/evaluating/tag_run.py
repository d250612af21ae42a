"""Tags of the pipeline against a dataset's truth of tags: `clip-rl eval` on datasets that have instances."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.metrics.tag_evaluator import TagEvaluator
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument, measure_tags
from clip_rl_perception.runs.scene_tags import content_pixels, scene_tags
from clip_rl_perception.scene.types import Scene
from clip_rl_perception.sources.tag_truth import TagTruthError, TagTruthFolder, instances_beside
from clip_rl_perception.sources.truth_label_map import LabelMap

from clip_rl_training.datasets import DatasetError, Item, SegmentationDataset
from clip_rl_training.datasets.dataset import read_mask


class DatasetTagTruth:
    """Where the truth of tags of a dataset lies; false where it has none."""

    def __init__(self, dataset: SegmentationDataset, types: LabelMap | None = None) -> None:
        """Look beside the images.

        Args:
            dataset: whose truth.
            types: reads the masks of a "folder" as types, of which a frame shows one instrument each: they are the
                truth of tags, whatever lies beside the images.

        Raises:
            TagTruthError: what is told of instruments is not as described.
            DatasetError: `types` for another dataset.
        """
        if types is not None and dataset.name != "folder":
            raise DatasetError(f"types are read from the masks of a folder, not of '{dataset.name}'; leave them out")
        self._dataset, self._types = dataset, types
        images = {item.image.parent for item in dataset.items} if types is None else set()
        beside = {folder: instances_beside(folder) for folder in images}
        self._folders: dict[Path, TagTruthFolder] = {
            folder: TagTruthFolder(found) for folder, found in beside.items() if found is not None
        }

    def __bool__(self) -> bool:
        return self._types is not None or bool(self._folders)

    def of(self, item: Item, labels: ByteArray) -> TagTruth | None:
        """Truth of tags of an item, as its picture is cropped; None where it has none.

        Args:
            item: of the dataset.
            labels: as loaded, uint8 (H, W); 255 is ignored.

        Raises:
            TagTruthError: a picture that cannot be read or has another size than the image.
            CodingError: a mask value that `types` does not know.
        """
        if self._types is not None:
            return _by_type(item, self._types)
        folder = self._folders.get(item.image.parent)
        truth = None if folder is None else folder.truth_of(item.image.stem)
        if truth is None:
            return None
        instances, instruments = truth.instances, truth.instruments
        crop = self._dataset.crop_of((instances.shape[0], instances.shape[1]))
        if crop is not None:
            row, column, height, width = crop
            instances = instances[row : row + height, column : column + width]
            instruments = {number: _moved(each, -column, -row) for number, each in instruments.items()}
        if instances.shape != labels.shape:
            raise TagTruthError(
                f"instances of {item.image} are {instances.shape[1]}x{instances.shape[0]} but the image is "
                f"{labels.shape[1]}x{labels.shape[0]}; both must have the same size"
            )
        ignored = labels == IGNORED
        return TagTruth(instances, instruments, ignored if ignored.any() else None)


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


def _by_type(item: Item, types: LabelMap) -> TagTruth:
    """One instrument for each type that a mask shows."""
    ids = types.coding.decode(read_mask(item.masks[0]), f"{item.masks[0]} (types {types.source})")
    ignored = ids == IGNORED
    named = {number: TrueInstrument(name) for number, name in enumerate(types.names) if number}
    return TagTruth(np.where(ignored, 0, ids).astype(np.uint8), named, ignored if ignored.any() else None)


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


def _moved(instrument: TrueInstrument, x: int, y: int) -> TrueInstrument:
    points = {name: (place[0] + x, place[1] + y) for name, place in instrument.points.items()}
    return dataclasses.replace(instrument, points=points)


def _shown(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
