"""Frames of a dataset as training, validation and test scenes, split by sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.scene.content_area import estimate_content_area

from clip_rl_training.data.dataset_parts import own_classes
from clip_rl_training.data.samples import TRAINING, DataError, DatasetFrame
from clip_rl_training.datasets import SegmentationDataset


class DatasetStills:
    """A dataset's frames by number: training frames in an order of their own in every epoch, others as they stand."""

    def __init__(
        self,
        parts: Mapping[int, SegmentationDataset],
        spaces: Mapping[str, LabelSpace],
        *,
        seed: int,
        crop_content: bool = True,
        cache_bytes: int = 0,
    ) -> None:
        """Bind the parts.

        Args:
            parts: by `TRAINING`, `VALIDATION` and `TEST`; all of one dataset.
            spaces: label spaces in which frames are asked for, by the name that asks for them.
            seed: of the order of training frames.
            crop_content: look for the content area; else whole frames are shown.
            cache_bytes: decoded frames to keep in memory, each process its own.

        Raises:
            DataError: a label space whose classes the dataset does not tell apart.
        """
        self.parts = dict(parts)
        own = parts[TRAINING].label_space
        self._tables = {name: label_table(own, space) for name, space in spaces.items()}
        self._classes = own
        self._seed = seed
        self._epoch = -1
        self._order = np.arange(len(parts[TRAINING]))
        self._cache: dict[Path, DatasetFrame] = {}
        self._room = cache_bytes
        self._crop = crop_content

    def available(self, split: int) -> int:
        """Different frames of a split."""
        return len(self.parts[split])

    def frame(self, split: int, index: int) -> DatasetFrame:
        """Frame `index` of a split; beyond the last one they come round again. Errors as `SegmentationDataset.load`."""
        dataset = self.parts[split]
        epoch, index = divmod(index, len(dataset))
        if split == TRAINING:
            if epoch != self._epoch:
                self._epoch, self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(len(dataset))
            index = int(self._order[index])
        item = dataset.items[index]
        if item.image in self._cache:
            return self._cache[item.image]
        rgb, ids = dataset.load(item)
        frame = DatasetFrame(rgb, ids, self._tables, content_mask(rgb, find=self._crop), caption_of(ids, self._classes))
        size = rgb.nbytes + ids.nbytes + frame.content.nbytes
        if size <= self._room:
            self._room -= size
            self._cache[item.image] = frame
        return frame


def label_table(own: LabelSpace, wanted: LabelSpace) -> ByteArray:
    """Ids of `wanted` by ids of `own`, uint8 (256,), classes joined by name; 255 stays 255.

    Two classes of which the second is an instrument ("instrument or not") take all instruments of any label space, as
    `own_classes` knows them: a label map's names alone do not tell tissue from instruments.

    Raises:
        DataError: a class of `own` that `wanted` lacks.
    """
    table = np.full(256, UNLABELLED, np.uint8)
    binary = len(wanted) == 2 and wanted.instrument_ids == (1,)
    for entry in own_classes(own).classes:
        if entry.name in wanted.names:
            table[entry.id] = wanted.id_of(entry.name)
        elif binary:
            table[entry.id] = int(entry.instrument)
        elif entry.id == 0:
            table[entry.id] = 0
        else:
            raise DataError(
                f"label space '{wanted.name}' has no class '{entry.name}' of dataset labels '{own.name}'; it has: "
                f"{', '.join(wanted.names)}"
            )
    return table


def content_mask(rgb: ByteArray, *, find: bool = True) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where the camera shows the patient, bool (H, W): the box that the pipeline crops to, all where it finds none."""
    area = estimate_content_area(rgb) if find else None
    if area is None:
        return np.ones(rgb.shape[:2], bool)
    mask = np.zeros(rgb.shape[:2], bool)
    crop = area.crop
    mask[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width] = True
    return mask


def caption_of(ids: ByteArray, space: LabelSpace) -> str:
    """What a labelled frame shows, in words: its classes by name, the largest first."""
    counts = np.bincount(ids[ids != UNLABELLED].ravel(), minlength=len(space))[: len(space)]
    order = [index for index in np.argsort(-counts, kind="stable") if index and counts[index]]
    if not order:
        return "tissue in endoscopic surgery, no instrument"
    spoken = [space.names[index].replace("-", " ") for index in order]
    return f"endoscopic surgery with {', '.join(spoken[:-1]) + ' and ' if spoken[1:] else ''}{spoken[-1]}"
