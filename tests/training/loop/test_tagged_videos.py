"""The tags on a model card are those that `clip-rl eval --video` measures on the same videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bar_runs import config, trained
from clip_rl_perception import options
from clip_rl_perception.model.checkpoint import resolve_checkpoint
from clip_rl_training.commands import eval as command
from clip_rl_training.loop import finish
from clip_rl_training.loop.tagged_videos import SEED, score_tags
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.write_video import write_sequences


def test_numbers_are_those_of_eval(tmp_path: Path) -> None:
    tags = score_tags(resolve_checkpoint("demo"), 2, frames=3)
    scenes = SceneConfig(height=512, width=640)
    assert [done for done, _ in write_sequences(tmp_path / "v", scenes, seed=SEED, sequences=2, frames=3)][-1] == 6
    given = f"--dataset endovis2018-type --root {tmp_path / 'v'} --label-map endovis2018_type --checkpoint demo --video"
    assert command.run(options.parse(command, [*given.split(), "--json", str(tmp_path / "eval.json")])) == 0
    report = json.loads((tmp_path / "eval.json").read_text())["tags"]
    for name in ("frames", "boxes", "masks", "keypoints", "types"):
        assert tags[name] == report[name], name
    assert tags["boxes"]["instruments"] > 0 and tags["frames"] == 6


def test_a_card_tells_of_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(config(tmp_path, "validation.tag_videos=1"))
    monkeypatch.setattr(finish, "score_tags", lambda checkpoint, videos: score_tags(checkpoint, videos, frames=3))
    run.finish()
    card = (run.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Tags on 1 synthetic videos of 3 frames" in card and f"--frames 3 --seed {SEED}`" in card
    (row,) = [line for line in card.splitlines() if line.startswith("| boxes |")]
    assert row.count("|") == 10
    assert all("%" in line or line.startswith("| keypoint") for line in card.splitlines() if line.startswith("| tip |"))
