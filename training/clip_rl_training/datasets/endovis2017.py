"""EndoVis 2017 robotic instruments: binary, parts and type; four folds over eight sequences.

Two layouts, both found anywhere below the root.

Original, 1920x1080, cropped here to rows 28 to 1051 and columns 320 to 1599 (1280x1024):

    train/instrument_dataset_{1..8}/left_frames/frameNNN.png
    train/instrument_dataset_{1..8}/ground_truth/<Tool folder>/frameNNN.png     0, 10 shaft, 20 wrist, 30 clasper
    train/instrument_type_mapping.json, train/mappings.json                     checked when they exist

Tool folders carry Left_, Right_, Maryland_ and the like around the type's name, with or without _labels.

Cropped, as the preprocessing of ternaus/robot-surgery-segmentation writes it, 1280x1024:

    instrument_dataset_{1..8}/{images,binary_masks,parts_masks,instruments_masks}/frameNNN.{jpg,png}

with masks stored as id x 255 (binary), id x 85 (parts), id x 32 (type). As there, the tool "Other" is no instrument in
binary and parts, and type 7. Where tools overlap, the later folder by name wins. Mask values above 0 that are no part
(the mapping has a probe, 40) count in binary and type and are background in parts.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.folder_files import entries
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.mask_coding import CodingError, ValueCoding, single_channel
from natsort import natsorted

from clip_rl_training.datasets.dataset import CodedMask, Crop, DatasetError, Item, SegmentationDataset, read_mask
from clip_rl_training.datasets.listing import Listing, files_near, folders_below, images_in, lone_masks

FOLDS = ((1, 3), (2, 5), (4, 8), (6, 7))
"""Validation sequences of each fold (ternaus); the other six train."""

CROP: Crop = (28, 320, 1024, 1280)

TOOLS = (
    "Bipolar_Forceps",
    "Prograsp_Forceps",
    "Large_Needle_Driver",
    "Vessel_Sealer",
    "Grasping_Retractor",
    "Monopolar_Curved_Scissors",
    "Other",
)
"""Tool of type id 1 to 7, as in folder names."""

PARTS = {"background": 0, "shaft": 10, "wrist": 20, "claspers": 30, "probe": 40}
"""Raw values of mappings.json."""

_STORED = {"binary": ("binary_masks", 255), "parts": ("parts_masks", 85), "type": ("instruments_masks", 32)}
_PART_IDS = {10: 1, 20: 2, 30: 3}


def open_endovis2017(root: Path, task: str) -> SegmentationDataset:
    """One task: binary, parts or type. Splits: fold0-train, fold0-val to fold3-train, fold3-val.

    Raises:
        DatasetError: unknown task.
    """
    if task not in _STORED:
        raise DatasetError(f"task '{task}' is unknown; expected one of {', '.join(_STORED)}")
    found = Listing(root)
    folders = folders_below(root, r"instrument_dataset_\d+")
    if not folders:
        found.note(f"{root}: no folder instrument_dataset_N below it; expected left_frames/ and ground_truth/ in it")
    space = load_label_space(f"endovis2017-{task}")
    mask_folder, factor = _STORED[task]
    stored = ValueCoding({index * factor: index for index in range(len(space))}, dict(enumerate(space.names)))
    seen: dict[str, Path] = {}
    for folder in folders:
        if folder.name in seen:
            found.note(f"{folder}: sequence is also in {seen[folder.name]}; keep one")
            continue
        seen[folder.name] = folder
        if (folder / "ground_truth").is_dir():
            found.items += _original_items(folder, found.problems)
        elif (folder / mask_folder).is_dir():
            found.add(found.pairs(folder / "images", folder / mask_folder), folder.name)
        else:
            found.note(f"{folder}: has neither ground_truth/ (original) nor {mask_folder}/ (cropped)")
    _check_mappings(root, found.problems)

    splits: dict[str, list[str]] = {}
    for fold, validation in enumerate(FOLDS):
        splits[f"fold{fold}-train"] = [f"instrument_dataset_{n}" for n in range(1, 9) if n not in validation]
        splits[f"fold{fold}-val"] = [f"instrument_dataset_{n}" for n in validation]
    reader = _Masks(task, mask_folder, CodedMask(stored))
    return found.dataset(f"endovis2017-{task}", space, reader, splits, sequences=seen, crop_of=_crop_of)


@dataclasses.dataclass(frozen=True)
class _Masks:
    """Reads either layout: one stored mask, or a mask per tool."""

    task: str
    mask_folder: str
    stored: CodedMask

    def __call__(self, item: Item) -> ByteArray:
        return self.stored(item) if item.masks[0].parent.name == self.mask_folder else _compose(item, self.task)


def tool_id(folder: str) -> int | None:
    """Type id of a tool folder by the tool's name in it; None when it names none."""
    plain = re.sub(r"[\s-]+", "_", folder).lower()
    for index, tool in enumerate(TOOLS, start=1):
        if tool.lower() in plain:
            return index
    return None


