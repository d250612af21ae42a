"""A search that trains nothing: factors of weights that are there, answered by few frames looked at several times."""

from __future__ import annotations

import json
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
import torch
from clip_rl_perception.errors import ClipRlError
from clip_rl_training.loop.start_from import learned_weights
from clip_rl_training.searching.frame_sets import frame_set, load_frames
from clip_rl_training.searching.search_config import load_search_config
from tiny_searches import TRAIN, asked, run, write_preset

TUNED = {
    "steps": 0,
    "saturation": 1.0,
    "gains": {"laterals/0": 1.0},
}
SPACE = {
    "saturation": {"low": 0.5, "high": 2.0, "log": True},
    "gains.laterals/0": {"low": 0.5, "high": 2.0, "log": True},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.bars(tmp_path_factory.mktemp("data") / "bars", 2, 30, 50)


def test_trials_score_retuned_weights_and_keep_the_best(root: Path, tmp_path: Path) -> None:
    preset = write_preset(
        tmp_path, train={**TRAIN, **TUNED, "start_from": str(tmp_path / "start.safetensors")}, space=SPACE
    )
    out = tmp_path / "out"
    judge = ("--judge", f"'{root}' sequences=scene_b looks=2")
    words = ["--config", preset, "--dev", f"'{root}' sequences=scene_a looks=4", "--out", out, *judge]
    assert run(*words, "--trials", 2) == 0
    trials = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    assert [trial["problem"] for trial in trials] == ["", "", ""]
    best = max(trials[1:], key=lambda trial: trial["scores"][0])
    folder = out / "trials" / f"policy-{best['number']:03d}"
    kept = torch.load(folder / "state.pt", weights_only=True)
    weights = learned_weights(str(folder / "state.pt"))
    before = learned_weights(str(tmp_path / "start.safetensors"))
    name = "segmenter.decoder.laterals.0.1.weight"
    assert kept["step"] == 0
    assert torch.allclose(weights[name], before[name] * best["values"]["gains.laterals/0"], rtol=1e-3)
    other = "segmenter.decoder.laterals.1.1.weight"
    assert torch.equal(weights[other], before[other])
    report = (out / "report.md").read_text()
    assert "A trial changes the same weights by its values, without training" in report
    assert "bars: scene_a (2 frames, each looked at 4 times)" in report and "looks=4" in report
    # Judged with the weights that were kept, and with another seed, of which nothing depends: the same answer.
    judged = [json.loads(line) for line in (out / "judgement.jsonl").read_text().splitlines()]
    assert {trial["scores"][0] for trial in judged if trial["controller"] == "policy"} == {best["scores"][0]}


def test_the_shipped_space_is_of_the_shipped_network() -> None:
    config, space = load_search_config("search-gains")
    assert len(space) == 2 + len(config.train["gains"]) and config.again == 0
    changed = space.applied(np.clip(space.unchanged + 0.1, 0, 1))
    assert changed.retuned and changed.gains["laterals/0"] == pytest.approx(2**0.2, rel=1e-3)
    assert not space.applied(space.unchanged).retuned


def test_frames_looked_at_several_times(root: Path) -> None:
    once = load_frames(frame_set(f"'{root}' sequences=scene_a", "--dev"), (64, 96))
    thrice = load_frames(frame_set(f"'{root}' sequences=scene_a looks=3", "--dev"), (64, 96))
    count = len(once.images)
    assert len(thrice.images) == len(thrice.truth) == 3 * count
    assert (thrice.images[:count] == once.images).all()
    assert (thrice.images[count : 2 * count] == once.images[:, :, ::-1]).all()
    with pytest.raises(ClipRlError, match=r"looks=1 to 4"):
        frame_set(f"'{root}' sequences=scene_a looks=5", "--dev")


def test_another_number_of_looks_is_another_search(root: Path, tmp_path: Path) -> None:
    preset = write_preset(
        tmp_path, train={**TRAIN, **TUNED, "start_from": str(tmp_path / "start.safetensors")}, space=SPACE
    )
    assert run(*asked(preset, root, tmp_path / "out", "--trials", 1)) == 0
    with pytest.raises(ClipRlError, match="another development"):
        run(
            "--config", preset, "--dev", f"'{root}' sequences=scene_a looks=2", "--out", tmp_path / "out", "--trials", 1
        )
