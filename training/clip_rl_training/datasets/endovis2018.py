"""EndoVis 2018 robotic scene segmentation: colour-coded labels of 12 classes.

Published layout, anywhere below the root:

    miccai_challenge_2018_release_1/seq_{1..4}/{left_frames,labels}/frameNNN.png
    miccai_challenge_release_{2,3,4}/seq_{5,6,7 | 9..12 | 13..16}/...
    .../labels.json                      list of {name, color, classid}

There is no seq_8. Frames of the official test set lie in seq_1 to seq_4 once more, below a folder with the word test in
its name; their sequences are called test_seq_1 to test_seq_4 here. Labels are 1280x1024 colour PNGs, some with an alpha
channel, which says nothing. Other sequence names (synthetic scenes are written in this layout) belong to no official
split. Sources: mli0603/EndoVis2018, STswinCL, ISINet.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.sources.mask_coding import ColorCoding

from clip_rl_training.datasets.dataset import CodedMask, SegmentationDataset
from clip_rl_training.datasets.listing import Listing, files_near, folders_below

TRAIN = tuple(f"seq_{number}" for number in range(1, 17) if number != 8)
TEST = tuple(f"test_seq_{number}" for number in range(1, 5))
ISINET_VAL = ("seq_2", "seq_5", "seq_9", "seq_15")
ISINET_TRAIN = tuple(sequence for sequence in TRAIN if sequence not in ISINET_VAL)

SPLITS = {"train": TRAIN, "test": TEST, "isinet-train": ISINET_TRAIN, "isinet-val": ISINET_VAL}

_TEST_FOLDER = re.compile(r"test([_-]?(set|data))?")
"""The root itself, when it is the test set; stricter than below it, where the word in a longer name will do."""
_TEST_WORD = re.compile(
    r"((?<![A-Za-z])[Tt]est|(?<=[a-z])Test|(?<![A-Za-z])TEST)(ing|s)?([Ss]et|SET|[Dd]ata|DATA)?(?![a-z])"
)
"""In release_test, TestSet or miccaiTest; not in latest."""

_SUCTION = "suction-instrument"


def open_endovis2018(root: Path) -> SegmentationDataset:
    """All 12 classes. Splits: train (15 sequences), test (4 official ones), isinet-train (11), isinet-val (4)."""
    return _open(root, "endovis2018", load_label_space("endovis2018"), load_label_space("endovis2018"))


def open_endovis2018_11(root: Path) -> SegmentationDataset:
    """11 classes: suction instruments, which the official test set lacks, count as background (STswinCL's option)."""
    full = load_label_space("endovis2018")
    kept = [entry for entry in full.classes if entry.name != _SUCTION]
    space = LabelSpace("endovis2018-11", tuple(dataclasses.replace(entry, id=i) for i, entry in enumerate(kept)))
    return _open(root, "endovis2018-11", space, full)


def _open(root: Path, name: str, space: LabelSpace, full: LabelSpace) -> SegmentationDataset:
    found = Listing(root)
    for folder, sequence in sequence_folders(root, found.problems):
        found.add(found.pairs(folder / "left_frames", folder / "labels"), sequence)
    check_labels_json(root, full, found.problems)
    return found.dataset(name, space, CodedMask(scene_coding(full, space)), SPLITS)


def scene_coding(full: LabelSpace, space: LabelSpace) -> ColorCoding:
    """Colours of `full` to ids of `space`; classes that `space` lacks become background."""
    ids = {entry.color: space.id_of(entry.name) if entry.name in space.names else 0 for entry in full.classes}
    return ColorCoding(ids, dict(enumerate(space.names)))


def sequence_folders(root: Path, problems: list[str]) -> list[tuple[Path, str]]:
    """Folders of sequences with their names, training before test; doubled or incomplete ones go to `problems`."""
    found: dict[str, Path] = {}
    for folder in folders_below(root, r"seq_\d+"):
        below = folder.relative_to(root).parts[:-1]
        of_test = any(map(_TEST_WORD.search, below)) or _TEST_FOLDER.fullmatch(root.name.lower())
        sequence = f"test_{folder.name}" if of_test else folder.name
        if sequence in found:
            problems.append(f"{folder}: sequence {sequence} is also in {found[sequence]}; keep one")
            continue
        found[sequence] = folder
        for part in ("left_frames", "labels"):
            if not (folder / part).is_dir():
                problems.append(f"{folder}: has no folder '{part}'; expected left_frames/ and labels/")
    if not found:
        problems.append(f"{root}: no folder seq_N below it; expected seq_N/left_frames and seq_N/labels")
    return sorted(((folder, name) for name, folder in found.items()), key=lambda pair: pair[1].startswith("test_"))


def check_labels_json(root: Path, space: LabelSpace, problems: list[str]) -> None:
    """Compare every labels.json near the root with `space`; what differs goes to `problems`."""
    for path in files_near(root, "labels.json"):
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            found = {int(entry["classid"]): (str(entry["name"]), tuple(entry["color"])) for entry in entries}
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{path}: is not a JSON list of name, color, classid: {error}")
            continue
        for entry in space.classes:
            if found.get(entry.id) != (entry.name, entry.color):
                problems.append(
                    f"{path}: class {entry.id} is {found.get(entry.id)}; expected {(entry.name, entry.color)} "
                    f"of label space '{space.name}'"
                )
