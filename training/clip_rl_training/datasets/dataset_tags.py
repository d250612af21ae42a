"""Truth of tags of a data set: instances beside its images, or types that its masks hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument
from clip_rl_perception.sources.tag_truth import TagTruthFolder, check_size, instances_beside
from clip_rl_perception.sources.truth_label_map import LabelMap

from clip_rl_training.datasets.dataset import DatasetError, Item, SegmentationDataset, read_mask


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
        truth = self.stored(item)
        if truth is None:
            return None
        ignored = labels == IGNORED
        truth = dataclasses.replace(truth, ignored=ignored if ignored.any() else None)
        check_size(truth, labels.shape, str(item.image))
        return truth

    def stored(self, item: Item) -> TagTruth | None:
        """What lies beside the image of an item, as its picture is cropped; None where nothing does.

        Raises:
            TagTruthError: a picture that cannot be read.
        """
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
        return TagTruth(instances, instruments)


def _by_type(item: Item, types: LabelMap) -> TagTruth:
    """One instrument for each type that a mask shows."""
    ids = types.coding.decode(read_mask(item.masks[0]), f"{item.masks[0]} (types {types.source})")
    ignored = ids == IGNORED
    named = {number: TrueInstrument(name) for number, name in enumerate(types.names) if number}
    return TagTruth(np.where(ignored, 0, ids).astype(np.uint8), named, ignored if ignored.any() else None)


def _moved(instrument: TrueInstrument, x: int, y: int) -> TrueInstrument:
    points = {name: (place[0] + x, place[1] + y) for name, place in instrument.points.items()}
    return dataclasses.replace(instrument, points=points)
