"""Any tree of images and masks with a label map.

    R/images/*, R/masks/*                       one sequence, or more by the label map's `sequence`
    R/<sequence>/images/*, R/<sequence>/masks/*          at any depth
    R/images/<sequence>/*, R/masks/<sequence>/*

The folder of masks may be called labels too, and capitals do not count. A mask has the name of its image and any
image suffix; where no name fits, words such as mask, label, image or frame are left out of both: image_001.jpg and
image_001_mask.png, frame7 and mask7. The label map (`clip_rl_perception.sources.truth_label_map`) says what stored
values mean. There are no splits but "all"; choose sequences with `SegmentationDataset.only`. Images that lie otherwise
than the others are problems of the dataset: none is left out without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clip_rl_perception.folder_files import MASK_FOLDERS, entries, image_folders, is_prediction, named
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.sources.truth_label_map import LabelMap

from clip_rl_training.datasets.dataset import CodedMask, Item, SegmentationDataset
from clip_rl_training.datasets.listing import Listing, folders_below, images_in

_IMAGES = "images"
_ONE_LAYOUT = "use one layout for all sequences, or name the folder of some as the root"
_WORDS = re.compile(
    r"images?|imgs?|frames?|rgb|raw|original|input|endo|masks?|label(s|led)?|seg(mentations?)?|gt|ground|truth|groundtruth|"
    r"annotations?|target|binary|colou?r",
    re.IGNORECASE,
)
"""Parts of file names that tell images from masks, and not one frame from another."""


class _Place(NamedTuple):
    sequence: str
    images: Path
    masks: Path


def open_folder(root: Path, label_map: LabelMap) -> SegmentationDataset:
    """A tree in one of the layouts above; the label space has the label map's classes, the first being background."""
    found = Listing(root)
    for place in _places(found):
        images, masks = _by_name(found, place)
        for pair in found.pairs(images, masks):
            frame, sequence = pair.image.stem, place.sequence
            if label_map.sequence is not None:
                told = label_map.sequence.search(frame)
                if told is None or not told[1]:  # the group may have no part in the match
                    found.note(
                        f"{pair.image}: name does not match sequence '{label_map.sequence.pattern}' of "
                        f"{label_map.source}"
                    )
                    continue
                sequence = told[1] if place.images == named(root, _IMAGES) else f"{place.sequence}/{told[1]}"
            found.items.append(Item(pair.image, (pair.mask,), sequence, frame))
    found.sort()
    space = label_map.space or label_space_from_names(label_map.names, name=Path(label_map.source).stem)
    reader = CodedMask(label_map.coding, f" (label map {label_map.source})")
    return found.dataset("folder", space, reader, {})


def _places(found: Listing) -> Iterator[_Place]:
    """Where the images and masks of each sequence lie; what is missing goes to the problems."""
    root = found.root
    parents = []
    for folder in folders_below(root, f"(?i:{_IMAGES})"):
        if folder.parent in parents:
            found.note(f"{folder.parent}: has {named(folder.parent, _IMAGES).name}/ and {folder.name}/; keep one")
        else:
            parents.append(folder.parent)
    if root in parents:
        for parent in parents:
            images = named(parent, _IMAGES)
            if parent != root and (images_in(images) or image_folders(images)):
                found.note(f"{images}: is left out, for {named(root, _IMAGES)} is there too; {_ONE_LAYOUT}")
        parents = [root]
    elif parents:
        for masks in folders_below(root, f"(?i:{'|'.join(MASK_FOLDERS)})"):
            if is_prediction(masks.parent) or set(parents) & {*masks.parents}:
                continue
            if images_in(masks) or any(map(images_in, entries(masks))):
                found.note(f"{masks}: is left out, there is no folder 'images' beside it as there are elsewhere")
    if not parents:
        there = ", ".join(path.name for path in entries(root)[:5]) if root.is_dir() else ""
        found.note(
            f"{root}: has no folder 'images', and none of its folders has; expected images/ and masks/; there is "
            f"{there or 'nothing'}"
        )
    for parent in parents:
        name = parent.name if parent == root else parent.relative_to(root).as_posix()
        folders = [folder for folder in (named(parent, kind) for kind in MASK_FOLDERS) if folder.is_dir()]
        if len(folders) != 1:
            there = "none" if not folders else " and ".join(folder.name for folder in folders)
            found.note(f"{parent}: expected one folder of masks, masks/ or labels/; there is {there}")
            continue
        images, masks = named(parent, _IMAGES), folders[0]
        if images_in(images):
            yield _Place(name, images, masks)
            for child in image_folders(images):
                found.note(f"{child}: is left out, for images lie in {images} itself too; {_ONE_LAYOUT}")
            continue
        for child in filter(Path.is_dir, entries(images)):
            for deeper in image_folders(child):
                found.note(f"{deeper}: is left out, it lies too deep; expected images in {child}")
            if not images_in(child):
                continue
            if (masks / child.name).is_dir():
                sequence = child.name if parent == root else f"{name}/{child.name}"
                yield _Place(sequence, child, masks / child.name)
            else:
                found.note(f"{child}: has no masks; expected them in {masks / child.name}")
        for child in filter(images_in, entries(masks)):
            if not images_in(images / child.name):
                found.note(f"{child}: has no images; expected them in {images / child.name}")


def _by_name(found: Listing, place: _Place) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by what their names have in common."""
    images, masks = found.images_in(place.images), found.images_in(place.masks)
    if not images or not masks or images.keys() & masks.keys():
        return images, masks
    bare = _bare(images), _bare(masks)
    if bare[0].keys() & bare[1].keys():
        return bare
    image, mask = next(iter(images.values())), next(iter(masks.values()))
    found.note(
        f"{place.masks}: no mask is called like an image: images like {image.name}, masks like {mask.name}; a mask has "
        "its image's name, or that and a word such as _mask"
    )
    return {}, {}


def _bare(files: dict[str, Path]) -> dict[str, Path]:
    """Files by name without the words that tell images from masks; nothing where two would have one name."""
    bare: dict[str, Path] = {}
    for stem, path in files.items():
        parts = [part for part in re.findall(r"[^\W\d_]+|\d+", stem) if not _WORDS.fullmatch(part)]
        bare.setdefault("_".join(parts), path)
    return bare if len(bare) == len(files) and "" not in bare else {}
