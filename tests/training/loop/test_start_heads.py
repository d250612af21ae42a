"""Runs that begin with weights which have an instance head, or have none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import InstanceHeadConfig, SegmenterConfig
from clip_rl_training.loop.start_from import load_start
from torch import nn

HEAD = InstanceHeadConfig(8, (1, 1))


class Run(nn.Module):
    """As a training module: the network and nothing else."""

    def __init__(self, head: InstanceHeadConfig) -> None:
        super().__init__()
        self.segmenter = network(head, seed=9)


def network(head: InstanceHeadConfig, *, seed: int) -> ClipRlSegmenter:
    torch.manual_seed(seed)
    return ClipRlSegmenter(dataclasses.replace(SegmenterConfig.tiny(), instance_head=head)).eval()


def checkpoint(stem: Path, head: InstanceHeadConfig) -> str:
    segmenter, space = network(head, seed=1), load_label_space("binary")
    calibration = Calibration.uncalibrated(segmenter.embedding_dim)
    save_checkpoint(stem, segmenter, space, segmenter.encode_text(space), calibration, {})
    return str(stem)


def test_a_head_is_left_behind_where_the_run_has_none_and_that_is_told(tmp_path: Path) -> None:
    run, told = Run(InstanceHeadConfig()), list[str]()
    load_start(run, checkpoint(tmp_path / "start", HEAD), told.append)
    assert len(told) == 1 and "instance head" in told[0] and "teach-instances" in told[0]
    begun = network(HEAD, seed=1).state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in run.segmenter.state_dict().items())


def test_a_head_comes_along_where_the_run_has_one(tmp_path: Path) -> None:
    run, told = Run(HEAD), list[str]()
    load_start(run, checkpoint(tmp_path / "start", HEAD), told.append)
    begun = network(HEAD, seed=1).state_dict()
    assert told == [] and all(torch.equal(v, begun[name]) for name, v in run.segmenter.state_dict().items())


def test_a_head_begins_anew_where_the_weights_have_none(tmp_path: Path) -> None:
    run, told = Run(HEAD), list[str]()
    before = {name: value.clone() for name, value in run.segmenter.state_dict().items()}
    load_start(run, checkpoint(tmp_path / "start", InstanceHeadConfig()), told.append)
    after = run.segmenter.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert told == [] and moved and not any(name.startswith("instance_head.") for name in moved)


def test_of_an_average_a_head_that_one_part_lacks_is_left_out(tmp_path: Path) -> None:
    run = Run(HEAD)
    with_head, without = (
        checkpoint(tmp_path / name, head) for name, head in (("a", HEAD), ("b", InstanceHeadConfig()))
    )
    before = {name: value.clone() for name, value in run.segmenter.state_dict().items()}
    load_start(run, f"0.5*{with_head} + 0.5*{without}")
    after = run.segmenter.state_dict()
    kept = [name for name in after if name.startswith("instance_head.")]
    assert kept and all(torch.equal(after[name], before[name]) for name in kept)
