r"""`clip-rl adapt`: adapt a checkpoint to your camera from video without labels.

    clip-rl adapt operation.mp4 --out out/adapted            # Ctrl-C, same command: goes on
    clip-rl adapt videos/ bag/ --checkpoint out/train/mine --out out/adapted
    clip-rl eval --checkpoint out/adapted ...

The checkpoint teaches itself: what it is sure of at four mirror images and over time is learned at one look, beside
synthetic scenes. The new checkpoint is written only where what can be measured without labels says that it is better
(docs/adapting.md).

Exit status: 0; 1 when no gain can be trusted, then no checkpoint is written; 2 when the input cannot be used; 130 after
Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from clip_rl_perception.cli_types import CheckpointName
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.options import Option
from clip_rl_perception.sources.input_paths import check_paths
from clip_rl_perception.sources.streams import SourceOptions
from clip_rl_perception.typed_data import to_data

from clip_rl_training.adapting.adapt_config import FOLDER, load_adapt_config
from clip_rl_training.shipped_configs import shipped_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is adapted, to what."""

    what: SourceOptions
    checkpoint: CheckpointName = "demo"
    """Shipped name, for example demo, path, or the folder of a training run."""
    out: Annotated[Path, Option("--out", "-o", metavar="DIR")]
    """Folder of the adaptation: frames, training, report and the new checkpoint."""
    config: Annotated[str, Option(help=f"preset ({', '.join(shipped_names(FOLDER))}) or YAML file")] = "adapt"
    """Preset or YAML file."""
    set: Annotated[tuple[str, ...], Option(metavar="KEY=VALUE")] = ()
    """Change one value, for example share=0.4 or train.steps=300."""


def run(options: Options) -> int:
    """Adapt; returns the exit status."""
    check_paths(options.what.paths)
    config = load_adapt_config(options.config, options.set)
    checkpoint = load_checkpoint(options.checkpoint)
    # Not before configuration and data stand: torch takes seconds to load.
    from clip_rl_training.adapting.adaptation import Task, adapt

    said = {
        "inputs": [str(path.absolute()) for path in options.what.paths],
        "reading": {"topics": list(options.what.topics), "rate": options.what.rate_hz},
        "checkpoint": checkpoint.weights_sha256,
        "configuration": to_data(config),
    }
    task = Task(options.what, checkpoint, config, options.out, json.loads(json.dumps(said)))
    return adapt(task, lambda line: print(line, flush=True))
