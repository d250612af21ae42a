"""`clip-rl train`: train CLIP-RL from a configuration: contrastive and supervised learning together.

    clip-rl train --config demo
    clip-rl train --config demo --set steps=2000 --set data.stills=1000
    clip-rl train --config demo --resume
    clip-rl train --config finetune --root DIR        own frames, DIR/images and DIR/masks: docs/finetuning.md
    torchrun --nproc-per-node 2 -m clip_rl_perception.cli train --config demo --set devices=2

Everything goes to OUT/NAME: state.pt (resumable), tensorboard/, validation.jpg, config.yaml, and at the end
model.safetensors, model.json and MODEL_CARD.md. A resumed run gives the same weights as one that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from clip_rl_perception.options import Option
from clip_rl_perception.typed_data import ConfigError

from clip_rl_training.data.dataset_parts import label_spaces, open_parts
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.shipped_configs import shipped_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is trained, and how far."""

    config: Annotated[str, Option(help=f"preset ({', '.join(shipped_names())}) or YAML file")]
    """Preset or YAML file."""
    set: Annotated[tuple[str, ...], Option(metavar="KEY=VALUE")] = ()
    """Change one value, for example steps=500."""
    root: Annotated[str | None, Option(metavar="DIR")] = None
    """Folder that holds the dataset, short for --set data.root=DIR."""
    label_map: Annotated[str | None, Option(metavar="NAME_OR_FILE")] = None
    """What its masks hold, short for --set data.dataset.label_map=FILE."""
    resume: bool = False
    """Go on from OUT/NAME/state.pt."""
    stop_after: Annotated[int | None, Option(metavar="STEPS")] = None
    """Pause after so many steps of this call."""


def run(options: Options) -> int:
    """Train; 0 when done or paused, 130 after Ctrl-C (the state is saved)."""
    short = {"data.root": options.root, "data.dataset.label_map": options.label_map}
    said = [f"{key}={json.dumps(value)}" for key, value in short.items() if value is not None]
    config = load_config(options.config, [*options.set, *said])
    if options.stop_after is not None and options.stop_after < 1:
        raise ConfigError(f"--stop-after {options.stop_after}: expected at least 1 step")
    if config.data.source == "dataset":
        open_parts(config.data.dataset, config.data.root)
    label_spaces(config.data)
    # Not before configuration and data stand: torch takes seconds to load.
    from clip_rl_training.loop.interrupts import interrupts_flagged
    from clip_rl_training.loop.trainer import Trainer

    trainer = Trainer(config)
    trainer.start(resume=options.resume)
    with interrupts_flagged(trainer):
        trainer.fit(stop_after=options.stop_after)
    if trainer.interrupted:
        trainer.say(f"interrupted after step {trainer.step}; state saved, go on with --resume")
        return 130
    if trainer.step >= config.steps:
        trainer.finish()
    return 0
