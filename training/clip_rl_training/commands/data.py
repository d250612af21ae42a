"""`clip-rl data`: look at datasets. `clip-rl data check` reads a whole tree and reports what is wrong with it;
`clip-rl data statistics` tells what its pictures look like (`image_statistics`).

Every image and mask is decoded; what is missing, doubled or miscoded is listed with file, value and expected coding.
Exit status 0: usable as it is; 1: something was found; 2: it could not be looked at.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError
from tqdm import tqdm

from clip_rl_training.data import image_statistics
from clip_rl_training.datasets import ALL, DATASETS, Item, SegmentationDataset, check_disjoint, open_dataset
from clip_rl_training.datasets.named_label_maps import find_label_map

SHOWN = 20
"""Problems that are printed; the JSON has all."""


@dataclasses.dataclass(frozen=True)
class ItemCheck:
    """What was found in one item."""

    item: Item
    error: str
    """Empty when the item can be read."""
    size: tuple[int, int] = (0, 0)
    """(width, height), px, after cropping."""
    pixels: tuple[int, ...] = ()
    """Pixels per value 0 to 255 of the labels."""
    digest: str = ""
    """SHA-256 of the image file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``clip-rl data``."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="read a whole dataset and report what is wrong", description=__doc__)
    check.add_argument("--dataset", required=True, metavar="NAME", help=f"one of {', '.join(DATASETS)}")
    check.add_argument("--root", required=True, type=Path, help="folder that holds the dataset")
    check.add_argument("--label-map", metavar="NAME_OR_FILE", help="for --dataset folder: what mask values mean")
    check.add_argument("--split", default=ALL, help="look at this split only (default: %(default)s)")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    image_statistics.add_arguments(
        commands.add_parser(
            "statistics",
            help="tell what instruments and the rest look like in a dataset or in synthetic scenes",
            description=image_statistics.__doc__,
        )
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``clip-rl data``."""
    if arguments.data_command == "statistics":
        return image_statistics.run(arguments)
    label_map = find_label_map(arguments.label_map) if arguments.label_map else None
    dataset = open_dataset(arguments.dataset, arguments.root, label_map=label_map, strict=False)
    if arguments.split != ALL and dataset.items:
        dataset = dataset.split(arguments.split)
    report = check_dataset(dataset)
    print(describe(report))
    if arguments.json:
        write_json(arguments.json, report)
    return 1 if report["problems"] else 0


def check_dataset(dataset: SegmentationDataset) -> dict[str, Any]:
    """Read every item.

    Returns:
        Plain data: dataset, root, frames (readable), problems (lines), sizes {WxH: frames}, sequences {name: frames},
        splits {name: sequences}, classes {name: {pixels (share of labelled pixels), frames}}, ignored (share of all).
    """
    problems = list(dataset.problems)
    if not dataset.items:
        problems.append(f"{dataset.root}: no labelled frames of dataset '{dataset.name}'")
    sizes: collections.Counter[str] = collections.Counter()
    sequences = {name: 0 for name in dataset.sequences}
    pixels = np.zeros(256, np.int64)
    frames = np.zeros(256, np.int64)
    owners: dict[str, Item] = {}
    for check in _checks(dataset):
        if check.error:
            problems.append(check.error)
            continue
        sizes[f"{check.size[0]}x{check.size[1]}"] += 1
        sequences[check.item.sequence] += 1
        pixels += np.asarray(check.pixels)
        frames += np.asarray(check.pixels) > 0
        first = owners.setdefault(check.digest, check.item)
        if first.sequence != check.item.sequence:
            problems.append(
                f"{check.item.image}: the same picture as {first.image} of another sequence; they leak between splits"
            )
    problems += _leaks(dataset)
    labelled = max(1, int(pixels[:255].sum()))
    return {
        "dataset": dataset.name,
        "root": str(dataset.root),
        "frames": int(sum(sizes.values())),
        "problems": problems,
        "sizes": dict(sizes.most_common()),
        "sequences": sequences,
        "splits": {name: list(members) for name, members in dataset.splits.items()},
        "classes": {
            entry.name: {"pixels": float(pixels[entry.id] / labelled), "frames": int(frames[entry.id])}
            for entry in dataset.label_space.classes
        },
        "ignored": float(pixels[255] / max(1, int(pixels.sum()))),
    }


def describe(report: dict[str, Any]) -> str:
    """The report in words, for the terminal."""
    sizes = ", ".join(f"{count} of {size}" for size, count in report["sizes"].items()) or "none"
    lines = [
        f"{report['dataset']} at {report['root']}",
        f"frames: {report['frames']} readable in {len(report['sequences'])} sequences; sizes: {sizes}",
    ]
    lines += [f"  {name}: {count} frames" for name, count in report["sequences"].items()]
    lines += [f"split {name}: {', '.join(members)}" for name, members in report["splits"].items()]
    width = max(len(name) for name in report["classes"])
    lines += [
        f"  {name:{width}}  {entry['pixels']:8.3%} of labelled pixels, in {entry['frames']} frames"
        for name, entry in report["classes"].items()
    ]
    if report["ignored"]:
        lines.append(f"ignored: {report['ignored']:.3%} of all pixels")
    problems = report["problems"]
    lines += [f"problem: {line}" for line in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"... and {len(problems) - SHOWN} more problems (--json has all)")
    lines.append(f"{len(problems)} problems" if problems else "no problems")
    return "\n".join(lines)


def _checks(dataset: SegmentationDataset) -> Iterable[ItemCheck]:
    """Checks in the order of items, a few at a time; decoding runs outside the interpreter's lock."""
    workers = min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda item: _check(dataset, item), dataset.items)
        yield from tqdm(results, total=len(dataset), desc="reading", unit="frame", disable=None)


def _check(dataset: SegmentationDataset, item: Item) -> ItemCheck:
    try:
        rgb, labels = dataset.load(item)
    except ClipRlError as error:
        return ItemCheck(item, str(error))
    beyond = len(dataset.label_space)
    pixels = np.bincount(labels.ravel(), minlength=256)
    if pixels[beyond:255].any():
        return ItemCheck(item, f"{item.masks[0]}: id {int(np.flatnonzero(pixels[beyond:])[0]) + beyond} has no class")
    digest = hashlib.sha256(item.image.read_bytes()).hexdigest()
    return ItemCheck(item, "", (rgb.shape[1], rgb.shape[0]), tuple(pixels.tolist()), digest)


def _leaks(dataset: SegmentationDataset) -> list[str]:
    """Splits that are meant to go together (fold0-train with fold0-val, train with val and test) must be disjoint."""
    problems = []
    for training in (name for name in dataset.splits if name.endswith("train")):
        prefix = training.removesuffix("train")
        for other in (f"{prefix}val", f"{prefix}test"):
            if other in dataset.splits and set(dataset.sequences) & set(dataset.splits[other]):
                try:
                    check_disjoint({name: dataset.split(name) for name in (training, other)})
                except ClipRlError as error:
                    problems.append(str(error))
    return problems
