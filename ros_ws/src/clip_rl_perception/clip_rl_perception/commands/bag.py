"""`clip-rl bag`: make bags of videos, images, datasets and synthetic scenes; say what is in a bag and what is wrong.

clip-rl bag make SOURCE --out BAG     a video, a folder of images (with masks/ beside images/), another bag
clip-rl bag info BAG                  topics, rates, encodings, and what the node or a replay would stumble over

Exit status of make: 0 made; 2 nothing made, the reason in one line. Of info: 0; 1 with --strict where something is
wrong; 2 where the bag cannot be read.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

from clip_rl_perception.bags.bag_info import describe, inspect_bag
from clip_rl_perception.bags.bag_inputs import GROUP, BagInput, open_path
from clip_rl_perception.bags.bag_make import AS_STORED, START_NS, MadeBag, MakeOptions, make_bag
from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.options import Option, Positional
from clip_rl_perception.progress import Progress
from clip_rl_perception.sources.bag_files import is_bag
from clip_rl_perception.sources.camera_model import FIELD_OF_VIEW, load_calibration
from clip_rl_perception.sources.encodings import ENCODINGS
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.truth_label_map import LabelMap, load_label_map

_ENCODINGS = f"{AS_STORED} (default: JPEG, PNG files as they are, others as jpeg), jpeg, png, {', '.join(ENCODINGS)}"
SHOWN = 10
"""Lines about what was left out that are printed."""


@dataclasses.dataclass(frozen=True)
class Info:
    """What is in a bag, and what is wrong with it."""

    bag: Annotated[Path, Positional()]
    """Rosbag2 folder, or one of its .mcap or .db3 files."""
    json: bool = False
    """As JSON on standard output."""
    rate: PositiveNumber | None = None
    """Frames per second that its images should have."""
    strict: bool = False
    """Exit status 1 where something is wrong."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """Ground truth."""

    labels: Annotated[Path | None, Option(metavar="FOLDER")] = None
    """Masks; None: masks/ or labels/ beside images/."""
    label_map: Annotated[str | None, Option(metavar="NAME_OR_FILE")] = None
    """What mask values mean; None: 0 background, 255 instrument."""
    label_encoding: Literal["png", "mono8", "none"] = "png"
    """How labels are stored."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Images."""

    right: Annotated[Path | None, Option(metavar="SOURCE")] = None
    """The right camera's frames: makes a stereo pair."""
    topic: str | None = None
    """Image topic, where SOURCE is a bag."""
    namespace: str = "/endoscope"
    """Of the topics."""
    encoding: Annotated[str, Option(metavar="ENCODING", help=_ENCODINGS)] = AS_STORED
    """How images are stored."""
    quality: Annotated[int, Option(metavar="1-100")] = 90
    """Of JPEG."""
    camera: Annotated[Path | None, Option(metavar="FILE")] = None
    """Calibration (camera_calibration's YAML)."""
    right_camera: Annotated[Path | None, Option(metavar="FILE")] = None
    """Of the right camera."""
    field_of_view: PositiveNumber = FIELD_OF_VIEW
    """Degrees, without --camera."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Time."""

    rate: PositiveNumber | None = None
    """Frames per second; None: the source's own; images: 25."""
    start: Annotated[float | None, Option(metavar="SECONDS")] = None
    """Stamp of the first frame (a bag keeps its own; others: fixed)."""
    frames: int | None = None
    """Write only so many."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Storage."""

    storage: Literal["mcap", "sqlite3"] = "mcap"
    """Format of the bag."""
    compress: bool = False
    """zstd: pays for raw images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Make:
    """Write a rosbag2 with images, camera models and ground truth; the same input makes the same bytes."""

    source: Annotated[Path | None, Positional()] = None
    """Video, folder of images, bag, or root of a --dataset."""
    out: Annotated[Path, Option("--out", "-o")]
    """Bag to create (a folder of bags: see --dataset)."""
    overwrite: bool = False
    """Replace a bag that is there already."""
    truth: Annotated[Truth, Option(group="ground truth")]
    images: Annotated[Images, Option(group="images")]
    timing: Annotated[Timing, Option(group="time")]
    storage: Annotated[Storage, Option(group="storage")]


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
    how = _how(options)
    inputs = list(_inputs(options))
    started = time.monotonic()
    for entry in inputs:
        path = options.out if len(inputs) == 1 else options.out / entry.name
        with Progress(str(path)) as progress:
            made = make_bag(entry, path, how, overwrite=options.overwrite, progress=progress.update)
        _tell(made, time.monotonic() - started)
        started = time.monotonic()
    return 0


def _how(options: Make) -> MakeOptions:
    images, timing = options.images, options.timing
    if not 1 <= images.quality <= 100:
        raise SourceError(f"--quality {images.quality} is out of range; 1 to 100 is possible")
    if images.encoding not in (AS_STORED, "jpeg", "png", *ENCODINGS):
        raise SourceError(f"no encoding '{images.encoding}'; known are {AS_STORED}, jpeg, png, {', '.join(ENCODINGS)}")
    if timing.start is not None and timing.start < 0:
        raise SourceError(f"--start {timing.start:g}: stamps are seconds since 1970, not negative")
    namespace = "/" + images.namespace.strip("/")
    if re.fullmatch(r"/|(/[A-Za-z_][A-Za-z0-9_]*)+", namespace) is None:
        raise SourceError(f"--namespace '{images.namespace}': expected a ROS name such as /endoscope or /psm/left")
    if timing.frames is not None and timing.frames < 1:
        raise SourceError(f"--frames {timing.frames}: at least 1 is needed")
    if images.right_camera is not None and images.camera is None:
        raise SourceError("--right-camera needs --camera, the left one")
    keep = options.source is not None and options.source.exists() and is_bag(options.source)
    start = None if keep else START_NS
    return MakeOptions(
        namespace=namespace,
        encoding=images.encoding,
        quality=images.quality,
        labels=options.truth.label_encoding,
        start_ns=round(timing.start * 1e9) if timing.start is not None else start,
        rate_hz=timing.rate,
        frames=timing.frames,
        storage=options.storage.storage,
        compress=options.storage.compress,
        cameras=tuple(load_calibration(file) for file in (images.camera, images.right_camera) if file is not None),
        field_of_view=images.field_of_view,
    )


def _inputs(options: Make) -> Iterator[BagInput]:
    source, images, truth, rate = options.source, options.images, options.truth, options.timing.rate
    for name, plugin in _plugins().items():
        inputs = plugin.open_inputs(
            getattr(options, name), source=source, rate_hz=rate, label_map=truth.label_map, right=images.right
        )
        if inputs is not None:
            yield from inputs
            return
    if source is None:
        raise SourceError("nothing to make a bag of; name a video, a folder of images, or a bag")
    yield open_path(
        source,
        rate_hz=rate,
        topic=images.topic,
        labels=truth.labels,
        label_map=_label_map(truth.label_map) if truth.label_map is not None else None,
        right=images.right,
    )


def _label_map(name: str) -> LabelMap:
    """A file, or where the training package is installed one of its label maps by name."""
    if not Path(name).exists():
        for plugin in _plugins().values():
            if hasattr(plugin, "find_label_map"):
                found: LabelMap = plugin.find_label_map(name)
                return found
    return load_label_map(name)


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
