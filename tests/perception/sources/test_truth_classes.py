"""Masks of 0 and 255 read with 255 ignored: every reader says that nothing is left of a class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.streams import InputOptions, open_inputs, read
from clip_rl_perception.sources.truth_classes import TruthClasses
from clip_rl_perception.sources.truth_label_map import LabelMap, label_map_from_dict
from clip_rl_training.data.data_config import DatasetConfig, PartConfig
from clip_rl_training.data.dataset_parts import open_parts
from clip_rl_training.datasets import DatasetError, dataset_check, open_dataset

NAMES = ("background", "shaft", "tip")
IDS = label_map_from_dict({"truth": {0: "background", 1: "instrument"}, "ignore": [255]}, "map")
LINE = "no pixel of instrument in 3 masks, while 25.0% of their pixels are ignored; masks are read as 0 background"


def truth(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


@pytest.mark.parametrize(
    ("masks", "every", "told"),
    [
        ([truth(0, 1, 2, 255)], True, ""),
        ([truth(0, 0, 1, 255), truth(0, 0, 2, 255)], True, ""),
        ([truth(0, 0, 1, 1)], True, ""),  # nothing is ignored: the class is absent, and that may be
        ([truth(0, 1, 255, 255)], True, "no pixel of tip in 1 masks, while 50.0% of their pixels are ignored"),
        ([truth(0, 1, 255, 255)], False, ""),
        ([truth(0, 0, 0, 255)] * 2, False, "no pixel of shaft, tip in 2 masks, while 25.0% "),
        ([truth(1, 2, 255, 255)], True, "no pixel of background in 1 masks"),
    ],
)
def test_what_is_told(masks: list[np.ndarray], every: bool, told: str) -> None:
    classes = TruthClasses(NAMES, "0, 1, 2", every=every)
    for mask in masks:
        classes.add(mask)
    assert classes.problem().startswith(told) and bool(classes.problem()) == bool(told)


def tree(root: Path, white: int) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((16, 20), np.uint8)
    mask[:8, :10] = white
    for index in range(3):
        cv2.imwrite(str(root / "images" / f"{index}.png"), np.full((16, 20, 3), 80 + index, np.uint8))
        cv2.imwrite(str(root / "masks" / f"{index}.png"), mask)
    return root


@pytest.mark.parametrize("given", [IDS, None])
@pytest.mark.parametrize("white", [1, 255])
def test_replay(tmp_path: Path, white: int, given: LabelMap | None) -> None:
    root = tree(tmp_path / "d", white)
    options = InputOptions(paths=(root / "images",), labels=root / "masks", label_map=given)
    items = list(read(open_inputs(options, load_label_space("binary"))))
    lines = [line for item in items for line in item.problems]
    # Without a map, masks of 0 and 255 are seen to be just that, and read so.
    ignored = white == 255 and given is not None
    assert [line.startswith(f"{root / 'images'}: {LINE}") for line in lines] == [True] * ignored
    found = [item.content.labels for item in items if isinstance(item.content, Frame)]
    assert [(labels == (255 if ignored else 1)).sum() for labels in found] == [80] * 3


@pytest.mark.parametrize("white", [1, 255])
def test_bag_make(tmp_path: Path, white: int) -> None:
    frames = open_path(tree(tmp_path / "d", white), label_map=IDS).frames
    assert len(list(frames)) == 3
    assert [LINE in line for line in frames.problems] == ([True] if white == 255 else [])


@pytest.mark.parametrize("white", [1, 255])
def test_data_check_and_training(tmp_path: Path, white: int) -> None:
    root = tree(tmp_path / "d", white)
    problems = dataset_check.check_dataset(open_dataset("folder", root, label_map=IDS))["problems"]
    assert [line.startswith(f"{root}: {LINE}") for line in problems] == ([True] if white == 255 else [])
    (tmp_path / "map.yaml").write_text("truth: {0: background, 1: instrument}\nignore: [255]\n")
    config = DatasetConfig(name="folder", label_map=str(tmp_path / "map.yaml"), train=PartConfig(split="all"))
    if white == 1:
        assert len(open_parts(config, root)) == 3
    else:
        with pytest.raises(DatasetError, match="no pixel of instrument"):
            open_parts(config, root)


@pytest.mark.parametrize(
    ("rows", "told"), [(8, []), (13, ["81% of labelled pixels are instrument: are they inverted?"])]
)
def test_masks_that_look_inverted_are_noted(tmp_path: Path, rows: int, told: list[str]) -> None:
    root = tree(tmp_path / "d", 1)
    for file in (root / "masks").iterdir():
        mask = np.zeros((16, 20), np.uint8)
        mask[:rows] = 1
        cv2.imwrite(str(file), mask)
    report = dataset_check.check_dataset(open_dataset("folder", root, label_map=IDS))
    assert report["notes"] == told and report["problems"] == []
    assert [line for line in dataset_check.describe(report).splitlines() if "note" in line] == [
        f"note: {x}" for x in told
    ]
