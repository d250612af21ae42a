"""Weights that are written as they are, with the branch for close-ups of another checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bar_runs import Bars, config, trained
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.loop.trainer import Trainer
from random_checkpoint import save_random_checkpoint


def half(value: torch.Tensor) -> torch.Tensor:
    """As checkpoints hold it."""
    return value.half().float() if value.is_floating_point() else value


BRANCH = "model.close_up={widths: [16], strides: [2], own_layers: true, side: 64}"


def test_no_step_writes_the_weights_that_a_run_begins_with(tmp_path: Path) -> None:
    masks = trained(config(tmp_path / "masks"), stop_after=2)
    with_branch = save_random_checkpoint(tmp_path / "branch", close_up=True)
    start = (f"start_from={masks.state_path}", f"close_ups_of={with_branch}", "steps=0")
    run = trained(config(tmp_path / "run", BRANCH, *start))
    assert run.step == 0 and "close-ups of checkpoint" in run.started_from
    run.finish()
    written = load_checkpoint(tmp_path / "run/tiny/model")
    assert written.provenance["steps"] == 0
    now, branch = written.segmenter.state_dict(), load_checkpoint(with_branch).segmenter.state_dict()
    taken = [name for name in now if name.startswith("close_up.")]
    assert taken and [name for name in taken if not torch.equal(now[name], half(branch[name]))] == []
    for name, value in masks.average.values.items():
        assert torch.equal(now[name.removeprefix("segmenter.")], half(value)), name


def test_what_is_no_branch_of_its_own_is_refused(tmp_path: Path) -> None:
    masks = trained(config(tmp_path / "masks"), stop_after=1)
    start = f"start_from={masks.state_path}"
    for source, settings, said in (
        (save_random_checkpoint(tmp_path / "none"), (BRANCH,), "has no branch for close-ups with first layers"),
        (save_random_checkpoint(tmp_path / "other", close_up=True), (), "another than the configuration's"),
        (tmp_path / "nowhere", (BRANCH,), "close_ups_of: .*nowhere"),
    ):
        run = Trainer(config(tmp_path / "run", *settings, start, f"close_ups_of={source}"), Bars())
        with pytest.raises(TrainError, match=said):
            run.start(resume=False)
    with pytest.raises(ConfigError, match="close_ups_of goes with start_from"):
        config(tmp_path / "run", f"close_ups_of={tmp_path / 'other'}")
    with pytest.raises(ConfigError, match="steps is 0; it must be at least 1"):
        config(tmp_path / "run", "steps=0")
