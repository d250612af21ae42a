"""EndoVis 2017: original and cropped layouts, the three tasks, folds, "Other", and what is said when data is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception.sources.mask_coding import CodingError
from clip_rl_training.datasets import DatasetError, check_disjoint, open_dataset
from clip_rl_training.datasets.endovis2017 import tool_id

FULL = (1080, 1920)
# As published, sequence by sequence.
FOLDERS = {
    "Left_Prograsp_Forceps_labels": 2,
    "Maryland_Bipolar_Forceps_labels": 1,
    "Other_labels": 7,
    "Right_Prograsp_Forceps_labels": 2,
    "Left_Large_Needle_Driver_labels": 3,
    "Large_Needle_Driver_Right_labels": 3,
    "Prograsp_Forceps": 2,
    "Bipolar_Forceps_labels": 1,
    "Grasping_Retractor_labels": 5,
    "Right_Vessel_Sealer": 4,
    "Left_Bipolar_Forceps": 1,
    "Monopolar_Curved_Scissors_labels": 6,
    "Right_Grasping_Retractor_labels": 5,
}


@pytest.mark.parametrize(("folder", "expected"), FOLDERS.items())
def test_tool_folders_carry_prefixes_and_suffixes(folder: str, expected: int) -> None:
    assert tool_id(folder) == expected


def original(root: Path) -> None:
    """One frame of sequence 1: bipolar with three parts, prograsp over it, and "Other"."""
    sequence = root / "train/instrument_dataset_1"
    trees.write_rgb(sequence / "left_frames/frame000.png", trees.picture(1, FULL))
    trees.write_rgb(sequence / "right_frames/frame000.png", trees.picture(2, FULL))
    masks = {name: np.zeros(FULL, np.uint8) for name in ("Maryland_Bipolar_Forceps", "Left_Prograsp_Forceps", "Other")}
    bipolar, prograsp, other = masks["Maryland_Bipolar_Forceps"], masks["Left_Prograsp_Forceps"], masks["Other"]
    bipolar[100:200, 400:500] = 10
    bipolar[100:200, 500:600] = 20
    bipolar[100:200, 600:700] = 30
    prograsp[150:200, 400:450] = 20  # overlapped by the later folder, Maryland
    prograsp[300:400, 400:500] = 40  # probe: no part
    prograsp[0:28, :] = 10  # outside the crop
    other[500:600, 400:500] = 50
    for name, mask in masks.items():
        trees.write_rgb(sequence / f"ground_truth/{name}_labels/frame000.png", mask)
    parts = {"Background": 0, "Shaft": 10, "Wrist": 20, "Claspers": 30, "Probe": 40}
    (root / "train/mappings.json").write_text(json.dumps(parts))
    types = {"Bipolar Forceps": 1, "Prograsp Forceps": 2, "Large Needle Driver": 3, "Other": 7}
    (root / "train/instrument_type_mapping.json").write_text(json.dumps(types))


def place(ids: np.ndarray, rows: slice, columns: slice) -> tuple[slice, slice]:
    return slice(rows.start - 28, rows.stop - 28), slice(columns.start - 320, columns.stop - 320)


def test_original_is_composed_and_cropped(tmp_path: Path) -> None:
    original(tmp_path)
    labels = {}
    for task in ("binary", "parts", "type"):
        dataset = open_dataset(f"endovis2017-{task}", tmp_path)
        assert dataset.sequences == ("instrument_dataset_1",)
        rgb, labels[task] = dataset[0]
        assert rgb.shape == (1024, 1280, 3) and labels[task].shape == (1024, 1280)
        assert (rgb == trees.picture(1, FULL)[28:1052, 320:1600]).all()
    expected = {task: np.zeros((1024, 1280), np.uint8) for task in labels}
    for part, column in ((1, 400), (2, 500), (3, 600)):
        where = place(labels["parts"], slice(100, 200), slice(column, column + 100))
        expected["binary"][where], expected["parts"][where], expected["type"][where] = 1, part, 1
    probe = place(labels["parts"], slice(300, 400), slice(400, 500))
    expected["binary"][probe], expected["type"][probe] = 1, 2
    expected["type"][place(labels["type"], slice(500, 600), slice(400, 500))] = 7  # "Other": in type alone
    for task, want in expected.items():
        assert (labels[task] == want).all(), task


def cropped(root: Path, sequences: tuple[int, ...]) -> None:
    for number in sequences:
        folder = root / f"cropped_train/instrument_dataset_{number}"
        trees.write_rgb(folder / "images/frame000.jpg", trees.picture(number, (1024, 1280)))
        for name, classes, factor in (("binary_masks", 2, 255), ("parts_masks", 4, 85), ("instruments_masks", 8, 32)):
            trees.write_rgb(folder / f"{name}/frame000.png", trees.stripes(classes, (1024, 1280)) * factor)


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("parts", 4), ("type", 8)])
def test_cropped_stored_values(tmp_path: Path, task: str, classes: int) -> None:
    cropped(tmp_path, (1,))
    dataset = open_dataset(f"endovis2017-{task}", tmp_path)
    rgb, labels = dataset[0]
    assert rgb.shape == (1024, 1280, 3)
    assert (labels == trees.stripes(classes, (1024, 1280))).all()
    assert len(dataset.label_space) == classes


def test_folds(tmp_path: Path) -> None:
    for number in range(1, 9):
        folder = tmp_path / f"instrument_dataset_{number}"
        trees.write_rgb(folder / "images/frame000.jpg", trees.picture(number))
        trees.write_rgb(folder / "binary_masks/frame000.png", trees.stripes(2) * 255)
    dataset = open_dataset("endovis2017-binary", tmp_path)
    for fold, validation in enumerate(((1, 3), (2, 5), (4, 8), (6, 7))):
        train, val = dataset.split(f"fold{fold}-train"), dataset.split(f"fold{fold}-val")
        assert set(val.sequences) == {f"instrument_dataset_{n}" for n in validation}
        assert len(train.sequences) == 6
        check_disjoint({"train": train, "val": val})
    with pytest.raises(DatasetError, match=r"frame000\.jpg: is 32x24; expected 1920x1080"):
        dataset[0]


def test_wrong_values_are_named(tmp_path: Path) -> None:
    original(tmp_path)
    folder = tmp_path / "train/instrument_dataset_1/ground_truth/Left_Prograsp_Forceps_labels"
    trees.write_rgb(folder / "frame000.png", np.full(FULL, 11, np.uint8))
    with pytest.raises(CodingError, match=r"Prograsp.*frame000\.png: value 11; expected 0 background, 10 shaft"):
        open_dataset("endovis2017-parts", tmp_path)[0]
    cropped(tmp_path / "c", (2,))
    mask = tmp_path / "c/cropped_train/instrument_dataset_2/binary_masks/frame000.png"
    trees.write_rgb(mask, np.full((1024, 1280), 1, np.uint8))
    with pytest.raises(CodingError, match="value 1; expected 0 background, 255 instrument"):
        open_dataset("endovis2017-binary", tmp_path / "c")[0]


def test_wrong_trees_are_named(tmp_path: Path) -> None:
    original(tmp_path)
    sequence = tmp_path / "train/instrument_dataset_1"
    (sequence / "ground_truth/Other_labels/frame000.png").unlink()
    trees.write_rgb(sequence / "ground_truth/Stapler_labels/frame000.png", np.zeros((4, 4), np.uint8))
    trees.write_rgb(sequence / "ground_truth/Other_labels/frame001.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "train/instrument_dataset_2").mkdir()
    (tmp_path / "train/mappings.json").write_text(json.dumps({"Shaft": 1}))
    problems = "\n".join(open_dataset("endovis2017-type", tmp_path, strict=False).problems)
    for part in (
        "Stapler_labels: names no tool; expected one of Bipolar_Forceps",
        "left_frames/frame000.png: has no mask in",
        "Other_labels/frame001.png: mask without an image",
        "instrument_dataset_2: has neither ground_truth/ (original) nor instruments_masks/ (cropped)",
        "mappings.json: 'shaft' is 1; expected 10",
    ):
        assert part in problems
    with pytest.raises(DatasetError, match="no folder instrument_dataset_N"):
        open_dataset("endovis2017-type", tmp_path / "train/instrument_dataset_2")
