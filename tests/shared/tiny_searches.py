"""Searches of a tiny network on three scenes of bars, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from clip_rl_perception import options
from clip_rl_training.commands import search as command
from random_checkpoint import save_random_checkpoint

TRAIN: dict[str, Any] = {
    "steps": 2,
    "batch": 2,
    "save_every": 1,
    "threads": 1,
    "accelerator": "cpu",
    "model": {"input_size": [96, 128]},
    "data": {
        "scene": {"height": 96, "width": 128},
        "label_spaces": {"binary": 1.0},
        "workers": 0,
    },
}
SPACE: dict[str, Any] = {
    "data.scene.smoke": {"low": 0.0, "high": 1.0},
    "optimizer.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "data.scene.instrument_counts": {"choices": [[0.07, 0.25, 0.4, 0.22, 0.06], [0.0, 1.0]]},
}


def write_preset(folder: Path, **changes: Any) -> Path:
    """A preset that begins with random weights, which lie beside it."""
    start = save_random_checkpoint(folder / "start")
    path = folder / "bars.yaml"
    data = {"name": "bars", "train": {**TRAIN, "start_from": str(start)}, "space": SPACE, "generation": 2, "again": 1}
    path.write_text(yaml.safe_dump(data | changes), encoding="utf-8")
    return path


def run(*arguments: Any) -> int:
    """``clip-rl search`` with these words; its exit status."""
    return command.run(options.parse(command, [str(argument) for argument in arguments]))


def asked(preset: Path, root: Path, out: Path, *more: Any) -> list[Any]:
    """Words of a search on the first scene."""
    return ["--config", preset, "--dev", f"'{root}' sequences=scene_a", "--out", out, *more]
