"""`clip-rl eval` end to end: a real (untrained) network through the real pipeline over small trees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_training.commands import eval as command
from random_checkpoint import save_random_checkpoint

SCALARS = ("miou", "miou_no_background", "challenge_iou", "isi_iou", "mciou", "dice", "eps_miou", "ece")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with random weights at 96x128, classes of endovis2018-type."""
    return save_random_checkpoint(tmp_path_factory.mktemp("model") / "tiny", seed=5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder dataset of two sequences with two frames of 160x120 each."""
    folder = tmp_path_factory.mktemp("data")
    for sequence in ("a", "b"):
        for frame in range(2):
            rgb = cv2.resize(trees.picture(frame, (12, 16)), (160, 120), interpolation=cv2.INTER_CUBIC)
            truth = np.zeros((120, 160), np.uint8)
            truth[40:80, 30 + 10 * frame : 90] = 1
            truth[:5] = 255
            trees.write_rgb(folder / sequence / f"images/{frame}.png", rgb)
            trees.write_rgb(folder / sequence / f"masks/{frame}.png", truth)
    return folder


def run(*arguments: Any) -> int:
    return command.run(options.parse(command, [str(argument) for argument in arguments]))


def base(checkpoint: Path | str, root: Path) -> tuple[Any, ...]:
    return ("--checkpoint", checkpoint, "--dataset", "folder", "--root", root, "--label-map", "binary", "--threads", 1)


def test_report_and_pictures(checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_file, pictures = tmp_path / "deep/out.json", tmp_path / "worst"
    arguments = base(checkpoint, root)
    assert run(*arguments, "--json", report_file, "--worst", 2, "--out", pictures, "--name", "untrained") == 0
    report = json.loads(report_file.read_text())
    assert report["frames"] == 4 and set(SCALARS) <= set(report)
    assert set(report["classes"]) == {"background", "instrument"}
    assert set(report["classes"]["instrument"]) >= {"iou", "dice", "nsd", "hd95", "frames"}
    assert report["classes"]["instrument"]["frames"] == 4
    assert list(report["sequences"]) == ["a", "b"]
    assert 0 <= report["ece"] <= 1 and 0 <= report["miou"] <= 1
    assert len(report["model_id"]) == 12 and report["engine"].startswith("torch")
    assert [entry["picture"] for entry in report["worst"]] == sorted(path.name for path in pictures.iterdir())
    assert sum(report["run"]["validity"].values()) == 4
    assert capsys.readouterr().out.startswith("untrained on 4 frames of folder at full size, each alone: mIoU ")
    assert not list(tmp_path.rglob("*.part"))


def test_frames_are_told_from_pictures_of_anything_else(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = tmp_path / "rooms"
    for index in range(3):
        bars = np.zeros((120, 160, 3), np.uint8)
        bars[:, 20 * index :: 8] = (0, 255, 0)
        trees.write_rgb(others / f"{index}.png", bars)
    arguments = (*base("demo", root), "--others", others, "--refine-steps", 0)
    assert run(*arguments, "--json", tmp_path / "out.json") == 0
    validity = json.loads((tmp_path / "out.json").read_text())["validity"]
    assert 0 <= validity["roc_area"] <= 1
    assert set(validity["rows"]) == {"real", "real: a", "real: b", "others", "others: rooms"}
    assert validity["rows"]["real"]["pictures"] == 4 and validity["rows"]["others"]["refused"] == 1
    assert validity["rows"]["others"]["kind_right"] is None
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("validity: ") and "0.0% of 3 other pictures; ROC area " in line
    arguments = (*base(checkpoint, root), "--others", others)
    assert run(*arguments, "--json", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text())["validity"]["roc_area"] is None
    with pytest.raises(ClipRlError, match="no such file or folder"):
        run(*base(checkpoint, root), "--others", tmp_path / "none")


def test_other_names_are_measured_beside_the_classes_own(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    report_file = tmp_path / "out.json"
    assert run(*base(checkpoint, root), "--json", report_file, "--synonyms", "held_out") == 0
    report = json.loads(report_file.read_text())
    other = report["synonyms"]
    assert other["texts"]["clip-applier"] == [
        "a photo of a hem-o-lok clip applicator in endoscopic surgery",
        "a hem-o-lok clip applicator",
    ]
    assert other["kept"] == pytest.approx(other["miou"] / report["miou"])
    # Other texts, other embeddings, another prediction by an untrained network.
    assert other["miou"] != report["miou"]


def test_without_json_the_report_is_printed(checkpoint: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*base(checkpoint, root), "--sequences", "b", "--video", "--rate", 10) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["sequences"]) == ["b"] and report["temporal_pairs"] == 1
    assert report["temporal_consistency"] is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sequences", "b,c,d"), "--sequences: c, d is none of the sequences there: a, b"),
        (("--json", "."), "--json . is a folder; name another one"),
        (("--out", "report.json"), "--out report.json is a file; name another one"),
    ],
)
def test_what_would_be_lost_at_the_end_is_told_before(
    checkpoint: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "report.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClipRlError) as caught:
        run(*base(checkpoint, root), *words)
    assert str(caught.value) == said


def test_ghosts_are_told_by_speed_and_after_cuts(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert run(*base(checkpoint, root), "--video", "--ghosts", "--json", out) == 0
    found = json.loads(out.read_text())["ghosts"]
    # Two videos of two frames: the second of each has a speed, and the first of the second one comes after a cut.
    assert sum(entry["frames"] for entry in found.values()) == 3 and found["after a cut"]["frames"] == 1
    cut = found["after a cut"]
    assert cut["stream"] == cut["plain"] and cut["plain"]["iou"] is not None, "after a cut nothing is remembered"
    told = [entry for entry in found.values() if entry["frames"]]
    assert all(0 <= entry[model]["nsd"] <= 1 for entry in told for model in ("stream", "plain"))
    printed = capsys.readouterr().out
    assert "stream / one plain look" in printed and "after a cut" in printed


def test_same_run_gives_the_same_numbers(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    reports = []
    for name in ("one", "two"):
        run(*base(checkpoint, root), "--json", tmp_path / name)
        reports.append(json.loads((tmp_path / name).read_text()))
    assert [reports[0][name] for name in (*SCALARS, "classes")] == [reports[1][name] for name in (*SCALARS, "classes")]


def test_other_classes_and_plain_looks_alone(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    run(*base(checkpoint, root), "--classes", "endovis2018", "--refine-steps", 0, "--json", out)
    report = json.loads(out.read_text())
    assert report["classes_predicted"] == list(load_label_space("endovis2018").names)
    assert "refine_steps_limit" not in report
    assert report["run"]["looks"]["a_frame"] == 1.0


def test_the_mean_of_mirror_images(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    reports = []
    for views in (1, 4):
        run(*base(checkpoint, root), "--views", views, "--json", tmp_path / str(views))
        reports.append(json.loads((tmp_path / str(views)).read_text()))
    assert [report["views"] for report in reports] == [1, 4]
    assert [report["run"]["looks"]["a_frame"] for report in reports] == [1, 4]
    assert reports[0]["run"]["looks"]["disagreement"] is None and reports[1]["run"]["looks"]["disagreement"] > 0
    assert set(reports[1]["run"]["looks"]["kinds"].values()) == {4}, "each kind once at each of four frames"
    assert reports[0]["ece"] != reports[1]["ece"], "the masks are of other probabilities"


def test_corruptions_against_a_baseline(
    checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two of the eighteen corruptions are enough to see the command's part in it.
    fewer = {name: command.CORRUPTIONS[name] for name in ("darkness", "cloth")}
    monkeypatch.setattr(command, "CORRUPTIONS", fewer)
    peer, own = tmp_path / "peer.json", tmp_path / "own.json"
    arguments = (*base(checkpoint, root), "--corruptions", "--corruption-frames", 1)
    run(*arguments, "--json", peer, "--name", "peer")
    run(*arguments, "--json", own, "--baseline", peer)
    corruptions = json.loads(own.read_text())["corruptions"]
    assert set(corruptions["results"]) == set(fewer) and corruptions["frames"] == 1
    assert corruptions["baseline"] == "peer" and corruptions["mce"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--baseline", "x.json"), "--baseline needs --corruptions"),
        (("--corruptions", "--baseline", "/nowhere/x.json"), "baseline /nowhere/x.json cannot be read"),
        (("--worst", -1), "--worst is -1; expected 0 or more"),
        (("--ghosts",), "--ghosts needs --video"),
        (("--rate", 0), "--rate is 0.0; expected more than 0"),
        (("--split", "val"), "has no split 'val'; it has: all"),
        (("--sequences", "c"), "--sequences: c is none of the sequences there: a, b"),
        (("--classes", "nope"), "no label space 'nope'"),
        (("--engine", "nope"), "no engine 'nope'"),
        (("--label-map", "nope"), "no label map 'nope'"),
    ],
)
def test_mistakes_are_one_line(checkpoint: Path, root: Path, extra: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ClipRlError) as caught:
        run(*base(checkpoint, root), *extra)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_checkpoint_and_unwritable_report(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipRlError, match="no checkpoint"):
        run(*base(tmp_path / "none", root))
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipRlError, match="cannot write"):
        run(*base(checkpoint, root), "--json", tmp_path / "file/out.json")


def test_a_frame_with_wrong_values_ends_the_run_and_is_named(checkpoint: Path, tmp_path: Path) -> None:
    trees.write_rgb(tmp_path / "images/0.png", trees.picture(0, (120, 160)))
    trees.write_rgb(tmp_path / "masks/0.png", trees.stripes(3, (120, 160)))
    with pytest.raises(ClipRlError, match=r"masks/0\.png .*: value 2; expected 0 background, 1 instrument"):
        run(*base(checkpoint, tmp_path))


def test_looks_in_another_turn(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "turn.json"
    arguments = (*base(checkpoint, root), "--json", file, "--views", 2)
    assert run(*arguments, "--turn", "plain", "--turn", "coarser") == 0
    report = json.loads(file.read_text())
    assert report["run"]["looks"]["kinds"] == {"plain": 4, "coarser": 4}
    assert run(*arguments, "--turn", "gray world", "--turn", "up-down, darker") == 0
    assert json.loads(file.read_text())["run"]["looks"]["kinds"] == {"gray world": 4, "up-down, darker": 4}
    with pytest.raises(ClipRlError, match="--turn: looks zoom: expected some of plain; up-down"):
        run(*arguments, "--turn", "zoom", "--turn", "plain")
    with pytest.raises(ClipRlError, match="--turn has 1 looks; expected at least 2, as --views asks for"):
        run(*arguments, "--turn", "plain")
