"""CholecSeg8k, SAR-RARP50 and plain folders: layouts, codings, splits, mistakes."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception.sources.mask_coding import CodingError
from clip_rl_perception.sources.truth_label_map import label_map_from_dict
from clip_rl_training.datasets import DatasetError, check_disjoint, open_dataset
from clip_rl_training.datasets.listing import images_in

BINARY = label_map_from_dict({"truth": {0: "background", 255: "instrument"}}, "binary.yaml")


def cholecseg8k(root: Path, video: str, clip: int, frame: int) -> np.ndarray:
    """One frame; returns the ids expected."""
    ids = trees.stripes(13, (26, 52))
    values = np.array([50, 11, 21, 13, 12, 31, 23, 24, 25, 32, 22, 33, 5], np.uint8)[ids]
    values[0], values[-1] = 255, 0
    ids[0] = ids[-1] = 255
    stem = root / video / f"{video}_{clip:05d}" / f"frame_{frame}_endo"
    trees.write_rgb(stem.with_name(stem.name + ".png"), trees.picture(frame, (26, 52)))
    trees.write_rgb(stem.with_name(stem.name + "_watershed_mask.png"), np.dstack([values] * 3))
    trees.write_rgb(stem.with_name(stem.name + "_mask.png"), np.dstack([values] * 3))
    trees.write_rgb(stem.with_name(stem.name + "_color_mask.png"), trees.painted(ids, "cholecseg8k"))
    return ids


def test_cholecseg8k(tmp_path: Path) -> None:
    expected = cholecseg8k(tmp_path, "video01", 80, 80)
    cholecseg8k(tmp_path, "video01", 80, 159)
    cholecseg8k(tmp_path, "video01", 160, 160)
    cholecseg8k(tmp_path, "video12", 15750, 15750)
    dataset = open_dataset("cholecseg8k", tmp_path)
    assert dataset.sequences == ("video01", "video12")
    assert [item.frame for item in dataset.items[:2]] == ["video01_00080/frame_80_endo", "video01_00080/frame_159_endo"]
    assert (dataset[0][1] == expected).all()
    assert (dataset[0][0] == trees.picture(80, (26, 52))).all()
    assert dataset.split("train").sequences == ("video01",) and dataset.split("test").sequences == ("video12",)
    assert dataset.label_space.names[5] == "grasper" and dataset.label_space.instrument_ids == (5, 9)


def test_cholecseg8k_mistakes(tmp_path: Path) -> None:
    cholecseg8k(tmp_path, "video01", 80, 80)
    cholecseg8k(tmp_path, "video01", 80, 81)
    clip = tmp_path / "video01/video01_00080"
    (clip / "frame_81_endo_watershed_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"frame_81_endo\.png: has no mask"):
        open_dataset("cholecseg8k", tmp_path)
    (clip / "frame_81_endo.png").unlink()
    trees.write_rgb(clip / "frame_80_endo_watershed_mask.png", np.full((26, 52), 17, np.uint8))
    with pytest.raises(CodingError, match=r"value 17; expected 5 liver-ligament, 11 abdominal-wall.*ignored: 0, 255"):
        open_dataset("cholecseg8k", tmp_path)[0]
    with pytest.raises(DatasetError, match="no folder videoNN_FFFFF"):
        open_dataset("cholecseg8k", clip)


def sarrarp50(root: Path, video: str) -> None:
    for frame in (0, 6, 60):
        trees.write_rgb(root / video / f"rgb/{frame:09d}.png", trees.picture(frame))
    for frame in (0, 60):
        trees.write_rgb(root / video / f"segmentation/{frame:09d}.png", trees.stripes(10))


def test_sarrarp50(tmp_path: Path) -> None:
    for video in ("training_set_1/video_1", "training_set_2/video_11_1", "training_set_2/video_11_2", "test/video_41"):
        sarrarp50(tmp_path, video)
    dataset = open_dataset("sarrarp50", tmp_path)
    assert len(dataset) == 8  # frames without mask are normal
    assert dataset.sequences == ("video_41", "video_1", "video_11")
    assert dataset.split("train").sequences == ("video_1", "video_11")
    assert dataset.split("test").sequences == ("video_41",)
    rgb, labels = dataset.split("train")[1]
    assert (rgb == trees.picture(60)).all() and (labels == trees.stripes(10)).all()


def test_a_second_copy_of_frames_is_named(tmp_path: Path) -> None:
    sarrarp50(tmp_path / "sarrarp50", "train/video_1")
    sarrarp50(tmp_path / "sarrarp50", "backup/train/video_1")
    with pytest.raises(
        DatasetError, match=r"train/video_1/rgb: 2 frames are also in .*backup/train/video_1/rgb; keep one$"
    ):
        open_dataset("sarrarp50", tmp_path / "sarrarp50")
    assert len(open_dataset("sarrarp50", tmp_path / "sarrarp50", strict=False)) == 2
    for copy in ("a", "b"):
        cholecseg8k(tmp_path / "cholecseg8k" / copy, "video01", 80, 80)
        ids = np.zeros((24, 32), np.uint8)
        organised = tmp_path / "endovis2018" / copy / "train"
        trees.write_rgb(organised / "images/seq1_frame000.png", trees.picture(0))
        trees.write_rgb(organised / "annotations/seq1_frame000.png", ids)
    for name in ("cholecseg8k", "endovis2018"):
        with pytest.raises(DatasetError, match=r": 1 frame is also in .*; keep one$"):
            open_dataset(name if name == "cholecseg8k" else "endovis2018-type", tmp_path / name)


def test_sarrarp50_mistakes(tmp_path: Path) -> None:
    sarrarp50(tmp_path, "video_1")
    trees.write_rgb(tmp_path / "video_1/segmentation/000000120.png", trees.stripes(10))
    (tmp_path / "video_2/segmentation").mkdir(parents=True)
    (tmp_path / "video_3").mkdir()
    problems = "\n".join(open_dataset("sarrarp50", tmp_path, strict=False).problems)
    assert "000000120.png: mask without an image" in problems
    assert "video_2: has no frames in rgb/; extract them from video_left.avi" in problems
    assert "video_3: has no folder 'segmentation'" in problems
    trees.write_rgb(tmp_path / "video_1/segmentation/000000000.png", trees.stripes(11))
    with pytest.raises(CodingError, match="value 10; expected 0 background, 1 tool-clasper"):
        open_dataset("sarrarp50", tmp_path, strict=False)[0]


@pytest.mark.parametrize("folder", ["masks", "labels"])
def test_folder_of_one_sequence(tmp_path: Path, folder: str) -> None:
    for frame in (2, 10):
        trees.write_rgb(tmp_path / f"images/frame{frame}.jpg", trees.picture(frame))
        trees.write_rgb(tmp_path / f"{folder}/frame{frame}.png", trees.stripes(2) * 255)
    dataset = open_dataset("folder", tmp_path, label_map=BINARY)
    assert dataset.sequences == (tmp_path.name,)
    assert [item.frame for item in dataset.items] == ["frame2", "frame10"]
    assert (dataset[0][1] == trees.stripes(2)).all()
    assert dataset.label_space.names == ("background", "instrument") and dataset.label_space.instrument_ids == (1,)


def test_folder_with_a_pair_per_sequence(tmp_path: Path) -> None:
    for sequence in ("scene_b", "scene_a"):
        trees.write_rgb(tmp_path / sequence / "images/0.png", trees.picture(0))
        trees.write_rgb(tmp_path / sequence / "masks/0.png", trees.stripes(2) * 255)
    (tmp_path / "notes").mkdir()
    dataset = open_dataset("folder", tmp_path, label_map=BINARY)
    assert dataset.sequences == ("scene_a", "scene_b")
    assert dataset.only(["scene_b"]).sequences == ("scene_b",)
    check_disjoint({"train": dataset.only(["scene_a"]), "val": dataset.only(["scene_b"])})
    with pytest.raises(DatasetError, match=r"no frames of scene_c under .*; sequences there: scene_a, scene_b"):
        dataset.only(["scene_c"])


def test_folder_sequences_from_names(tmp_path: Path) -> None:
    label_map = label_map_from_dict({"truth": {0: "background", 1: "tool"}, "sequence": r"(seq_\d+)_"})
    for stem in ("seq_10_frame1", "seq_9_frame3"):
        trees.write_rgb(tmp_path / f"images/{stem}.png", trees.picture(0))
        trees.write_rgb(tmp_path / f"masks/{stem}.png", trees.stripes(2))
    assert open_dataset("folder", tmp_path, label_map=label_map).sequences == ("seq_9", "seq_10")
    trees.write_rgb(tmp_path / "images/other.png", trees.picture(0))
    trees.write_rgb(tmp_path / "masks/other.png", trees.stripes(2))
    with pytest.raises(DatasetError, match=r"other\.png: name does not match sequence '\(seq_\\d\+\)_'"):
        open_dataset("folder", tmp_path, label_map=label_map)


def test_folder_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no folder 'images', and none of its folders has"):
        open_dataset("folder", tmp_path, label_map=BINARY)
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="expected one folder of masks, masks/ or labels/; there is none"):
        open_dataset("folder", tmp_path, label_map=BINARY)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DatasetError, match="no labelled frames of dataset 'folder'"):
        open_dataset("folder", tmp_path, label_map=BINARY)
    trees.write_rgb(tmp_path / "images/a.png", trees.picture(0))
    trees.write_rgb(tmp_path / "masks/a.png", trees.stripes(3))
    with pytest.raises(CodingError, match=r"a\.png \(label map binary\.yaml\): value 1; expected 0 background, 255"):
        open_dataset("folder", tmp_path, label_map=BINARY)[0]


def test_same_files_under_two_names_leak(tmp_path: Path) -> None:
    trees.write_rgb(tmp_path / "a/scene/images/0.png", trees.picture(0))
    trees.write_rgb(tmp_path / "a/scene/masks/0.png", trees.stripes(2) * 255)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    parts = {name: open_dataset("folder", tmp_path / name, label_map=BINARY) for name in ("a", "b")}
    with pytest.raises(DatasetError, match="a and b share sequence scene"):
        check_disjoint(parts)
    inner = open_dataset("folder", tmp_path / "b/scene", label_map=BINARY)
    with pytest.raises(DatasetError, match="a and c share 1 images"):
        check_disjoint({"a": parts["a"], "c": inner})


def test_natural_order(tmp_path: Path) -> None:
    for name in ("frame10", "frame2", "a", "10", "9"):
        (tmp_path / f"{name}.png").touch()
    assert list(images_in(tmp_path)) == ["9", "10", "a", "frame2", "frame10"]
