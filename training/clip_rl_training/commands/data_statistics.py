"""`clip-rl data statistics`: what pictures look like in and around instruments, of a dataset or of synthetic scenes.

A network that knows synthetic scenes only finds what they have in common with real ones. Where these numbers differ, it
learns what is not so: scenes whose tissue was grainier than their instruments taught it that what is smooth is an
instrument (docs/results/demo-checkpoint.md). All are measured in views of one size, on instruments against the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError

from clip_rl_training.data.image_statistics import LEAST_PIXELS, dataset_views, describe, scene_views, summarize
from clip_rl_training.datasets import ALL, DATASETS, open_dataset
from clip_rl_training.datasets.named_label_maps import find_label_map
from clip_rl_training.loop.training_config import load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``clip-rl data statistics``."""
    parser.add_argument("--dataset", metavar="NAME", help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("--root", type=Path, help="folder that holds the dataset")
    parser.add_argument("--label-map", metavar="NAME_OR_FILE", help="for --dataset folder: what mask values mean")
    parser.add_argument("--split", default=ALL, help="look at this split only (default: %(default)s)")
    parser.add_argument("--config", default="demo", help="without --dataset: preset whose scenes are measured")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the preset"
    )
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="at most so many (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")


def run(arguments: argparse.Namespace) -> int:
    """Run ``clip-rl data statistics``."""
    if arguments.frames < 1:
        raise ClipRlError(f"--frames {arguments.frames}: at least 1 is needed")
    if arguments.dataset and not arguments.root:
        raise ClipRlError("--dataset needs --root, the folder that holds it")
    report = summarize(_views(arguments))
    if not report:
        raise ClipRlError(f"no frame shows {LEAST_PIXELS} px of instruments and as many of the rest")
    print(describe(report))
    if arguments.json:
        write_json(arguments.json, report)
    return 0


def _views(arguments: argparse.Namespace) -> Iterator[tuple[ByteArray, ByteArray]]:
    if not arguments.dataset:
        config = load_config(arguments.config, arguments.set)
        return scene_views(config.seed, config.data.scene, arguments.frames)
    label_map = find_label_map(arguments.label_map) if arguments.label_map else None
    dataset = open_dataset(arguments.dataset, arguments.root, label_map=label_map)
    return dataset_views(dataset.split(arguments.split), arguments.frames)
