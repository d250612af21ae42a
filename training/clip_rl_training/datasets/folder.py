"""Any tree of images and masks with a label map.

    R/images/*, R/masks/*                    one sequence, or more by the label map's `sequence`
    R/<sequence>/images/*, R/<sequence>/masks/*

Masks have the stem of their image and any image suffix; the folder may be called labels instead of masks. The label map
(`clip_rl_perception.sources.truth_label_map`) says what stored values mean. There are no splits but "all"; choose
sequences with `SegmentationDataset.only`.
"""

from __future__ import annotations

from pathlib import Path

from clip_rl_perception.folder_files import entries
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.sources.truth_label_map import LabelMap

from clip_rl_training.datasets.dataset import CodedMask, Item, SegmentationDataset
from clip_rl_training.datasets.listing import Listing

_MASK_FOLDERS = ("masks", "labels")


def open_folder(root: Path, label_map: LabelMap) -> SegmentationDataset:
    """A tree in the layout above; the label space has the label map's classes, the first being background."""
    found = Listing(root)
    if (root / "images").is_dir():
        parents = [root]
    else:
        parents = [child for child in entries(root) if (child / "images").is_dir()] if root.is_dir() else []
    if not parents:
        found.note(f"{root}: has no folder 'images', and none of its folders has; expected images/ and masks/")
    for parent in parents:
        mask_folders = [parent / name for name in _MASK_FOLDERS if (parent / name).is_dir()]
        if len(mask_folders) != 1:
            there = "none" if not mask_folders else " and ".join(folder.name for folder in mask_folders)
            found.note(f"{parent}: expected one folder of masks, masks/ or labels/; there is {there}")
            continue
        for frame, image, mask in found.pairs(parent / "images", mask_folders[0]):
            sequence = parent.name
            if label_map.sequence is not None:
                named = label_map.sequence.search(frame)
                if named is None:
                    found.note(
                        f"{image}: name does not match sequence '{label_map.sequence.pattern}' of {label_map.source}"
                    )
                    continue
                sequence = named[1] if parent is root else f"{parent.name}/{named[1]}"
            found.items.append(Item(image, (mask,), sequence, frame))
    found.sort()
    space = label_space_from_names(label_map.names, name=Path(label_map.source).stem)
    reader = CodedMask(label_map.coding, f" (label map {label_map.source})")
    return found.dataset("folder", space, reader, {})
