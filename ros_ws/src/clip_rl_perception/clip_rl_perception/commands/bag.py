"""`clip-rl bag`: make bags of videos, images, datasets and synthetic scenes; say what is in a bag and what is wrong.

clip-rl bag make SOURCE --out BAG     a video, a folder of images (with masks/ beside images/), another bag
clip-rl bag info BAG                  topics, rates, encodings, and what the node or a replay would stumble over

Exit status of make: 0 made; 2 nothing made, the reason in one line. Of info: 0; 1 with --strict where something is
wrong; 2 where the bag cannot be read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from clip_rl_perception.bags.bag_info import describe, inspect_bag
from clip_rl_perception.bags.bag_inputs import GROUP, BagInput, open_path
from clip_rl_perception.bags.bag_make import AS_STORED, START_NS, MadeBag, MakeOptions, make_bag
from clip_rl_perception.bags.bag_writer import STORAGES
from clip_rl_perception.cli_types import positive_number
from clip_rl_perception.sources.camera_model import FIELD_OF_VIEW, load_calibration
from clip_rl_perception.sources.encodings import ENCODINGS
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.media_source import is_bag
from clip_rl_perception.sources.truth_label_map import LabelMap, load_label_map

SHOWN = 10
"""Lines about what was left out that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl bag`."""
    commands = parser.add_subparsers(dest="bag_command", required=True, metavar="make|info")
    _add_make(commands.add_parser("make", help="write a bag", description=_add_make.__doc__))
    info = commands.add_parser("info", help="what is in a bag, and what is wrong with it")
    info.add_argument("bag", type=Path, help="rosbag2 folder, or one of its .mcap or .db3 files")
    info.add_argument("--json", action="store_true", help="as JSON on standard output")
    info.add_argument("--rate", type=positive_number, help="frames per second that its images should have")
    info.add_argument("--strict", action="store_true", help="exit status 1 where something is wrong")


def _add_make(parser: argparse.ArgumentParser) -> None:
    """Write a rosbag2 with images, camera models and ground truth; the same input makes the same bytes."""
    parser.add_argument("source", type=Path, nargs="?", help="video, folder of images, bag, or root of a --dataset")
    parser.add_argument("--out", "-o", type=Path, required=True, help="bag to create (a folder of bags: see --dataset)")
    parser.add_argument("--overwrite", action="store_true", help="replace a bag that is there already")
    truth = parser.add_argument_group("ground truth")
    truth.add_argument(
        "--labels", type=Path, metavar="FOLDER", help="masks (default: masks/ or labels/ beside images/)"
    )
    truth.add_argument(
        "--label-map", metavar="NAME_OR_FILE", help="what mask values mean (default: 0 background, 255 instrument)"
    )
    truth.add_argument(
        "--label-encoding", choices=("png", "mono8", "none"), default="png", help="how labels are stored (default: png)"
    )
    images = parser.add_argument_group("images")
    images.add_argument("--right", type=Path, metavar="SOURCE", help="the right camera's frames: makes a stereo pair")
    images.add_argument("--topic", help="image topic, where SOURCE is a bag")
    images.add_argument("--namespace", default="/endoscope", help="of the topics (default: %(default)s)")
    images.add_argument(
        "--encoding",
        default=AS_STORED,
        metavar="ENCODING",
        help=f"{AS_STORED} (default: JPEG, PNG files as they are, others as jpeg), jpeg, png, {', '.join(ENCODINGS)}",
    )
    images.add_argument("--quality", type=int, default=90, metavar="1-100", help="of JPEG (default: 90)")
    images.add_argument("--camera", type=Path, metavar="FILE", help="calibration (camera_calibration's YAML)")
    images.add_argument("--right-camera", type=Path, metavar="FILE", help="of the right camera")
    images.add_argument(
        "--field-of-view",
        type=positive_number,
        default=FIELD_OF_VIEW,
        help="degrees, without --camera (default: %(default)g)",
    )
    timing = parser.add_argument_group("time")
    timing.add_argument(
        "--rate", type=positive_number, help="frames per second (default: the source's own; images: 25)"
    )
    timing.add_argument(
        "--start", type=float, metavar="SECONDS", help="stamp of the first frame (a bag keeps its own; others: fixed)"
    )
    timing.add_argument("--frames", type=int, help="write only so many")
    storage = parser.add_argument_group("storage")
    storage.add_argument("--storage", choices=tuple(STORAGES), default="mcap", help="(default: mcap)")
    storage.add_argument("--compress", action="store_true", help="zstd: pays for raw images")
    for plugin in _plugins():
        plugin.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `clip-rl bag`; returns the exit status."""
    return _info(arguments) if arguments.bag_command == "info" else _make(arguments)


def _info(arguments: argparse.Namespace) -> int:
    info = inspect_bag(arguments.bag, rate_hz=arguments.rate)
    print(json.dumps(info.to_dict(), indent=2) if arguments.json else describe(info))
    return 1 if arguments.strict and info.problems else 0


def _make(arguments: argparse.Namespace) -> int:
    options = _options(arguments)
    inputs = list(_inputs(arguments))
    out: Path = arguments.out
    started = time.monotonic()
    for entry in inputs:
        path = out if len(inputs) == 1 else out / entry.name
        with _Progress(str(path)) as progress:
            made = make_bag(entry, path, options, overwrite=arguments.overwrite, progress=progress.update)
        _tell(made, time.monotonic() - started)
        started = time.monotonic()
    return 0


def _options(arguments: argparse.Namespace) -> MakeOptions:
    if not 1 <= arguments.quality <= 100:
        raise SourceError(f"--quality {arguments.quality} is out of range; 1 to 100 is possible")
    if arguments.encoding not in (AS_STORED, "jpeg", "png", *ENCODINGS):
        raise SourceError(
            f"no encoding '{arguments.encoding}'; known are {AS_STORED}, jpeg, png, {', '.join(ENCODINGS)}"
        )
    if arguments.start is not None and arguments.start < 0:
        raise SourceError(f"--start {arguments.start:g}: stamps are seconds since 1970, not negative")
    namespace = "/" + arguments.namespace.strip("/")
    if re.fullmatch(r"/|(/[A-Za-z_][A-Za-z0-9_]*)+", namespace) is None:
        raise SourceError(f"--namespace '{arguments.namespace}': expected a ROS name such as /endoscope or /psm/left")
    if arguments.frames is not None and arguments.frames < 1:
        raise SourceError(f"--frames {arguments.frames}: at least 1 is needed")
    files = [file for file in (arguments.camera, arguments.right_camera) if file is not None]
    if arguments.right_camera is not None and arguments.camera is None:
        raise SourceError("--right-camera needs --camera, the left one")
    keep = arguments.source is not None and arguments.source.exists() and is_bag(arguments.source)
    start = None if keep else START_NS
    return MakeOptions(
        namespace=namespace,
        encoding=arguments.encoding,
        quality=arguments.quality,
        labels=arguments.label_encoding,
        start_ns=round(arguments.start * 1e9) if arguments.start is not None else start,
        rate_hz=arguments.rate,
        frames=arguments.frames,
        storage=arguments.storage,
        compress=arguments.compress,
        cameras=tuple(load_calibration(file) for file in files),
        field_of_view=arguments.field_of_view,
    )


def _inputs(arguments: argparse.Namespace) -> Iterator[BagInput]:
    for plugin in _plugins():
        inputs = plugin.open_inputs(arguments)
        if inputs is not None:
            yield from inputs
            return
    if arguments.source is None:
        raise SourceError("nothing to make a bag of; name a video, a folder of images, or a bag")
    yield open_path(
        arguments.source,
        rate_hz=arguments.rate,
        topic=arguments.topic,
        labels=arguments.labels,
        label_map=_label_map(arguments.label_map) if arguments.label_map is not None else None,
        right=arguments.right,
    )


def _label_map(name: str) -> LabelMap:
    """A file, or where the training package is installed one of its label maps by name."""
    if not Path(name).exists():
        for plugin in _plugins():
            if hasattr(plugin, "find_label_map"):
                found: LabelMap = plugin.find_label_map(name)
                return found
    return load_label_map(name)


def _plugins() -> list[Any]:
    """Modules of the entry-point group, each name once."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [found[name].load() for name in sorted(found)]


def _tell(made: MadeBag, seconds: float) -> None:
    size = sum(file.stat().st_size for file in made.path.iterdir()) / 1e6
    extras = [f"{made.labelled} with labels"] if made.labelled else []
    extras += [f"{made.pairs} stereo pairs"] if made.pairs else []
    print(f"{made.path}: {', '.join([f'{made.frames} frames', *extras])}, {size:.1f} MB in {seconds:.1f} s")
    for line in made.problems[:SHOWN]:
        print(f"  note: {line}", file=sys.stderr)
    if len(made.problems) > SHOWN:
        print(f"  ... and {len(made.problems) - SHOWN} more", file=sys.stderr)


class _Progress:
    """One line on standard error: rewritten on a terminal, now and then elsewhere."""

    def __init__(self, what: str) -> None:
        self._what, self._live = what, sys.stderr.isatty()
        self._told = time.monotonic()

    def update(self, done: int, total: int | None) -> None:
        """`done` frames of `total` are written."""
        now = time.monotonic()
        if now - self._told < (0.2 if self._live else 10.0):
            return
        self._told = now
        share = f"{done} of {total} frames ({done / total:.0%})" if total else f"{done} frames"
        print(
            f"\r{self._what}: {share} " if self._live else f"{self._what}: {share}",
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            print("\r" + " " * (len(self._what) + 40) + "\r", end="", file=sys.stderr, flush=True)
