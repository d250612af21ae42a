"""Datasets of the field, and any folder of images and masks, behind one interface.

dataset = open_dataset("endovis2018", root)
train, test = dataset.split("train"), dataset.split("test")
check_disjoint({"train": train, "test": test})
rgb, labels = train[0]                              # uint8 (H, W, 3), uint8 (H, W) with 255 ignored
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clip_rl_perception.sources.truth_label_map import LabelMap

from clip_rl_training.datasets.cholecseg8k import open_cholecseg8k
from clip_rl_training.datasets.dataset import ALL, DatasetError, Item, SegmentationDataset, check_disjoint
from clip_rl_training.datasets.endovis2017 import open_endovis2017
from clip_rl_training.datasets.endovis2018 import open_endovis2018, open_endovis2018_11
from clip_rl_training.datasets.endovis2018_type import CODINGS, open_endovis2018_type
from clip_rl_training.datasets.folder import open_folder
from clip_rl_training.datasets.sarrarp50 import open_sarrarp50

__all__ = ["ALL", "DATASETS", "DatasetError", "Item", "SegmentationDataset", "check_disjoint", "open_dataset"]

_OPENERS: dict[str, Callable[[Path], SegmentationDataset]] = {
    "endovis2018": open_endovis2018,
    "endovis2018-11": open_endovis2018_11,
    "endovis2018-type": open_endovis2018_type,
    **{
        f"endovis2018-type:{coding}": lambda root, coding=coding: open_endovis2018_type(root, coding)  # type: ignore[misc]
        for coding in CODINGS
    },
    "endovis2017-binary": lambda root: open_endovis2017(root, "binary"),
    "endovis2017-parts": lambda root: open_endovis2017(root, "parts"),
    "endovis2017-type": lambda root: open_endovis2017(root, "type"),
    "cholecseg8k": open_cholecseg8k,
    "sarrarp50": open_sarrarp50,
}

DATASETS = (*_OPENERS, "folder")
"""Names that `open_dataset` knows."""


def open_dataset(
    name: str, root: str | Path, *, label_map: LabelMap | None = None, strict: bool = True
) -> SegmentationDataset:
    """Open a dataset by name.

    Args:
        name: one of `DATASETS`.
        root: folder that holds it.
        label_map: for "folder" only, which needs one.
        strict: refuse a tree in which files are missing or doubled; else they are in `problems` and left out.

    Raises:
        DatasetError: unknown name, no such folder, label map missing or not wanted, nothing found, and when `strict`
            the first of the problems.
    """
    root = Path(root)
    if name not in DATASETS:
        raise DatasetError(f"no dataset '{name}'; known are {', '.join(DATASETS)}")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    if name == "folder":
        if label_map is None:
            raise DatasetError(f"dataset 'folder' at {root} needs a label map that says what its mask values mean")
        dataset = open_folder(root, label_map)
    else:
        dataset = _OPENERS[name](root)
    if strict and dataset.problems:
        more = f" (and {len(dataset.problems) - 1} more: clip-rl data check)" if len(dataset.problems) > 1 else ""
        raise DatasetError(f"{dataset.problems[0]}{more}")
    if strict and not dataset.items:
        raise DatasetError(f"{root}: no labelled frames of dataset '{name}'")
    return dataset
