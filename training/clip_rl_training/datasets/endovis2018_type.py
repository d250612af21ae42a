"""EndoVis 2018 instrument types after ISINet: 7 types, validation on sequences 2, 5, 9 and 15.

Two layouts, both found anywhere below the root.

As published: the scene releases (see `endovis2018`) with ISINet's annotations beside them,

    .../seq_N/left_frames/frameNNN.png
    .../seq_N/labels/frameNNN.png                                 scene colours
    .../seq_N/instrument_labels_2017/frameNNN_classC_instI.png    one instance each, pixels above 0

where the type mask is made as ISINet's organize2018.py makes it: suction instrument and ultrasound probe from the scene
colours, then every instance painted over in the order of file names. C is ISINet's raw id; vessel sealer (4), grasping
retractor (5) and stapler (10) are no class of this protocol and stay background.

Synthetic videos (``clip-rl synth``) have this layout too and hold seq_N/types/frameNNN.png instead, with our ids.

Organised, as that script writes it: {train,val}/{images,annotations}/seqN_frameNNN.png (also seq_N_frameNNN.png) with
one value per pixel. Repositories renumber the types, so the coding must be named:

| coding | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |
|---|---|---|---|---|---|---|---|---|---|
| isinet | bipolar | prograsp | needle driver | - | - | scissors | ultrasound | suction | clip |
| surgicalsam | bipolar | prograsp | needle driver | scissors | ultrasound | suction | clip | - | - |
| matis | bipolar | prograsp | needle driver | scissors | suction | clip | ultrasound | - | - |
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace, load_label_space
from clip_rl_perception.sources.mask_coding import ValueCoding
from clip_rl_perception.sources.tag_truth import right_folder

from clip_rl_training.datasets.dataset import CodedMask, DatasetError, Item, SegmentationDataset, read_mask
from clip_rl_training.datasets.endovis2018 import ISINET_TRAIN, ISINET_VAL, scene_coding, sequence_folders
from clip_rl_training.datasets.listing import Listing, folders_below, images_in

SPLITS = {"train": ISINET_TRAIN, "val": ISINET_VAL}

# Our ids are those of SurgicalSAM and TP-SIS: label space endovis2018-type.
CODINGS = {
    "isinet": {0: 0, 1: 1, 2: 2, 3: 3, 6: 4, 7: 5, 8: 6, 9: 7},
    "surgicalsam": {index: index for index in range(8)},
    "matis": {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 7, 7: 5},
}

_RAW_OUTSIDE_PROTOCOL = (4, 5, 10)
_INSTANCE = re.compile(r"(?P<frame>.*?)_?class_?(?P<id>\d+)")
_ORGANISED = re.compile(r"seq_?(?P<number>\d+)_(?P<frame>.+)")


def open_endovis2018_type(root: Path, coding: str = "isinet") -> SegmentationDataset:
    """Splits train (11 sequences) and val (4).

    Args:
        root: folder of either layout.
        coding: values of organised annotations: isinet, surgicalsam or matis; the releases need none.

    Raises:
        DatasetError: unknown coding.
    """
    if coding not in CODINGS:
        raise DatasetError(f"coding '{coding}' is unknown; expected one of {', '.join(CODINGS)}")
    organised = [folder for folder in folders_below(root, "annotations") if (folder.parent / "images").is_dir()]
    return _open_organised(root, organised, coding) if organised else _open_releases(root)


def _open_organised(root: Path, folders: list[Path], coding: str) -> SegmentationDataset:
    found = Listing(root)
    for folder in folders:
        for stem, image, mask in found.pairs(folder.parent / "images", folder):
            named = _ORGANISED.fullmatch(stem)
            if named is None:
                found.note(f"{image}: name does not tell its sequence; expected seqN_frameNNN")
                continue
            found.items.append(Item(image, (mask,), f"seq_{named['number']}", named["frame"]))
    found.sort()
    space = load_label_space("endovis2018-type")
    values = ValueCoding(CODINGS[coding], dict(enumerate(space.names)))
    return found.dataset("endovis2018-type", space, CodedMask(values, f" (coding {coding})"), SPLITS)


def _open_releases(root: Path) -> SegmentationDataset:
    found = Listing(root)
    scene, space = load_label_space("endovis2018"), load_label_space("endovis2018-type")
    for folder, sequence in sequence_folders(root, found.problems):
        if (folder / "types").is_dir():
            found.add(found.pairs(folder / "left_frames", folder / "types"), sequence)
            continue
        instances = folder / "instrument_labels_2017"
        if not instances.is_dir():
            found.note(f"{folder}: has no folder 'instrument_labels_2017'; expected ISINet's annotations there")
            continue
        by_frame: dict[str, list[Path]] = {}
        for stem, path in images_in(instances).items():
            named = _INSTANCE.match(stem)
            if named is None:
                found.note(f"{path}: name does not tell its class; expected frameNNN_classC_instI")
                continue
            by_frame.setdefault(named["frame"], []).append(path)
        found.items += [
            Item(image, (labels, *by_frame.pop(frame, [])), sequence, frame)
            for frame, image, labels in found.pairs(folder / "left_frames", folder / "labels")
        ]
        found.problems += [f"{paths[0]}: instance of a frame that does not exist" for paths in by_frame.values()]
    # Synthetic videos: 255 is an instrument of unknown type, a cut-out or a laparoscopic one.
    typed = CodedMask(ValueCoding(CODINGS["surgicalsam"], dict(enumerate(space.names)), ignore=(UNLABELLED,)))
    reader = _Instances(CodedMask(scene_coding(scene, scene)), _types_in_scene(scene, space), typed)
    return found.dataset("endovis2018-type", space, reader, SPLITS)


def _types_in_scene(scene: LabelSpace, space: LabelSpace) -> ByteArray:
    """Type id by scene id, uint8 (256,): suction instrument and ultrasound probe, the rest background."""
    table = np.zeros(256, np.uint8)
    for name in ("suction-instrument", "ultrasound-probe"):
        table[scene.id_of(name)] = space.id_of(name)
    return table


@dataclasses.dataclass(frozen=True)
class _Instances:
    """Composes the type mask of a frame as organize2018.py does."""

    scene: CodedMask
    types_in_scene: ByteArray
    typed: CodedMask
    """Reads the masks of synthetic videos, which hold the types as they are."""

    def __call__(self, item: Item) -> ByteArray:
        if item.masks[0].parent.name in ("types", right_folder("types")):
            return self.typed(item)
        labels = np.asarray(self.types_in_scene[self.scene(item)], np.uint8)
        for path in item.masks[1:]:
            index = _type_of_instance(path)
            if index is None:
                continue
            mask = read_mask(path).pixels
            instance = mask[..., :3].max(axis=2) if mask.ndim == 3 else mask
            if instance.shape != labels.shape:
                raise DatasetError(
                    f"{path}: instance is {instance.shape[1]}x{instance.shape[0]} but {item.masks[0].name} is "
                    f"{labels.shape[1]}x{labels.shape[0]}; both must have the same size"
                )
            labels[instance > 0] = index
        return labels


def _type_of_instance(path: Path) -> int | None:
    named = _INSTANCE.match(path.stem)
    raw = int(named["id"]) if named else -1
    if raw in _RAW_OUTSIDE_PROTOCOL:
        return None
    index = CODINGS["isinet"].get(raw)
    if not index:
        known = ", ".join(str(value) for value in CODINGS["isinet"] if value)
        raise DatasetError(f"{path}: class {raw} in the name; expected ISINet's raw ids {known}")
    return index
