"""EndoVis 2018 scene and type: published layouts, codings, splits, and what is said when something is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception.sources.mask_coding import CodingError
from clip_rl_training.datasets import DatasetError, check_disjoint, open_dataset

RELEASES = {
    "miccai_challenge_2018_release_1/seq_1": [0, 1, 10],
    "miccai_challenge_2018_release_1/seq_2": [0],
    "miccai_challenge_release_2/seq_5": [0],
    "miccai_challenge_release_3/seq_10": [0],
    "test_data/seq_1": [0, 249],
}


def test_releases_are_found_and_read(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, RELEASES)
    trees.labels_json(tmp_path / "miccai_challenge_2018_release_1/labels.json")
    dataset = open_dataset("endovis2018", tmp_path)
    assert dataset.sequences == ("seq_1", "seq_2", "seq_5", "seq_10", "test_seq_1")
    assert [item.frame for item in dataset.items[:3]] == ["frame000", "frame001", "frame010"]
    rgb, labels = dataset[0]
    assert (rgb == trees.picture(0)).all() and rgb.dtype == np.uint8
    assert (labels == trees.stripes(12)).all() and labels.dtype == np.uint8
    assert len(dataset.label_space) == 12
    rgb, labels = pickle.loads(pickle.dumps(dataset))[1]  # loader processes get datasets pickled
    assert (rgb == trees.picture(1)).all()


def test_official_and_isinet_splits(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, RELEASES)
    dataset = open_dataset("endovis2018", tmp_path)
    assert dataset.split("train").sequences == ("seq_1", "seq_2", "seq_5", "seq_10")
    assert dataset.split("test").sequences == ("test_seq_1",)
    assert dataset.split("isinet-train").sequences == ("seq_1", "seq_10")
    assert dataset.split("isinet-val").sequences == ("seq_2", "seq_5")
    assert len(dataset.split("all")) == len(dataset) == 8
    check_disjoint({"train": dataset.split("train"), "test": dataset.split("test")})
    with pytest.raises(DatasetError, match=r"train and val share sequence seq_2, seq_5 of .*split by whole sequences"):
        check_disjoint({"train": dataset.split("train"), "val": dataset.split("isinet-val")})
    with pytest.raises(DatasetError, match="has no split 'val'; it has: all, train, test, isinet-train, isinet-val"):
        dataset.split("val")


def test_published_splits_have_no_seq_8_and_the_published_numbers() -> None:
    from clip_rl_training.datasets.endovis2018 import ISINET_TRAIN, ISINET_VAL, TRAIN

    assert len(TRAIN) == 15 and "seq_8" not in TRAIN
    assert 149 * len(TRAIN) == 2235 and 149 * len(ISINET_TRAIN) == 1639 and 149 * len(ISINET_VAL) == 596


def test_unknown_sequences_belong_to_no_official_split(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_8": [0], "seq_1": [0]})
    dataset = open_dataset("endovis2018", tmp_path)
    assert dataset.sequences == ("seq_1", "seq_8")
    assert dataset.split("train").sequences == ("seq_1",)


@pytest.mark.parametrize(
    ("folder", "of_test"),
    [
        ("release_test", True), ("TestSet", True), ("miccaiTest", True), ("test_data-2", True), ("Testing", True),
        ("latest", False), ("contest", False), ("LATEST", False), ("attested", False),
    ],
)  # fmt: skip
def test_the_word_test_alone_names_the_test_set(folder: str, of_test: bool, tmp_path: Path) -> None:
    trees.endovis2018(tmp_path / "data" / folder, {"seq_1": [0]})
    assert open_dataset("endovis2018", tmp_path / "data").sequences == (("test_seq_1",) if of_test else ("seq_1",))


def test_a_root_called_test_is_the_test_set_but_test_something_is_not(tmp_path: Path) -> None:
    for name, expected in (("test", "test_seq_1"), ("Test_Data", "test_seq_1"), ("test_run_7", "seq_1")):
        trees.endovis2018(tmp_path / name, {"seq_1": [0]})
        assert open_dataset("endovis2018", tmp_path / name).sequences == (expected,)


def test_alpha_channel_says_nothing(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]}, alpha=True)
    assert (open_dataset("endovis2018", tmp_path)[0][1] == trees.stripes(12)).all()


def test_eleven_classes_without_suction(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    dataset = open_dataset("endovis2018-11", tmp_path)
    twelve, eleven = trees.stripes(12), dataset[0][1]
    expected = np.where(twelve == 9, 0, np.where(twelve > 9, twelve - 1, twelve))
    assert (eleven == expected).all()
    assert dataset.label_space.names[9:] == ("small-intestine", "ultrasound-probe")
    assert "suction-instrument" not in dataset.label_space.names


def test_unknown_colour_is_named(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    label = trees.painted(trees.stripes(12), "endovis2018")
    label[3, 4] = (1, 254, 0)
    trees.write_rgb(tmp_path / "seq_1/labels/frame000.png", label)
    with pytest.raises(CodingError, match=r"frame000\.png: colour \(1,254,0\) in 1 pix.*\(0,255,0\) instrument-sh"):
        open_dataset("endovis2018", tmp_path)[0]


def test_size_mismatch_is_named(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    trees.write_rgb(tmp_path / "seq_1/left_frames/frame000.png", trees.picture(0, (24, 30)))
    with pytest.raises(DatasetError, match=r"mask is 32x24 but image .*frame000\.png is 30x24"):
        open_dataset("endovis2018", tmp_path)[0]


def test_missing_pairs_are_named_and_counted(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0, 1, 2]})
    (tmp_path / "seq_1/labels/frame001.png").unlink()
    (tmp_path / "seq_1/left_frames/frame002.png").unlink()
    with pytest.raises(DatasetError, match=r"frame001\.png: has no mask.*\(and 1 more: clip-rl data check\)"):
        open_dataset("endovis2018", tmp_path)
    lenient = open_dataset("endovis2018", tmp_path, strict=False)
    assert len(lenient) == 1 and len(lenient.problems) == 2
    assert "labels/frame002.png: mask without an image" in lenient.problems[1]


def test_truncated_file_is_named(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    path = tmp_path / "seq_1/left_frames/frame000.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"frame000\.png is truncated: its bytes hold no end of the PNG"):
        open_dataset("endovis2018", tmp_path)[0]
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="0 bytes"):
        open_dataset("endovis2018", tmp_path)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": [0, 254, 0]}, r"class 1 is \('instrument-shaft', \(0, 254, 0\)\); expected .*\(0, 255, 0\)"),
        ({"name": "shaft"}, r"class 1 is \('shaft'"),
        ({"classid": "x"}, "is not a JSON list of name, color, classid"),
    ],
)
def test_labels_json_is_compared(tmp_path: Path, change: dict[str, object], message: str) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    trees.labels_json(tmp_path / "labels.json")
    entries = json.loads((tmp_path / "labels.json").read_text())
    entries[1].update(change)
    (tmp_path / "labels.json").write_text(json.dumps(entries))
    with pytest.raises(DatasetError, match=message):
        open_dataset("endovis2018", tmp_path)


def test_sequence_in_two_releases_and_missing_folders(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"a/seq_1": [0], "b/seq_1": [0], "a/seq_2": [0]})
    (tmp_path / "a/seq_2/labels/frame000.png").unlink()
    (tmp_path / "a/seq_2/labels").rmdir()
    problems = open_dataset("endovis2018", tmp_path, strict=False).problems
    assert any("b/seq_1: sequence seq_1 is also in" in line for line in problems)
    assert any("seq_2: has no folder 'labels'" in line for line in problems)


def test_empty_and_missing_roots(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder seq_N below it"):
        open_dataset("endovis2018", tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset("endovis2018", tmp_path / "none")
    with pytest.raises(DatasetError, match="no dataset 'endovis2019'; known are endovis2018"):
        open_dataset("endovis2019", tmp_path)
    with pytest.raises(DatasetError, match="needs a label map"):
        open_dataset("folder", tmp_path)


def type_release(root: Path) -> np.ndarray:
    """One frame: scene labels with suction and probe, two instances; returns the type ids expected."""
    scene = np.zeros((24, 32), np.uint8)
    scene[:, 0:4], scene[:, 4:8], scene[:, 8:16] = 9, 11, 1  # suction, ultrasound probe, shaft of something
    trees.endovis2018(root, {"release/seq_2": [7]}, ids=scene)
    folder = root / "release/seq_2/instrument_labels_2017"
    bipolar, scissors = np.zeros((2, 24, 32), np.uint8)
    bipolar[:, 8:12], scissors[:, 11:16] = 255, 255
    trees.write_rgb(folder / "frame007_class1_inst0.png", bipolar)
    trees.write_rgb(folder / "frame007_class6_inst0.png", np.dstack([scissors, 0 * scissors, 0 * scissors]))
    retractor = np.zeros((24, 32), np.uint8)
    retractor[:, 20:] = 1
    trees.write_rgb(folder / "frame007_class5_inst0.png", retractor)
    expected = np.zeros((24, 32), np.uint8)
    expected[:, 0:4], expected[:, 4:8], expected[:, 8:11], expected[:, 11:16] = 6, 5, 1, 4
    return expected


def test_type_from_the_releases(tmp_path: Path) -> None:
    expected = type_release(tmp_path)
    dataset = open_dataset("endovis2018-type", tmp_path)
    assert (dataset[0][1] == expected).all()
    assert dataset.split("val").sequences == ("seq_2",)
    assert dataset.label_space.names[4:7] == ("monopolar-curved-scissors", "ultrasound-probe", "suction-instrument")


def test_type_of_synthetic_videos(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_101": [0]})
    trees.write_rgb(tmp_path / "seq_101/types/frame000.png", trees.stripes(8))
    dataset = open_dataset("endovis2018-type", tmp_path)
    assert dataset.sequences == ("seq_101",) and dataset.splits == {}
    assert (dataset[0][1] == trees.stripes(8)).all()
    trees.write_rgb(tmp_path / "seq_101/types/frame000.png", trees.stripes(9))
    with pytest.raises(CodingError, match=r"types/frame000\.png: value 8; expected 0 background"):
        dataset[0]


def test_type_instance_mistakes_are_named(tmp_path: Path) -> None:
    type_release(tmp_path)
    folder = tmp_path / "release/seq_2/instrument_labels_2017"
    trees.write_rgb(folder / "frame008_class1_inst0.png", np.zeros((24, 32), np.uint8))
    trees.write_rgb(folder / "readme.png", np.zeros((24, 32), np.uint8))
    problems = open_dataset("endovis2018-type", tmp_path, strict=False).problems
    assert any("frame008_class1_inst0.png: instance of a frame that does not exist" in line for line in problems)
    assert any("readme.png: name does not tell its class" in line for line in problems)
    (folder / "frame008_class1_inst0.png").unlink()
    (folder / "readme.png").unlink()
    trees.write_rgb(folder / "frame007_class12_inst0.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(DatasetError, match="class 12 in the name; expected ISINet's raw ids 1, 2, 3, 6, 7, 8, 9"):
        open_dataset("endovis2018-type", tmp_path)[0]
    (folder / "frame007_class12_inst0.png").unlink()
    trees.write_rgb(folder / "frame007_class2_inst0.png", np.ones((12, 32), np.uint8))
    with pytest.raises(DatasetError, match=r"instance is 32x12 but frame007\.png is 32x24"):
        open_dataset("endovis2018-type", tmp_path)[0]


def test_type_without_annotations_says_what_is_missing(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    with pytest.raises(DatasetError, match="has no folder 'instrument_labels_2017'"):
        open_dataset("endovis2018-type", tmp_path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("endovis2018-type", [0, 1, 2, 3, 6, 7, 8, 9]),
        ("endovis2018-type:isinet", [0, 1, 2, 3, 6, 7, 8, 9]),
        ("endovis2018-type:surgicalsam", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("endovis2018-type:matis", [0, 1, 2, 3, 4, 7, 5, 6]),
    ],
)
def test_type_organised_in_three_codings(tmp_path: Path, name: str, values: list[int]) -> None:
    mask = np.array(values, np.uint8)[trees.stripes(8)]
    for part, stem in (("train", "seq1_frame000"), ("val", "seq_15_frame148")):
        trees.write_rgb(tmp_path / part / f"images/{stem}.png", trees.picture(0))
        trees.write_rgb(tmp_path / part / f"annotations/{stem}.png", mask)
    dataset = open_dataset(name, tmp_path)
    assert [(item.sequence, item.frame) for item in dataset.items] == [("seq_1", "frame000"), ("seq_15", "frame148")]
    assert (dataset[0][1] == trees.stripes(8)).all()
    assert dataset.split("val").sequences == ("seq_15",)


def test_type_in_another_coding_names_the_coding(tmp_path: Path) -> None:
    trees.write_rgb(tmp_path / "val/images/seq2_frame000.png", trees.picture(0))
    trees.write_rgb(tmp_path / "val/annotations/seq2_frame000.png", trees.stripes(8))
    with pytest.raises(CodingError, match=r"\(coding isinet\): value 4; expected 0 background, 1 bipolar.*9 clip"):
        open_dataset("endovis2018-type", tmp_path)[0]
