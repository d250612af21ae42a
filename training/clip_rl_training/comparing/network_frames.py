"""Frames as networks see them: scaled to the input with their aspect kept, so that all are measured alike."""

from __future__ import annotations

import dataclasses

from clip_rl_perception.arrays import ByteArray

from clip_rl_training.data.augment import plain_view
from clip_rl_training.data.dataset_stills import content_mask
from clip_rl_training.datasets import Item, SegmentationDataset


@dataclasses.dataclass(frozen=True)
class ViewedDataset(SegmentationDataset):
    """A dataset whose frames and labels come in a network's input size; padding is labelled 255."""

    size: tuple[int, int] = (0, 0)
    """(H, W) of the view."""
    crop_content: bool = True
    """Crop to the content area first."""

    def load(self, item: Item) -> tuple[ByteArray, ByteArray]:
        """As `SegmentationDataset.load`: uint8 (H, W, 3) and uint8 (H, W)."""
        rgb, labels = super().load(item)
        return plain_view(rgb, labels, content_mask(rgb, find=self.crop_content), size=self.size)


def viewed(dataset: SegmentationDataset, size: tuple[int, int], *, crop_content: bool) -> ViewedDataset:
    """`dataset` through a network's eyes."""
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
    return ViewedDataset(**fields, size=size, crop_content=crop_content)