def _crop_of(size: tuple[int, int]) -> Crop | None:
    if size == (1080, 1920):
        return CROP
    if size == (1024, 1280):
        return None
    raise DatasetError(f"is {size[1]}x{size[0]}; expected 1920x1080 (original) or 1280x1024 (cropped)")


def _original_items(folder: Path, problems: list[str]) -> list[Item]:
    tools: dict[Path, Mapping[str, Path]] = {}
    for tool in sorted(filter(Path.is_dir, entries(folder / "ground_truth"))):
        if tool_id(tool.name) is None:
            problems.append(f"{tool}: names no tool; expected one of {', '.join(TOOLS)} in the name")
            continue
        tools[tool] = images_in(tool)
    if not tools:
        problems.append(f"{folder / 'ground_truth'}: has no tool folders; expected for example Prograsp_Forceps_labels")
    images = images_in(folder / "left_frames")
    items = []
    for frame, image in images.items():
        missing = [tool for tool, masks in tools.items() if frame not in masks]
        if missing or not tools:
            problems += [f"{image}: has no mask in {tool}" for tool in missing]
            continue
        items.append(Item(image, tuple(masks[frame] for masks in tools.values()), folder.name, frame))
    for masks in tools.values():
        problems += lone_masks(images, masks)
    return natsorted(items, key=lambda item: item.frame)


def _compose(item: Item, task: str) -> ByteArray:
    """Labels of one frame from its tool masks, as ternaus composes them."""
    labels: ByteArray | None = None
    for path in item.masks:
        index = tool_id(path.parent.name)
        mask = single_channel(read_mask(path), str(path), _parts_described())
        if labels is None:
            labels = np.zeros(mask.shape, np.uint8)
        if mask.shape != labels.shape:
            raise DatasetError(
                f"{path}: mask is {mask.shape[1]}x{mask.shape[0]} but {item.masks[0]} is "
                f"{labels.shape[1]}x{labels.shape[0]}; masks of one frame must have the same size"
            )
        other = index == len(TOOLS)
        unknown = np.setdiff1d(mask, list(PARTS.values()))
        if unknown.size and not other:
            raise CodingError(f"{path}: value {int(unknown[0])}; expected {_parts_described()}")
        if task == "type":
            labels[mask > 0] = index or 0
        elif task == "binary" and not other:
            labels[mask > 0] = 1
        elif task == "parts" and not other:
            for value, part in _PART_IDS.items():
                labels[mask == value] = part
    if labels is None:
        raise DatasetError(f"{item.image}: has no masks")
    return labels


def _parts_described() -> str:
    return ", ".join(f"{value} {name}" for name, value in PARTS.items())


def _check_mappings(root: Path, problems: list[str]) -> None:
    """Compare the mapping files with what this loader assumes; names are compared without case and separators."""
    expected = {
        "instrument_type_mapping.json": {tool.lower(): index for index, tool in enumerate(TOOLS, start=1)},
        "mappings.json": PARTS,
    }
    for name, values in expected.items():
        for path in files_near(root, name):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                known = {re.sub(r"[\s-]+", "_", str(key)).lower(): int(value) for key, value in found.items()}
            except (OSError, ValueError, TypeError, AttributeError) as error:
                problems.append(f"{path}: is not a JSON mapping from names to numbers: {error}")
                continue
            for key, value in values.items():
                if key in known and known[key] != value:
                    problems.append(f"{path}: '{key}' is {known[key]}; expected {value}")
