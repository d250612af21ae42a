"""`clip-rl synth`: render synthetic endoscopic videos with ground truth, as image folders or as a rosbag2.

clip-rl synth frames --out DIR   videos in the layout of EndoVis 2018; run again to resume
                                 --backgrounds DIR --cutouts DIR: of your own pictures; see user_images.py
clip-rl synth stereo --out DIR   the same of both eyes of a stereo endoscope, with calibrations and keypoints in metres
clip-rl synth cutouts --meshes DIR --out DIR   cut-outs of instruments that you have as meshes
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
from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.options import Option
from clip_rl_perception.progress import Progress

from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import load_backgrounds, load_cutouts
from clip_rl_training.synthetic.meshes.mesh_instrument import load_mesh_instruments
from clip_rl_training.synthetic.meshes.mesh_rendering import write_mesh_cutouts
from clip_rl_training.synthetic.operation import showcase, stereo_videos, typed_videos
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stereo_set import StereoSet
from clip_rl_training.synthetic.synthetic_bag import write_bag
from clip_rl_training.synthetic.write_video import write_sequences

_CUTOUTS = 200
"""Poses of the user's meshes."""


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
    rate: PositiveNumber = 25.0
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
    meshes: Annotated[Path | None, Option(metavar="DIR")] = None
    """Your own instruments as meshes with a YAML file: cut-outs of them are made in OUT-cutouts first."""
    cutout_share: Annotated[
        float, Option(least=0, most=1, help="share of instruments that are yours, the others are drawn")
    ] = 1.0
    """Of instruments that are cut-outs."""

    laparoscopic: Annotated[
        float, Option(least=0, most=1, help="share of instruments that are rigid laparoscopic ones")
    ] = 0.0
    """Of instruments that are of none of the seven types: 255 in types/."""

    def write(self) -> Iterator[tuple[int, int]]:
        """Yields (frames done, frames in all)."""
        config = dataclasses.replace(
            typed_videos(self.size[1], self.size[0], self.rate),
            laparoscopic=self.laparoscopic,
            cutout_share=self.cutout_share,
        )
        cutouts = self.cutouts
        if self.meshes is not None:
            if cutouts is not None:
                raise SynthError("--meshes and --cutouts together: choose one of them")
            out = self.out.resolve()  # "." has no name of its own
            cutouts = out.with_name(f"{out.name}-cutouts")
            yield from write_mesh_cutouts(load_mesh_instruments(self.meshes), cutouts, count=_CUTOUTS, seed=self.seed)
        config = _with_own_pictures(config, self.backgrounds, cutouts)
        yield from write_sequences(
            self.out, config, seed=self.seed, sequences=self.sequences, frames=self.frames, workers=self.workers
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stereo(_Video):
    """Videos of both eyes of a stereo endoscope, with calibrations and keypoints in metres; run again to resume."""

    size: Annotated[tuple[int, int], Option(type=_size, help="WIDTHxHEIGHT in px, default 1280x1024")] = (1280, 1024)
    """(width, height)."""
    sequences: int = 4
    """Number of videos."""
    frames: int = 50
    """Frames per video."""
    baseline: Annotated[tuple[float, ...], Option(nargs=2, metavar=("LEAST", "MOST"))] = (4.0, 6.0)
    """Between the eyes, mm: each video's own."""
    distance: Annotated[tuple[float, ...], Option(nargs=2, metavar=("LEAST", "MOST"))] = (40.0, 160.0)
    """Of the ends of shafts from the lens, mm."""
    calibration_error: Annotated[float, Option(metavar="PX")] = 0.0
    """What the written calibrations are wrong by, px: principal points, and focal lengths at the border."""

    def write(self) -> Iterator[tuple[int, int]]:
        """Yields (pairs done, pairs in all)."""
        eyes = StereoSet(_pair(self.baseline), _pair(self.distance), self.calibration_error)
        config = stereo_videos(self.size[1], self.size[0], self.rate, *eyes.distance_mm)
        return write_sequences(
            self.out,
            config,
            seed=self.seed,
            sequences=self.sequences,
            frames=self.frames,
            workers=self.workers,
            stereo=eyes,
        )


def _pair(values: tuple[float, ...]) -> tuple[float, float]:
    return values[0], values[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cutouts:
    """Cut-outs of your instruments' meshes in random poses, for --cutouts; run again to resume."""

    meshes: Annotated[Path, Option(metavar="DIR")]
    """Folder with meshes and a YAML file that says how they hang together."""
    out: Path
    """Folder to write."""
    count: int = _CUTOUTS
    """Number of cut-outs."""
    seed: int = 0
    """The same seed gives the same pictures."""
    events: bool = False
    """Tell the progress as lines of JSON on standard output, for programs."""

    def write(self) -> Iterator[tuple[int, int]]:
        """Yields (cut-outs done, cut-outs in all)."""
        return write_mesh_cutouts(load_mesh_instruments(self.meshes), self.out, count=self.count, seed=self.seed)


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


def run(options: Frames | Stereo | Cutouts | Bag) -> int:
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
