"""Frames as networks see them: scaled to the input with their aspect kept, so that all are measured alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument
from clip_rl_perception.sources.tag_truth import check_size

from clip_rl_training.data.augment import plain_place, plain_view
from clip_rl_training.data.dataset_stills import content_mask
from clip_rl_training.datasets import Item, SegmentationDataset
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a frame lies in its view."""

    shape: tuple[int, int]
    """(height, width) of the frame."""
    box: tuple[slice, slice]
    """Rows and columns of it that are shown."""
    matrix: FloatArray
    """From pixels of the box to those of the view, float32 (2, 3)."""


@dataclasses.dataclass(frozen=True)
class ViewedDataset(SegmentationDataset):
    """A dataset whose frames and labels come in a network's input size; padding is labelled 255."""

    size: tuple[int, int] = (0, 0)
    """(H, W) of the view."""
    crop_content: bool = True
    """Crop to the content area first."""
    places: dict[Path, Place] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """Of the frames loaded so far, by image."""

    def load(self, item: Item) -> tuple[ByteArray, ByteArray]:
        """As `SegmentationDataset.load`: uint8 (H, W, 3) and uint8 (H, W)."""
        rgb, labels = super().load(item)
        content = content_mask(rgb, find=self.crop_content)
        self.places[item.image] = Place((rgb.shape[0], rgb.shape[1]), *plain_place(content, self.size))
        return plain_view(rgb, labels, content, size=self.size)


class ViewedTagTruth(DatasetTagTruth):
    """Truth of tags of a viewed dataset, as its frames are seen."""

    def __init__(self, dataset: ViewedDataset) -> None:
        super().__init__(dataset)
        self._viewed = dataset

    def of(self, item: Item, labels: ByteArray) -> TagTruth | None:
        """As `DatasetTagTruth.of`, of an item that was loaded; `labels` in the view."""
        truth = self.stored(item)
        if truth is None:
            return None
        place, (height, width) = self._viewed.places[item.image], self._viewed.size
        check_size(truth, place.shape, str(item.image))
        shown: Any = np.ascontiguousarray(truth.instances[place.box])
        instances: Any = cv2.warpAffine(shown, place.matrix, (width, height), flags=cv2.INTER_NEAREST)
        instruments = {number: _seen(each, place) for number, each in truth.instruments.items()}
        ignored = labels == IGNORED
        return TagTruth(instances, instruments, ignored if ignored.any() else None)


def viewed(dataset: SegmentationDataset, size: tuple[int, int], *, crop_content: bool) -> ViewedDataset:
    """`dataset` through a network's eyes."""
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
    return ViewedDataset(**fields, size=size, crop_content=crop_content)


def _seen(instrument: TrueInstrument, place: Place) -> TrueInstrument:
    top, left = place.box[0].start, place.box[1].start
    points = {
        name: tuple((place.matrix @ np.array([x - left, y - top, 1.0])).tolist())
        for name, (x, y) in instrument.points.items()
    }
    return dataclasses.replace(instrument, points=points)
