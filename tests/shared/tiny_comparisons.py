"""Comparisons of tiny networks on three scenes of bars, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from bar_runs import TINY_MODEL
from clip_rl_perception import options
from clip_rl_training.commands import compare as command

TINY: dict[str, Any] = {
    "name": "tiny",
    "title": "Bars",
    "folds": [{"name": "a", "test": ["scene_a"]}, {"name": "b", "test": ["scene_b"]}],
    "train": {
        "steps": 3,
        "batch": 2,
        "save_every": 1,
        "threads": 1,
        "accelerator": "cpu",
        "model": TINY_MODEL,
        "data": {
            "dataset": {"name": "folder", "label_map": "davinci_grayscale", "crop_content": False},
            "label_spaces": {"binary": 1.0},
            "workers": 0,
        },
    },
    "runs": [
        {"name": "clip-rl"},
        {"name": "shorter", "set": {"steps": 2}, "note": "two steps"},
    ],
    "evaluation": {"video": True, "block": 2},
    "tests": [["clip-rl", "shorter"]],
}


def written(path: Path, **changes: Any) -> Path:
    """`TINY` with other top-level keys, as a file."""
    path.write_text(yaml.safe_dump({**TINY, **changes}), encoding="utf-8")
    return path


def run(*arguments: Any) -> int:
    """``clip-rl compare`` with these words; its exit status."""
    return command.run(options.parse(command, [str(argument) for argument in arguments]))


def finish(root: Path, out: Path) -> None:
    """Run `TINY` on the scenes in `root` to its end: tiny.yaml, jobs/ and report/ in `out`."""
    config = written(out / "tiny.yaml")
    assert run("--config", config, "--root", root, "--out", out / "jobs", "--report", out / "report") == 0
