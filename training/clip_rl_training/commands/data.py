"""`clip-rl data`: look at datasets. `clip-rl data check` reads a whole tree and reports what is wrong with it;
`clip-rl data statistics` tells what its pictures look like (`data_statistics`).

Every image and mask is decoded; what is missing, doubled or miscoded is listed with file, value and expected coding.
Exit status 0: usable as it is; 1: something was found; 2: it could not be looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_rl_perception.atomic_write import write_json

from clip_rl_training.commands import data_statistics
from clip_rl_training.datasets import ALL, DATASETS, open_dataset
from clip_rl_training.datasets.dataset_check import check_dataset, describe
from clip_rl_training.datasets.named_label_maps import find_label_map


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``clip-rl data``."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="read a whole dataset and report what is wrong", description=__doc__)
    check.add_argument("--dataset", required=True, metavar="NAME", help=f"one of {', '.join(DATASETS)}")
    check.add_argument("--root", required=True, type=Path, help="folder that holds the dataset")
    check.add_argument("--label-map", metavar="NAME_OR_FILE", help="for --dataset folder: what mask values mean")
    check.add_argument("--split", default=ALL, help="look at this split only (default: %(default)s)")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    data_statistics.add_arguments(
        commands.add_parser(
            "statistics",
            help="tell what instruments and the rest look like in a dataset or in synthetic scenes",
            description=data_statistics.__doc__,
        )
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``clip-rl data``."""
    if arguments.data_command == "statistics":
        return data_statistics.run(arguments)
    label_map = find_label_map(arguments.label_map) if arguments.label_map else None
    dataset = open_dataset(arguments.dataset, arguments.root, label_map=label_map, strict=False)
    if arguments.split != ALL and dataset.items:
        dataset = dataset.split(arguments.split)
    report = check_dataset(dataset)
    print(describe(report))
    if arguments.json:
        write_json(arguments.json, report)
    return 1 if report["problems"] else 0
