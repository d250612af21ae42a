"""A tiny network that knows bright bars, and videos of such bars under another light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration
from clip_rl_perception.model.checkpoint_network import round_to_half_, save_checkpoint
from clip_rl_training.loop.training_module import TrainingModule

from tests.shared.bar_runs import config, trained

SETTINGS: dict[str, Any] = {
    "frames": {"most": 60, "fewest": 6, "hold_out": 0.25},
    "sure": {"instrument": 0.6, "background": 0.6},
    "share": 1.0,
    "patience": 0,
    "tag_videos": 0,
    "train": {
        "steps": 8,
        "batch": 4,
        "threads": 1,
        "accelerator": "cpu",
        "save_every": 2,
        "log_every": 2,
        "loggers": [],
        "data": {"source": "synthetic", "workers": 0, "scene": {"height": 64, "width": 96}},
        "losses": {"class_power": 0.3},
        "optimizer": {"learning_rate": 0.001, "text_factor": 0.0, "average": 0.5},
        "curriculum": {"augmentation": 0.1},
        "validation": {"every": 2, "frames": 4, "pictures": 1, "close_ups": 0},
    },
}


TRUSTING = {"mirrors": 0.0, "teacher": 1.0, "consistency": 1.0, "synthetic": 1.0, "area": 100.0}
"""For a network that knows nothing of synthetic scenes."""


def bar_frame(index: int, *, bar: tuple[int, int, int] = (175, 140, 120), width: int = 120) -> np.ndarray:
    """Frame `index` of a video: a bright bar that moves downwards over reddish ground, uint8 RGB (80, 120, 3)."""
    rng = np.random.default_rng([5, index])
    rgb = np.full((80, width, 3), (90, 40, 35), np.int16) + rng.integers(-12, 12, (80, width, 3))
    if bar != (0, 0, 0):
        rgb[15 + index % 30 : 33 + index % 30, :70] = bar
    return np.clip(rgb, 0, 255).astype(np.uint8)


def write_frames(folder: Path, count: int, **look: Any) -> Path:
    """A folder of images, one video."""
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"frame{index:03d}.png"), bar_frame(index, **look)[..., ::-1])
    return folder


def bar_checkpoint(stem: Path, *, steps: int) -> Path:
    """A checkpoint of the tiny network after some steps on bars; path of its safetensors file."""
    configuration = config(
        stem.parent / "run", f"steps={steps}", "batch=4", "data.label_spaces={binary: 1.0}", "loggers=[]",
        "validation.every=0", "optimizer.learning_rate=0.003", "optimizer.average=0.0", "losses.lovasz=0.0",
        "curriculum.contrastive_weight=0.0", "save_every=1000",
    )  # fmt: skip
    trainer = trained(configuration)
    assert isinstance(trainer.module, TrainingModule)
    segmenter = trainer.module.segmenter.eval()
    round_to_half_(segmenter)
    space = load_label_space("binary")
    with torch.no_grad():
        text = segmenter.encode_text(space)
    save_checkpoint(
        stem, segmenter, space, text, Calibration.uncalibrated(segmenter.embedding_dim), {"made by": "a test"}
    )
    return stem.with_name(stem.name + ".safetensors")
