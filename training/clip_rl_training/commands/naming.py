"""`clip-rl naming`: can the checkpoint name the instrument on a close-up, from the names' texts alone?

Close-ups are cut from synthetic scenes drawn for the purpose, with a seed that training does not use. Two readings, as
in CLIP's zero-shot classification (Radford et al. 2021, arXiv 2103.00020, section 3.1), none with a trained head:

    image    the close-up's embedding against the seven names' embeddings, the nearest wins
    pixels   every pixel's embedding against background and the seven names; the probabilities of all pixels are added

    clip-rl naming --checkpoint demo --crops 400 --json naming.json
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.cli_types import CheckpointName, HeightByWidth
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import load_checkpoint, resolve_checkpoint
from clip_rl_perception.options import Option

from clip_rl_training.naming.close_up_naming import NAMED_SPACE, NamingError, name_close_ups, naming_size
from clip_rl_training.synthetic.scene_config import SceneConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is named."""

    checkpoint: CheckpointName
    """Shipped name, for example demo, path, or the folder of a training run."""
    crops: Annotated[int, Option(metavar="N")] = 400
    """Close-ups."""
    seed: int = 0
    """Of the scenes."""
    size: Annotated[HeightByWidth | None, Option(metavar="HxW")] = None
    """In which they are shown; None: as in the checkpoint's training."""
    json: Annotated[Path | None, Option(metavar="FILE")] = None
    """The report with every type; printed when not given."""


def run(options: Options) -> int:
    """Run ``clip-rl naming``; 0 when it is measured."""
    if options.crops < 1 or options.seed < 0:
        raise NamingError(f"--crops {options.crops} --seed {options.seed}: expected at least 1 and at least 0")
    space = load_label_space(NAMED_SPACE)
    checkpoint = load_checkpoint(resolve_checkpoint(options.checkpoint, lambda line: print(line, file=sys.stderr)))
    segmenter = checkpoint.segmenter.eval()
    size = options.size or naming_size(checkpoint.provenance.get("config"), segmenter.config.input_size)
    naming = name_close_ups(segmenter, space, SceneConfig(), crops=options.crops, seed=options.seed, size=size)
    report = {"size": list(size), **naming.report(tuple(space.names[1:]))}
    if options.json is None:
        print(json.dumps(report, indent=2))
    else:
        write_json(options.json, report)
        print(
            f"{report['crops']} close-ups: {100 * report['accuracy_image']:.1f} % named rightly by the image, "
            f"{100 * report['accuracy_pixels']:.1f} % by its pixels"
        )
        if report["accuracy_pixels"] < report["accuracy_image"] and segmenter.close_up is not None:
            print(
                "pixels know less: this network learned the types' names in its branch for close-ups, which the image "
                "reading uses; its pixels were trained to find instruments, and tell types only as far as masks did"
            )
    return 0
