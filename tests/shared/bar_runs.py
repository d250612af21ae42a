"""A tiny network and scenes of one bright bar each, for tests that train it for a few steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import TrainConfig, config_from_data
from clip_rl_training.synthetic.drawing.rendered_frame import TYPE_NAMES, SyntheticFrame
from clip_rl_training.typed_config import apply_overrides

TINY_MODEL: dict[str, Any] = {"input_size": [64, 96], "decoder": {"channels": 16}}
TINY: dict[str, Any] = {
    "name": "tiny",
    "steps": 4,
    "batch": 2,
    "save_every": 100,
    "log_every": 2,
    "threads": 1,
    "accelerator": "cpu",
    "model": TINY_MODEL,
    "data": {"workers": 0, "label_spaces": {"endovis2018-type": 1.0, "binary": 1.0}},
    "losses": {"lovasz": 0.2, "class_power": 0.5},
    "curriculum": {"contrastive_weight": 0.1},
    "validation": {"every": 3, "frames": 4, "pictures": 1, "close_ups": 0},
}


class Bars:
    """Scenes of one bright bar from the left border on a dark ground; the bar's colour tells its class."""

    def available(self, split: int) -> int | None:
        return None

    def frame(self, split: int, index: int) -> SyntheticFrame:
        rng = np.random.default_rng([split, index])
        rgb = rng.integers(20, 60, (80, 120, 3), dtype=np.uint8)
        types = np.zeros((80, 120), np.uint8)
        kind, top = int(rng.integers(1, 3)), int(rng.integers(10, 50))
        types[top : top + 20, : int(rng.integers(40, 110))] = kind
        rgb[types > 0] = (220, 210, 90) if kind == 1 else (90, 120, 230)
        empty = np.zeros_like(types)
        return SyntheticFrame(
            rgb,
            types,
            empty,
            empty,
            (types > 0).astype(np.uint8),
            np.ones((80, 120), bool),
            f"a bar of kind {kind}",
            0.0,
        )

    def close_up(self, index: int) -> SyntheticFrame:
        frame = self.frame(3, index)
        kind = TYPE_NAMES[int(frame.type_map.max()) - 1]
        return dataclasses.replace(frame, caption=f"a photo of a {kind} in endoscopic surgery")


def config(tmp_path: Path, *overrides: str) -> TrainConfig:
    return config_from_data(apply_overrides(TINY, [f"out={tmp_path}", *overrides]), "tiny.yaml")


def trained(configuration: TrainConfig, *, resume: bool = False, stop_after: int | None = None) -> Trainer:
    trainer = Trainer(configuration, Bars())
    trainer.start(resume=resume)
    trainer.fit(stop_after=stop_after)
    return trainer


def assert_same_weights(one: Trainer, other: Trainer) -> None:
    assert one.step == other.step
    for name, value in one.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[name]), name
    for name, value in one.average.values.items():
        assert torch.equal(value, other.average.values[name]), name
