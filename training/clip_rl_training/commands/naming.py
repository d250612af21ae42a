"""`clip-rl naming`: can the checkpoint name the instrument on a close-up, from the names' texts alone?

Close-ups are cut from synthetic scenes drawn for the purpose, with a seed that training does not use. Two readings, as
in CLIP's zero-shot classification (Radford et al. 2021, arXiv 2103.00020, section 3.1), none with a trained head:

    image    the close-up's embedding against the seven names' embeddings, the nearest wins
    pixels   every pixel's embedding against background and the seven names; the probabilities of all pixels are added

    clip-rl naming --checkpoint demo --crops 400 --json naming.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.cli_types import height_by_width
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import load_checkpoint

from clip_rl_training.naming.close_up_naming import NAMED_SPACE, NamingError, name_close_ups, naming_size
from clip_rl_training.synthetic.scene_config import SceneConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``clip-rl naming``."""
    parser.add_argument("--checkpoint", required=True, help="path, or the name of a shipped one, for example demo")
    parser.add_argument("--crops", type=int, default=400, metavar="N", help="close-ups (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=height_by_width,
        metavar="HxW",
        help="in which they are shown (default: as in the checkpoint's training)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report with every type; printed when not given")


def run(arguments: argparse.Namespace) -> int:
    """Run ``clip-rl naming``; 0 when it is measured."""
    if arguments.crops < 1 or arguments.seed < 0:
        raise NamingError(f"--crops {arguments.crops} --seed {arguments.seed}: expected at least 1 and at least 0")
    space = load_label_space(NAMED_SPACE)
    checkpoint = load_checkpoint(arguments.checkpoint)
    segmenter = checkpoint.segmenter.eval()
    size = arguments.size or naming_size(checkpoint.provenance.get("config"), segmenter.config.input_size)
    naming = name_close_ups(segmenter, space, SceneConfig(), crops=arguments.crops, seed=arguments.seed, size=size)
    report = {"size": list(size), **naming.report(tuple(space.names[1:]))}
    if arguments.json is None:
        print(json.dumps(report, indent=2))
    else:
        write_json(arguments.json, report)
        print(
            f"{report['crops']} close-ups: {100 * report['accuracy_image']:.1f} % named rightly by the image, "
            f"{100 * report['accuracy_pixels']:.1f} % by its pixels"
        )
    return 0
