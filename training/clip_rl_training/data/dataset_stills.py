"""Frames of a dataset as training, validation and test scenes, split by sequence."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import UNLABELLED, LabelSpace, load_label_space
from clip_rl_perception.scene.content_area import estimate_content_area
from clip_rl_perception.sources.truth_label_map import load_label_map

from clip_rl_training.data.data_config import DatasetConfig, PartConfig
from clip_rl_training.data.samples import TEST, TRAINING, VALIDATION, DataError, DatasetFrame
from clip_rl_training.datasets import DatasetError, SegmentationDataset, check_disjoint, open_dataset

_LOOKED_AT = 64
"""Masks that are looked at before training begins, evenly spread."""


class DatasetStills:
    """A dataset's frames by number: training frames in an order of their own in every epoch, others as they stand."""

    def __init__(
        self,
        parts: Mapping[int, SegmentationDataset],
        spaces: Sequence[str],
        *,
        seed: int,
        crop_content: bool = True,
        cache_bytes: int = 0,
    ) -> None:
        """Bind the parts.

        Args:
            parts: by `TRAINING`, `VALIDATION` and `TEST`; all of one dataset.
            spaces: names of the label spaces in which frames are asked for.
            seed: of the order of training frames.
            crop_content: look for the content area; else whole frames are shown.
            cache_bytes: decoded frames to keep in memory, each process its own.

        Raises:
            DataError: a label space whose classes the dataset does not tell apart.
        """
        self.parts = dict(parts)
        own = parts[TRAINING].label_space
        self._tables = {name: label_table(own, load_label_space(name)) for name in spaces}
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


def open_parts(config: DatasetConfig, root: Path) -> dict[int, SegmentationDataset]:
    """The parts of a dataset by `TRAINING`, `VALIDATION` and `TEST`.

    Without a validation part training frames stand for it: its curves then tell of fit, not of generalisation. Without
    a test part the validation part is the test.

    Raises:
        DatasetError: no such dataset, split or sequence; an empty part; parts that share a sequence.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; say with --root where dataset '{config.name}' lies")
    label_map = load_label_map(config.label_map) if config.label_map else None
    dataset = open_dataset(config.name, root, label_map=label_map)
    parts = {TRAINING: _part(dataset, config.train, "train")}
    for split, part, role in ((VALIDATION, config.validation, "validation"), (TEST, config.test, "test")):
        if part is not None:
            parts[split] = _part(dataset, part, role)
    roles = {TRAINING: "train", VALIDATION: "validation", TEST: "test"}
    _check_truth(parts[TRAINING])
    check_disjoint({roles[split]: part for split, part in parts.items()})
    parts.setdefault(VALIDATION, parts[TRAINING])
    parts.setdefault(TEST, parts[VALIDATION])
    return parts


def _check_truth(dataset: SegmentationDataset) -> None:
    """Raise `DatasetError` where a look at the masks shows nothing to learn: all that is not background is ignored."""
    seen = dataset.truth_classes(every=False)
    for item in dataset.spread(_LOOKED_AT).items:
        with contextlib.suppress(ClipRlError):  # told by name when it is this item's turn
            seen.add(dataset.read_labels(item))
    if seen.problem():
        raise DatasetError(f"{dataset.root}: {seen.problem()}")


def _part(dataset: SegmentationDataset, part: PartConfig, role: str) -> SegmentationDataset:
    chosen = dataset.split(part.split)
    if part.sequences:
        missing = sorted(set(part.sequences) - set(chosen.sequences))
        if missing:
            raise DatasetError(
                f"{role} part of dataset '{dataset.name}': no sequence {', '.join(missing)} in split '{part.split}' "
                f"under {dataset.root}; there are {', '.join(chosen.sequences)}"
            )
        chosen = chosen.only(part.sequences, f"{role} part of dataset '{dataset.name}'")
    return chosen


def label_table(own: LabelSpace, wanted: LabelSpace) -> ByteArray:
    """Ids of `wanted` by ids of `own`, uint8 (256,), classes joined by name; 255 stays 255.

    Two classes of which the second is an instrument ("instrument or not") take all instruments of any label space.

    Raises:
        DataError: a class of `own` that `wanted` lacks.
    """
    table = np.full(256, UNLABELLED, np.uint8)
    binary = len(wanted) == 2 and wanted.instrument_ids == (1,)
    for entry in own.classes:
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
