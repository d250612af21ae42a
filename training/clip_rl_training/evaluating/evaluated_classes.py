"""Which classes are evaluated, and how stored truth and predictions map onto them."""

from __future__ import annotations

import dataclasses

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace, distinct_color
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.sources.mask_coding import CodingError, ColorCoding
from clip_rl_perception.sources.truth_label_map import LabelMap, LabelMapError, identity_label_map

from clip_rl_training.datasets import SegmentationDataset


@dataclasses.dataclass(frozen=True)
class ClassMapping:
    """Evaluated classes, and tables from the dataset's and the prediction's ids to theirs."""

    names: tuple[str, ...]
    """Evaluated classes; id 0 is the background."""
    truth: ByteArray
    """Evaluated id by dataset id, uint8 (256,); 255 stays 255."""
    prediction: ByteArray
    """Evaluated id by predicted id, uint8 (256,); 255 (outside the content area) stays 255."""
    unanswered: tuple[str, ...]
    """Evaluated classes that no predicted class maps to: they score 0 wherever they occur."""
    palette: ByteArray
    """Colours by evaluated id for pictures, RGB uint8 (256, 3)."""


def class_mapping(dataset: SegmentationDataset, space: LabelSpace, label_map: LabelMap | None) -> ClassMapping:
    """Join a dataset with a prediction's label space.

    Args:
        dataset: what is evaluated on. A "folder" has the classes of its label map already.
        space: classes of the prediction.
        label_map: names and merges classes; for other datasets than "folder" its `truth` lists ids of the dataset's
            label space. None: predicted classes answer to truth classes of the same name, others are background.

    Raises:
        LabelMapError: a label map that does not cover the dataset's ids or does not fit `space`; nothing in common.
    """
    truth = np.arange(256, dtype=np.uint8)
    if label_map is None:
        label_map = identity_label_map(dataset.label_space)
    elif dataset.name != "folder":
        truth = _truth_table(dataset, label_map)
    palette = np.zeros((256, 3), np.uint8)
    for index, name in enumerate(label_map.names):
        known = [entry.color for entry in (*space.classes, *dataset.label_space.classes) if entry.name == name]
        palette[index] = (known[0] if known and index else None) or distinct_color(index)
    palette[IGNORED] = (96, 96, 96)
    return ClassMapping(label_map.names, truth, label_map.prediction_table(space), label_map.unanswered(space), palette)


def _truth_table(dataset: SegmentationDataset, label_map: LabelMap) -> ByteArray:
    if isinstance(label_map.coding, ColorCoding):
        raise LabelMapError(
            f"{label_map.source}: truth lists colours; dataset '{dataset.name}' is decoded already, list its ids"
        )
    ids = np.arange(len(dataset.label_space), dtype=np.uint8)[None]
    try:
        decoded = label_map.coding.decode(ids, f"{label_map.source} on the ids of dataset '{dataset.name}'")
    except CodingError as error:
        raise LabelMapError(str(error)) from error
    table = np.full(256, IGNORED, np.uint8)
    table[: decoded.size] = decoded[0]
    return table
