"""`clip-rl naming`: can the checkpoint name the instrument on a close-up, from the names' texts alone?

Close-ups are cut from synthetic scenes drawn for the purpose, with a seed that training does not use. Two readings, as
in CLIP's zero-shot classification (Radford et al. 2021, arXiv 2103.00020, section 3.1), none with a trained head:

    image    the close-up's embedding against the seven names' embeddings, the nearest wins
    pixels   every pixel's embedding against background and the seven names; the probabilities of all pixels are added

    clip-rl naming --checkpoint demo --crops 400 --json naming.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.cli_types import height_by_width
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter

from clip_rl_training.data.augment import plain_view
from clip_rl_training.synthetic.crops import draw_close_up
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import random_still

NAMED_SPACE = "endovis2018-type"
"""The label space of the seven types."""

_SEED = 0x4A3E
"""Apart from every seed of training."""

_MOST_TRIES = 400
"""Scenes in a row that show no instrument which could be named, after which none is expected any more."""

Confusion = npt.NDArray[np.int64]


class NamingError(ClipRlError, ValueError):
    """Naming cannot be measured as asked."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """Counts by true type (rows) and named type (columns), both (7, 7)."""

    image: Confusion
    """By the global embedding."""
    pixels: Confusion
    """By the pixels."""

    def report(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Accuracy over all close-ups and per type, for JSON."""
        per_type = {
            name: {
                "crops": int(self.image[i].sum()),
                "image": _share(self.image[i, i], self.image[i].sum()),
                "pixels": _share(self.pixels[i, i], self.pixels[i].sum()),
            }
            for i, name in enumerate(names)
        }
        return {
            "crops": int(self.image.sum()),
            "accuracy_image": _share(np.trace(self.image), self.image.sum()),
            "accuracy_pixels": _share(np.trace(self.pixels), self.pixels.sum()),
            "types": per_type,
        }


def _share(part: Any, whole: Any) -> float | None:
    return round(float(part) / float(whole), 4) if whole else None


def close_ups(config: SceneConfig, seed: int) -> Iterator[tuple[SyntheticFrame, int]]:
    """Close-ups and their type ids, one after the other without end; at most one from a scene.

    Raises:
        NamingError: scenes that never show an instrument which could be named.
    """
    index = found = 0
    while index - found < _MOST_TRIES:
        rng = np.random.default_rng([_SEED, seed, index])
        frame = random_still(rng, config)
        index += 1
        close_up = draw_close_up(frame, rng)
        if close_up is not None:
            found = index
            yield close_up
    raise NamingError(
        f"{_MOST_TRIES} scenes in a row gave no close-up: no tip of a known type is in sight; raise radius, or give "
        "cut-outs their parts"
    )


@torch.no_grad()
def name_close_ups(
    segmenter: ClipRlSegmenter,
    label_space: LabelSpace,
    config: SceneConfig,
    *,
    crops: int,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Naming:
    """Name `crops` close-ups.

    Args:
        segmenter: in evaluation mode.
        label_space: endovis2018-type: background and the seven types.
        config: of the scenes.
        crops: how many, at least 1.
        seed: of the scenes.
        size: (H, W) in which they are shown, px; None: the network's input size.
    """
    size = size or segmenter.config.input_size
    device = next(segmenter.parameters()).device
    text = segmenter.encode_text(label_space)
    types = len(label_space) - 1
    image, pixels = np.zeros((types, types), np.int64), np.zeros((types, types), np.int64)
    for _, (crop, type_id) in zip(range(crops), close_ups(config, seed), strict=False):
        view, labels = plain_view(crop.rgb, crop.type_map, crop.content, size=size)
        pixels_shown = torch.from_numpy(np.ascontiguousarray(view))[None].to(device)
        prepared = segmenter.prepare(pixels_shown)
        decoded = segmenter.decode(prepared, text)
        shown = torch.from_numpy(np.ascontiguousarray(labels[1::4, 1::4] != 255)).to(device)
        seen = (decoded.logits.softmax(1)[0, 1:] * shown).sum(dim=(1, 2))
        image[type_id - 1, int((text[1:] @ segmenter.embed_close_ups(prepared)[0]).argmax())] += 1
        pixels[type_id - 1, int(seen.argmax())] += 1
    return Naming(image, pixels)


def naming_size(config: Any, input_size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) in which close-ups are shown: as in training, where they had batches of their own, else the input size.

    Args:
        config: of the training, as plain data; what is not there counts as not trained so.
        input_size: of the network.
    """
    data = config.get("data", {}) if isinstance(config, dict) else {}
    if not data.get("close_up_batch"):
        return input_size
    height, width = data["close_up_size"]
    return int(height), int(width)


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
