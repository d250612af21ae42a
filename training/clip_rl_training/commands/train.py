"""`clip-rl train`: train CLIP-RL from a configuration: contrastive, supervised and reinforcement learning together.

    clip-rl train --config demo
    clip-rl train --config demo --set steps=2000 --set data.stills=1000
    clip-rl train --config demo --resume
    torchrun --nproc-per-node 2 -m clip_rl_perception.cli train --config demo --set devices=2

Everything goes to OUT/NAME: state.pt (resumable), tensorboard/, validation.jpg, config.yaml, and at the end
model.safetensors, model.json and MODEL_CARD.md. A resumed run gives the same weights as one that was never interrupted.
"""

from __future__ import annotations

import argparse

from clip_rl_perception.typed_data import ConfigError

from clip_rl_training.loop.interrupts import interrupts_flagged
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.shipped_configs import shipped_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `clip-rl train`."""
    parser.add_argument("--config", required=True, help=f"preset ({', '.join(shipped_names())}) or YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, for example steps=500"
    )
    parser.add_argument("--root", metavar="DIR", help="folder that holds the dataset, short for --set data.root=DIR")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/NAME/state.pt")
    parser.add_argument("--stop-after", type=int, metavar="STEPS", help="pause after so many steps of this call")


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 when done or paused, 130 after Ctrl-C (the state is saved)."""
    root = [f"data.root={arguments.root}"] if arguments.root else []
    config = load_config(arguments.config, [*arguments.set, *root])
    if arguments.stop_after is not None and arguments.stop_after < 1:
        raise ConfigError(f"--stop-after {arguments.stop_after}: expected at least 1 step")
    trainer = Trainer(config)
    trainer.start(resume=arguments.resume)
    with interrupts_flagged(trainer):
        trainer.fit(stop_after=arguments.stop_after)
    if trainer.interrupted:
        trainer.say(f"interrupted after step {trainer.step}; state saved, go on with --resume")
        return 130
    if trainer.step >= config.steps:
        trainer.finish()
    return 0
