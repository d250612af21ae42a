"""`clip-rl bag`: make bags of videos, images, datasets and synthetic scenes; say what is in a bag and what is wrong.

clip-rl bag make SOURCE --out BAG     a video, a folder of images (with masks/ beside images/), another bag
clip-rl bag info BAG                  topics, rates, encodings, and what the node or a replay would stumble over

Exit status of make: 0 made; 2 nothing made, the reason in one line. Of info: 0; 1 with --strict where something is
wrong; 2 where the bag cannot be read.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.bags.bag_info import describe, inspect_bag
from clip_rl_perception.bags.bag_inputs import GROUP, BagInput, open_path
from clip_rl_perception.bags.bag_make import IMAGES, TIME, TRUTH, MadeBag, MakeOptions, make_bag
from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.options import Option, Positional
from clip_rl_perception.progress import Progress
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.truth_label_map import load_label_map

SHOWN = 10
"""Lines about what was left out that are printed."""


@dataclasses.dataclass(frozen=True)
class Info:
    """What is in a bag, and what is wrong with it."""

    bag: Annotated[Path, Positional()]
    """Rosbag2 folder, one of its .mcap or .db3 files, or a ROS 1 .bag."""
    json: bool = False
    """As JSON on standard output."""
    rate: PositiveNumber | None = None
    """Frames per second that its images should have."""
    strict: bool = False
    """Exit status 1 where something is wrong."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Make:
    """Write a bag.

    A rosbag2 with images, camera models and ground truth; the same input makes the same bytes.
    """

    source: Annotated[Path | None, Positional()] = None
    """Video, folder of images, bag, or root of a --dataset."""
    out: Annotated[Path, Option("--out", "-o")]
    """Bag to create (a folder of bags: see --dataset)."""
    overwrite: bool = False
    """Replace a bag that is there already."""
    labels: Annotated[Path | None, Option(metavar="FOLDER", group=TRUTH)] = None
    """Masks; None: masks/ or labels/ beside images/."""
    label_map: Annotated[str | None, Option(metavar="NAME_OR_FILE", group=TRUTH)] = None
    """What mask values mean; None: 0 background, 255 instrument."""
    right: Annotated[Path | None, Option(metavar="SOURCE", group=IMAGES)] = None
    """The right camera's frames: makes a stereo pair."""
    topic: Annotated[str | None, Option(group=IMAGES)] = None
    """Image topic, where SOURCE is a bag."""
    right_topic: Annotated[str | None, Option(group=IMAGES)] = None
    """Of the right camera, where --right is a bag."""
    rate: Annotated[PositiveNumber | None, Option(group=TIME)] = None
    """Frames per second; None: the source's own; images: 25."""
    how: MakeOptions


def options() -> Any:
    """What `run` takes, with what other packages add to `make`."""
    added = [(name, plugin.Options) for name, plugin in _plugins().items()]
    make = dataclasses.make_dataclass("Make", added, bases=(Make,), frozen=True, kw_only=True)
    make.__doc__ = Make.__doc__
    return make | Info


def run(options: Make | Info) -> int:
    """Run `clip-rl bag`; returns the exit status."""
    return _info(options) if isinstance(options, Info) else _make(options)


def _info(options: Info) -> int:
    info = inspect_bag(options.bag, rate_hz=options.rate)
    print(json.dumps(info.to_dict(), indent=2) if options.json else describe(info))
    return 1 if options.strict and info.problems else 0


def _make(options: Make) -> int:
    inputs = list(_inputs(options))
    started = time.monotonic()
    for entry in inputs:
        path = options.out if len(inputs) == 1 else options.out / entry.name
        with Progress(str(path)) as progress:
            made = make_bag(entry, path, options.how, overwrite=options.overwrite, progress=progress.update)
        _tell(made, time.monotonic() - started)
        started = time.monotonic()
    return 0


def _inputs(options: Make) -> Iterator[BagInput]:
    source, rate, label_map, right = options.source, options.rate, options.label_map, options.right
    for name, plugin in _plugins().items():
        given = getattr(options, name)
        inputs = plugin.open_inputs(given, source=source, rate_hz=rate, label_map=label_map, right=right)
        if inputs is not None:
            yield from inputs
            return
    if source is None:
        raise SourceError("nothing to make a bag of; name a video, a folder of images, or a bag")
    yield open_path(
        source,
        rate_hz=rate,
        topic=options.topic,
        labels=options.labels,
        label_map=load_label_map(label_map) if label_map is not None else None,
        right=right,
        right_topic=options.right_topic,
    )


def _plugins() -> dict[str, Any]:
    """Modules of the entry-point group by name."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return {name: found[name].load() for name in sorted(found)}


def _tell(made: MadeBag, seconds: float) -> None:
    size = sum(file.stat().st_size for file in made.path.iterdir()) / 1e6
    extras = [f"{made.labelled} with labels"] if made.labelled else []
    extras += [f"{made.pairs} stereo pairs"] if made.pairs else []
    print(f"{made.path}: {', '.join([f'{made.frames} frames', *extras])}, {size:.1f} MB in {seconds:.1f} s")
    for line in made.problems[:SHOWN]:
        print(f"  note: {line}", file=sys.stderr)
    if len(made.problems) > SHOWN:
        print(f"  ... and {len(made.problems) - SHOWN} more", file=sys.stderr)
