"""`clip-rl demo`: play a video, a folder, a bag or a synthetic operation through the node, and report what came back.

Frames travel over DDS into the perception node, a process of its own, stamped when they are published; masks, tags and
status come back to another process. Writes overlay.mp4, report.html and report.json into the output folder.

Exit status: 0 when masks came back, 1 when none did or the node ended, 2 when the input or the set-up cannot be used.
CLIP_RL_DOMAIN_ID fixes the ROS domain; without it a free one is taken.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import signal
import sys
from pathlib import Path
from typing import NoReturn

from clip_rl_perception.cli_types import positive_number, width_by_height
from clip_rl_perception.demo.demo_run import DemoOptions, run_demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl demo`."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--video", type=Path, help="video file or folder of images to play")
    source.add_argument("--bag", type=Path, help="rosbag2 to play; a labels topic in it gives accuracy")
    parser.add_argument("--topic", help="image topic of the bag (default: the one with most images)")
    parser.add_argument("--transport", choices=("raw", "compressed"), default="raw", help="how images travel")
    parser.add_argument("--seconds", type=positive_number, help="play only so much (synthetic operation: 10)")
    parser.add_argument(
        "--rate", type=positive_number, help="frames per second (default: the source's; folder, synthetic: 25)"
    )
    parser.add_argument("--model", default="demo", help="checkpoint: shipped name or path (default: demo)")
    parser.add_argument("--engine", default="auto", help="auto, torch or an engine directory (default: auto)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="output folder (default: out/demo)")
    parser.add_argument(
        "--size", type=width_by_height, default=(1280, 1024), help="synthetic operation: WIDTHxHEIGHT, px"
    )
    parser.add_argument("--seed", type=int, default=0, help="synthetic operation: which one")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns the exit status."""
    signal.signal(signal.SIGTERM, _terminated)
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(DemoOptions)}
    return run_demo(DemoOptions(**given), shlex.join(["clip-rl", *sys.argv[1:]]))


def _terminated(number: int, frame: object) -> NoReturn:
    # As an exception, so that children are ended on the way out.
    sys.exit(128 + number)
