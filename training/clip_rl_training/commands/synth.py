"""`clip-rl synth`: render synthetic endoscopic videos with ground truth, as image folders or as a rosbag2.

clip-rl synth frames --out DIR   videos in the layout of EndoVis 2018; run again to resume
                                 --backgrounds DIR --cutouts DIR: of your own pictures; see user_images.py
clip-rl synth bag --out DIR      one video as a rosbag2 (mcap) with JPEG images and label images
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
from clip_rl_perception.options import Option
from clip_rl_perception.progress import Progress

from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import load_backgrounds, load_cutouts
from clip_rl_training.synthetic.operation import showcase
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.synthetic_bag import write_bag
from clip_rl_training.synthetic.write_video import write_sequences


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, for example 640x512")
    return int(match[1]), int(match[2])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Video:
    out: Path
    """Folder to write."""
    size: Annotated[tuple[int, int], Option(type=_size, help="WIDTHxHEIGHT in px, default 640x512")] = (640, 512)
    """(width, height)."""
    seed: int = 0
    """The same seed gives the same pictures."""
    rate: float = 25.0
    """Frames per second of a video."""
    workers: Annotated[int, Option(help="processes, default one per core")] = os.cpu_count() or 1
    """Processes."""
    events: bool = False
    """Tell the progress as lines of JSON on standard output, for programs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames(_Video):
    """Videos in the layout of EndoVis 2018; run again to resume."""

    sequences: int = 4
    """Number of videos."""
    frames: int = 50
    """Frames per video."""
    backgrounds: Annotated[Path | None, Option(metavar="DIR")] = None
    """Your own pictures of tissue, in place of drawn tissue."""
    cutouts: Annotated[Path | None, Option(metavar="DIR")] = None
    """Your own instruments (RGBA PNG), in place of drawn instruments."""

    def write(self) -> Iterator[tuple[int, int]]:
        """Yields (frames done, frames in all)."""
        config = SceneConfig(height=self.size[1], width=self.size[0], rate=self.rate)
        config = _with_own_pictures(config, self.backgrounds, self.cutouts)
        return write_sequences(
            self.out, config, seed=self.seed, sequences=self.sequences, frames=self.frames, workers=self.workers
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bag(_Video):
    """One video as a rosbag2 with ground truth."""

    size: Annotated[tuple[int, int], Option(type=_size, help="WIDTHxHEIGHT in px, default 1280x1024")] = (1280, 1024)
    """(width, height)."""
    seconds: float = 10.0
    """Length."""
    overwrite: bool = False
    """Replace a bag that is there already."""

    def write(self) -> Iterator[tuple[int, int]]:
        """Yields (frames done, frames in all)."""
        config, frames = showcase(self.size[1], self.size[0], self.rate), round(self.seconds * self.rate)
        return write_bag(
            self.out, config, seed=self.seed, frames=frames, workers=self.workers, overwrite=self.overwrite
        )


def run(options: Frames | Bag) -> int:
    """Run ``clip-rl synth``; returns the exit status. Raises `SynthError` for what the user can mend."""
    cv2.setNumThreads(1)
    try:
        _show(options.write(), events=options.events)
    except ValueError as error:
        raise error if isinstance(error, SynthError) else SynthError(str(error)) from error
    print(f"wrote {options.out}", file=sys.stderr)
    return 0


def _with_own_pictures(config: SceneConfig, backgrounds: Path | None, cutouts: Path | None) -> SceneConfig:
    """The configuration with the user's folders, each read once here: what is wrong with them is said at the start."""
    if backgrounds is not None:
        load_backgrounds(str(backgrounds.resolve()))
        config = dataclasses.replace(config, background_folder=str(backgrounds.resolve()))
    if cutouts is not None:
        load_cutouts(str(cutouts.resolve()))
        config = dataclasses.replace(config, cutout_folder=str(cutouts.resolve()))
    return config


def _show(progress: Iterator[tuple[int, int]], *, events: bool) -> None:
    """A bar, and where `events` are asked for JSON for a program that reads them, as the demo does."""
    told = 0.0
    with Progress("rendering") as bar:
        for done, total in progress:
            bar.update(done, total)
            if events and (done == total or time.monotonic() - told > 0.5):
                told = time.monotonic()
                print(json.dumps({"event": "progress", "done": done, "total": total}), flush=True)
