"""What is wrong with a dataset: every image and mask is decoded; files, values and leaks between splits are told.

What is missing, doubled or miscoded is listed with file, value and expected coding.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.progress import shown
from clip_rl_perception.sources.tag_truth import TagTruthError

from clip_rl_training.datasets.dataset import Item, SegmentationDataset, check_disjoint
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth
from clip_rl_training.datasets.palette_note import reading_notes

_INVERTED = 0.5
"""A larger share of instruments is more than cameras see."""
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
    tags: str | None = None
    """What is wrong with its truth of tags; empty where nothing is, None where it has none."""


def check_dataset(dataset: SegmentationDataset) -> dict[str, Any]:
    """Read every item.

    Returns:
        Plain data: dataset, root, frames (readable), problems and notes (lines), sizes {WxH: frames},
        sequences {name: frames}, splits {name: sequences}, classes {name: {pixels (share of labelled pixels), frames}},
        ignored (share of all), tagged (frames with a truth of tags).
    """
    problems = list(dataset.problems)
    if not dataset.items:
        problems.append(f"{dataset.root}: no labelled frames of dataset '{dataset.name}'")
    sizes: collections.Counter[str] = collections.Counter()
    sequences = {name: 0 for name in dataset.sequences}
    pixels = np.zeros(256, np.int64)
    frames = np.zeros(256, np.int64)
    truth = dataset.truth_classes()
    owners: dict[str, Item] = {}
    tagged = 0
    try:
        tags = DatasetTagTruth(dataset)
    except TagTruthError as error:
        problems.append(str(error))
        tags = None
    for check in _checks(dataset, tags):
        tagged += check.tags == ""
        problems += [check.tags] if check.tags else []
        if check.error:
            problems.append(check.error)
            continue
        sizes[f"{check.size[0]}x{check.size[1]}"] += 1
        sequences[check.item.sequence] += 1
        pixels += np.asarray(check.pixels)
        frames += np.asarray(check.pixels) > 0
        truth.count(np.asarray(check.pixels))
        first = owners.setdefault(check.digest, check.item)
        if first.sequence != check.item.sequence:
            problems.append(
                f"{check.item.image}: the same picture as {first.image} of another sequence; they leak between splits"
            )
    problems += [f"{dataset.root}: {line}" for line in [truth.problem()] if line]
    problems += _leaks(dataset)
    labelled = max(1, int(pixels[:255].sum()))
    names = dataset.label_space.names
    share = float(pixels[1] / labelled) if len(names) == 2 else 0.0
    return {
        "dataset": dataset.name,
        "root": str(dataset.root),
        "frames": int(sum(sizes.values())),
        "problems": problems,
        "notes": [
            *([f"{share:.0%} of labelled pixels are {names[1]}: are they inverted?"] if share > _INVERTED else []),
            *reading_notes(dataset),
        ],
        "sizes": dict(sizes.most_common()),
        "sequences": sequences,
        "splits": {name: list(members) for name, members in dataset.splits.items()},
        "classes": {
            entry.name: {"pixels": float(pixels[entry.id] / labelled), "frames": int(frames[entry.id])}
            for entry in dataset.label_space.classes
        },
        "tagged": tagged,
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
    if report["tagged"]:
        lines.append(f"truth of tags: {report['tagged']} frames")
    lines += [f"note: {line}" for line in report["notes"]]
    problems = report["problems"]
    lines += [f"problem: {line}" for line in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"... and {len(problems) - SHOWN} more problems (--json has all)")
    lines.append(f"{len(problems)} problems" if problems else "no problems")
    return "\n".join(lines)


def _checks(dataset: SegmentationDataset, tags: DatasetTagTruth | None) -> Iterable[ItemCheck]:
    """Checks in the order of items, a few at a time; decoding runs outside the interpreter's lock."""
    workers = min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda item: _check(dataset, item, tags), dataset.items)
        yield from shown(results, "reading", len(dataset))


def _check(dataset: SegmentationDataset, item: Item, tags: DatasetTagTruth | None) -> ItemCheck:
    try:
        rgb, labels = dataset.load(item)
    except ClipRlError as error:
        return ItemCheck(item, str(error))
    beyond = len(dataset.label_space)
    pixels = np.bincount(labels.ravel(), minlength=256)
    if pixels[beyond:255].any():
        return ItemCheck(item, f"{item.masks[0]}: id {int(np.flatnonzero(pixels[beyond:])[0]) + beyond} has no class")
    digest = hashlib.sha256(item.image.read_bytes()).hexdigest()
    return ItemCheck(
        item, "", (rgb.shape[1], rgb.shape[0]), tuple(pixels.tolist()), digest, _tag_problem(tags, item, labels)
    )


def _tag_problem(tags: DatasetTagTruth | None, item: Item, labels: ByteArray) -> str | None:
    if not tags:
        return None
    try:
        return (
            "" if tags.of(item, labels) is not None else f"{item.image}: no picture of instances, while others have one"
        )
    except TagTruthError as error:
        return str(error)


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
