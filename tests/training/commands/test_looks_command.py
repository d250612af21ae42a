"""`clip-rl looks` end to end: looks of a real (untrained) network at drawn videos, kept, resumed and compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.looks.evidence import EvidenceConfig
from clip_rl_perception.looks.look import MIRRORS
from clip_rl_perception.stream import load
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_training.commands import looks as command
from clip_rl_training.datasets import open_dataset
from clip_rl_training.looking.cached_looks import LOOKS, WHOLE, CachedLooksError, CachedVideo, look_at_video
from clip_rl_training.looking.video_looks import keep_looks
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.write_video import write_sequences
from random_checkpoint import save_random_checkpoint

FRAMES = 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_checkpoint(tmp_path_factory.mktemp("model") / "tiny", seed=5, space="binary")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "videos"
    config = SceneConfig(height=120, width=160)
    assert list(write_sequences(folder, config, seed=3, sequences=3, frames=FRAMES))
    return folder


def run(*arguments: Any) -> int:
    return command.run(options.parse(command, [str(argument) for argument in arguments]))


def take(checkpoint: Path, root: Path, out: Path, *more: Any) -> int:
    model = ("--checkpoint", checkpoint, "--engine", "torch", "--threads", 1)
    return run("take", *model, "--dataset", "endovis2018", "--root", root, "--out", out, *more)


def test_looks_are_kept_once_and_compared(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, synthetic, out = tmp_path / "real", tmp_path / "synthetic", tmp_path / "compared"
    assert take(checkpoint, root, real) == 0
    assert "3 videos" in capsys.readouterr().out
    paths = sorted(real.iterdir())
    assert [path.name for path in paths] == ["seq_101.npz", "seq_102.npz", "seq_103.npz"]
    video = CachedVideo.load(paths[0])
    assert video.log_odds.shape == (FRAMES, len(LOOKS), 24, 32) and video.truth.shape == (FRAMES, 24, 32)
    assert np.isfinite(video.log_odds[:, :WHOLE]).all() and np.isnan(video.log_odds[:, WHOLE:]).any(axis=(2, 3)).all()
    assert (video.fit[0] == 0).all() and (video.fit[1:] > 0).any()
    # 160x120 in 128x96 fills the picture; labels that are not known or not all of a node's are -1.
    assert video.truth.min() >= -1 and video.truth.max() <= 255
    assert (video.truth > 127).any() and ((video.truth >= 0) & (video.truth < 127)).any()
    assert not np.array_equal(video.log_odds[0, 0], video.log_odds[0, len(MIRRORS)]), "exposures differ"

    written = [path.stat().st_mtime_ns for path in paths]
    paths[1].unlink()
    assert take(checkpoint, root, real) == 0
    again = [path.stat().st_mtime_ns for path in paths]
    assert (again[0], again[2]) == (written[0], written[2]) and again[1] != written[1]

    with pytest.raises(CachedLooksError, match=r"was made otherwise .*undamaged.*; now .*damaged with seed 5"):
        take(checkpoint, root, real, "--damage", 5)
    assert take(checkpoint, root, synthetic, "--damage", 5, "--frames", 2) == 0
    damaged = CachedVideo.load(synthetic / "seq_101.npz")
    assert len(damaged.fit) == 2
    assert run("compare", "--real", real, "--synthetic", synthetic, "--out", out, "--seeds", 1, "--iterations", 1) == 0
    report = json.loads((out / "looks.json").read_text())
    assert {row["videos"] for row in report["rows"]} == {"real", "synthetic"}
    assert (out / "looks.md").read_text().startswith("| contender | looks |")
    assert "| policy by reinforcement |" in capsys.readouterr().out


def test_tissue_is_no_instrument_to_look_for(checkpoint: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text("truth: {0: background, 1: liver, 2: grasper}\n")
    trees.write_rgb(tmp_path / "set/images/0.png", trees.picture(0, (64, 96)))
    trees.write_rgb(tmp_path / "set/masks/0.png", np.repeat(np.arange(3, dtype=np.uint8), 32)[None].repeat(64, 0))
    model = ("--checkpoint", checkpoint, "--engine", "torch", "--threads", 1)
    assert run("take", *model, "--root", tmp_path / "set", "--label-map", labels, "--out", tmp_path / "out") == 0
    assert "folder with instrument [2]" in CachedVideo.load(tmp_path / "out/set.npz").made


def test_padding_and_unknown_truth_count_for_nothing(checkpoint: Path) -> None:
    with load(ModelOptions(model=str(checkpoint), engine="torch", threads=1)) as model:
        rgb, truth = np.full((120, 240, 3), 90, np.uint8), np.zeros((120, 240), np.uint8)
        truth[:, :60], truth[:, 180:] = 1, 255
        video = look_at_video(model.pipeline, "wide", [(rgb, truth)], EvidenceConfig())
    (grid,) = video.truth
    assert grid.shape == (24, 32)
    assert (grid[:4] == -1).all() and (grid[-4:] == -1).all(), "above and below lies padding"
    assert (grid[5:-5, :7] == 255).all() and (grid[5:-5, 9:23] == 0).all() and (grid[5:-5, 25:] == -1).all()


def test_what_cannot_be_used_is_named(tmp_path: Path, checkpoint: Path, root: Path) -> None:
    with pytest.raises(ClipRlError, match=r"holds no kept looks.*clip-rl looks take"):
        run("compare", "--real", tmp_path, "--synthetic", tmp_path, "--out", tmp_path / "out")
    (tmp_path / "seq_101.npz").write_bytes(b"nothing")
    with pytest.raises(CachedLooksError, match=r"seq_101\.npz is no file of looks.*delete it"):
        take(checkpoint, root, tmp_path)
    for damaged in (b"", b"PK\x03\x04 cut off"):
        (tmp_path / "seq_101.npz").write_bytes(damaged)
        with pytest.raises(CachedLooksError, match="is no file of looks"):
            CachedVideo.load(tmp_path / "seq_101.npz")
    with pytest.raises(ClipRlError, match="at least 1"):
        run("compare", "--real", tmp_path, "--synthetic", tmp_path, "--out", tmp_path / "out", "--seeds", 0)


def test_looks_at_other_frames_of_an_equal_name_are_refused(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert list(write_sequences(other, SceneConfig(height=120, width=160), seed=4, sequences=1, frames=1))
    datasets = [open_dataset("endovis2018", each).only(["seq_101"]) for each in (root, other)]
    table = np.zeros(256, np.uint8)
    with load(ModelOptions(model=str(checkpoint), engine="torch", threads=1)) as model:
        (path,) = keep_looks(datasets[0], table, model, tmp_path / "out", frames=1)
        with pytest.raises(CachedLooksError, match=r"seq_101\.npz was made otherwise .* files \w+; now .* files \w+"):
            keep_looks(datasets[1], table, model, tmp_path / "out", frames=1)
        # Those that were kept before that was noted are taken.
        video = CachedVideo.load(path)
        dataclasses.replace(video, made=video.made.rpartition(", files")[0]).save(path)
        assert keep_looks(datasets[1], table, model, tmp_path / "out", frames=1) == [path]


def test_videos_of_equal_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(CachedVideo, "load", lambda path: CachedVideo("seq_1", "", *[np.zeros(1)] * 7))
    monkeypatch.setattr(command, "compare_looking", lambda *sets: told.extend([v.name for v in s] for s in sets[:2]))
    monkeypatch.setattr(command, "as_data", lambda rows: [])
    monkeypatch.setattr(command, "as_table", lambda rows: "")
    for name in ("real/one/seq_1", "real/two/seq_1", "synthetic/seq_1"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / f"{name}.npz").touch()
    asked = ("compare", "--real", tmp_path / "real", "--out", tmp_path / "out")
    assert run(*asked, "--synthetic", tmp_path / "synthetic") == 0
    assert told == [["one/seq_1", "two/seq_1"], ["seq_1"]]
    with pytest.raises(ClipRlError, match=r"one/seq_1\.npz is in --real and in --synthetic"):
        run(*asked, "--synthetic", tmp_path / "real/one")


def test_a_file_to_write_to_is_named_before_anything_is_done(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ClipRlError, match=r"cannot write to .*file: it is a file; expected a folder"):
        take(tmp_path / "is not even loaded", root, tmp_path / "file")
    for name in ("real", "synthetic"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.npz").write_bytes(b"is not even looked at")
    with pytest.raises(ClipRlError, match=r"cannot write to .*file: it is a file; expected a folder"):
        run("compare", "--real", tmp_path / "real", "--synthetic", tmp_path / "synthetic", "--out", tmp_path / "file")
