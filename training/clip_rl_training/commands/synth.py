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

import cv2
from tqdm import tqdm

from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import load_backgrounds, load_cutouts
from clip_rl_training.synthetic.operation import showcase
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.synthetic_bag import write_bag
from clip_rl_training.synthetic.write_video import write_sequences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``clip-rl synth``."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="frames|bag")
    frames = commands.add_parser("frames", help="videos in the layout of EndoVis 2018; run again to resume")
    bag = commands.add_parser("bag", help="one video as a rosbag2 with ground truth")
    for command, size in ((frames, "640x512"), (bag, "1280x1024")):
        command.add_argument("--out", type=Path, required=True, help="folder to write")
        command.add_argument("--size", type=_size, default=_size(size), help=f"WIDTHxHEIGHT in px, default {size}")
        command.add_argument("--seed", type=int, default=0, help="the same seed gives the same pictures, default 0")
        command.add_argument("--rate", type=float, default=25.0, help="frames per second of a video, default 25")
        command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, default one per core")
    frames.add_argument("--sequences", type=int, default=4, help="number of videos, default 4")
    frames.add_argument("--frames", type=int, default=50, help="frames per video, default 50")
    frames.add_argument(
        "--backgrounds", type=Path, metavar="DIR", help="your own pictures of tissue, in place of drawn tissue"
    )
    frames.add_argument(
        "--cutouts", type=Path, metavar="DIR", help="your own instruments (RGBA PNG), in place of drawn instruments"
    )
    bag.add_argument("--seconds", type=float, default=10.0, help="length, default 10")
    bag.add_argument("--overwrite", action="store_true", help="replace a bag that is there already")


def run(arguments: argparse.Namespace) -> int:
    """Run ``clip-rl synth``; returns the exit status. Raises `SynthError` for what the user can mend."""
    cv2.setNumThreads(1)
    width, height = arguments.size
    try:
        if arguments.what == "bag":
            config = showcase(height, width, arguments.rate)
            frames = round(arguments.seconds * arguments.rate)
            progress = write_bag(
                arguments.out,
                config,
                seed=arguments.seed,
                frames=frames,
                workers=arguments.workers,
                overwrite=arguments.overwrite,
            )
        else:
            config = _with_own_pictures(
                SceneConfig(height=height, width=width, rate=arguments.rate), arguments.backgrounds, arguments.cutouts
            )
            progress = write_sequences(
                arguments.out,
                config,
                seed=arguments.seed,
                sequences=arguments.sequences,
                frames=arguments.frames,
                workers=arguments.workers,
            )
        _show(progress)
    except ValueError as error:
        raise error if isinstance(error, SynthError) else SynthError(str(error)) from error
    print(f"wrote {arguments.out}", file=sys.stderr)
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


def _show(progress: Iterator[tuple[int, int]]) -> None:
    """A bar on a terminal; JSON events on a standard output that a program reads, as the demo does."""
    events = not sys.stdout.isatty()
    told = 0.0
    with tqdm(unit="frame", file=sys.stderr, dynamic_ncols=True, disable=None) as bar:
        for done, total in progress:
            bar.total = total
            bar.update(done - bar.n)
            if events and (done == total or time.monotonic() - told > 0.5):
                told = time.monotonic()
                print(json.dumps({"event": "progress", "done": done, "total": total}), flush=True)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, for example 640x512")
    return int(match[1]), int(match[2])
