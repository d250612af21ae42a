"""`clip-rl data check` on whole and on damaged trees, and on the real frames where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.truth_label_map import LabelMapError, label_map_names, load_label_map
from clip_rl_training.commands import data
from clip_rl_training.datasets import DatasetError


def run(*arguments: str) -> int:
    return data.run(options.parse(data, ["check", *arguments]))


def test_good_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0, 1], "seq_2": [0]})
    report = tmp_path / "out/report.json"
    assert run("--dataset", "endovis2018", "--root", str(tmp_path), "--json", str(report)) == 0
    text = capsys.readouterr().out
    assert "frames: 3 readable in 2 sequences; sizes: 3 of 32x24" in text and text.endswith("no problems\n")
    data = json.loads(report.read_text())
    assert data["sequences"] == {"seq_1": 2, "seq_2": 1} and data["problems"] == []
    assert data["splits"]["isinet-val"] == ["seq_2"]
    shares = [entry["pixels"] for entry in data["classes"].values()]
    assert len(shares) == 12 and sum(shares) == pytest.approx(1)
    assert all(entry["frames"] == 3 for entry in data["classes"].values())


def test_damaged_tree_lists_everything_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0, 1, 2, 3, 4]})
    (tmp_path / "seq_1/labels/frame001.png").unlink()
    trees.write_rgb(tmp_path / "seq_1/labels/frame002.png", np.full((24, 32, 3), 7, np.uint8))
    trees.write_rgb(tmp_path / "seq_1/left_frames/frame003.png", trees.picture(0, (8, 8)))
    report = tmp_path / "report.json"
    assert run("--dataset", "endovis2018", "--root", str(tmp_path), "--json", str(report)) == 1
    text = capsys.readouterr().out
    for part in ("frame001.png: has no mask", "frame002.png: colour (7,7,7)", "mask is 32x24 but image", "3 problems"):
        assert part in text
    assert json.loads(report.read_text())["frames"] == 2


def test_same_picture_in_two_sequences_is_a_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0], "seq_2": [0]})
    trees.write_rgb(tmp_path / "seq_2/left_frames/frame000.png", trees.picture(0))
    assert run("--dataset", "endovis2018", "--root", str(tmp_path)) == 1
    assert "the same picture as" in capsys.readouterr().out


def test_empty_tree_and_many_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dataset", "endovis2018", "--root", str(tmp_path)) == 1
    assert "no folder seq_N below it" in capsys.readouterr().out
    trees.endovis2018(tmp_path, {"seq_1": list(range(30))})
    for frame in range(30):
        (tmp_path / f"seq_1/labels/frame{frame:03d}.png").unlink()
    assert run("--dataset", "endovis2018", "--root", str(tmp_path)) == 1
    assert "... and 11 more problems (--json has all)" in capsys.readouterr().out


def test_folder_split_and_ignored_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = trees.stripes(2)
    mask[:12] = 255
    trees.write_rgb(tmp_path / "images/0.png", trees.picture(0))
    trees.write_rgb(tmp_path / "masks/0.png", mask)
    assert run("--dataset", "folder", "--root", str(tmp_path), "--label-map", "binary") == 0
    assert "ignored: 50.000% of all pixels" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="has no split 'val'"):
        run("--dataset", "folder", "--root", str(tmp_path), "--label-map", "binary", "--split", "val")


def test_truth_of_tags_is_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for frame in range(3):
        trees.write_rgb(tmp_path / f"images/{frame}.png", trees.picture(frame))
        for kind in ("masks", "instances"):
            trees.write_rgb(tmp_path / f"{kind}/{frame}.png", trees.stripes(2))
    given = ("--dataset", "folder", "--root", str(tmp_path), "--label-map", "binary")
    assert run(*given) == 0
    assert "truth of tags: 3 frames" in capsys.readouterr().out
    trees.write_rgb(tmp_path / "instances/1.png", trees.stripes(2, (8, 8)))
    (tmp_path / "instances/2.png").unlink()
    assert run(*given) == 1
    text = capsys.readouterr().out
    for part in ("truth of tags: 1 frames", "1.png are 8x8 but the image is 32x24", "2.png: no picture of instances"):
        assert part in text
    (tmp_path / "instruments.jsonl").write_text('{"frame": 0, "instruments": [{"instance": 0}]}\n')
    assert run(*given) == 1
    assert "instruments.jsonl, line 1: instrument {'instance': 0}; expected an object" in capsys.readouterr().out


def test_shipped_label_maps_are_usable_with_every_instrument_label_space() -> None:
    assert {"binary", "davinci_grayscale", "endovis2018_type", "endovis2018_type_classes"} <= set(label_map_names())
    types = load_label_space("endovis2018-type")
    for name in label_map_names():
        assert load_label_map(name).prediction_table(types)[1:8].all()
    assert load_label_map("endovis2018_type_classes").names == types.names
    with pytest.raises(LabelMapError, match="no label map 'nope': neither a file nor one of binary"):
        load_label_map("nope")


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLIP_RL_DATA"), reason="real frames are not at hand: set CLIP_RL_DATA")
@pytest.mark.parametrize(
    ("folder", "label_map", "frames"),
    [("endovis2018_type", "endovis2018_type_classes", 24), ("davinci_grayscale", "davinci_grayscale", 899)],
)
def test_real_frames(folder: str, label_map: str, frames: int, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    root = Path(os.environ["CLIP_RL_DATA"]) / folder
    assert run("--dataset", "folder", "--root", str(root), "--label-map", label_map, "--json", str(report)) == 0
    assert json.loads(report.read_text())["frames"] == frames
