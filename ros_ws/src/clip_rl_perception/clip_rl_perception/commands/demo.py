"""`clip-rl demo`: play a video, a folder, a bag or a synthetic operation through the node, and report what came back.

Frames travel over DDS into the perception node, a process of its own, stamped when they are published; masks, tags and
status come back to another process. Writes overlay.mp4, report.html and report.json into the output folder.

Exit status: 0 when masks came back, 1 when none did or the node ended, 2 when the input or the set-up cannot be used.
CLIP_RL_DOMAIN_ID fixes the ROS domain; without it a free one is taken.
"""

from __future__ import annotations

import shlex
import signal
import sys
from typing import NoReturn

from clip_rl_perception.demo.demo_run import DemoOptions, run_demo


def run(options: DemoOptions) -> int:
    """Run the demo; returns the exit status."""
    signal.signal(signal.SIGTERM, _terminated)
    return run_demo(options, shlex.join(["clip-rl", *sys.argv[1:]]))


def _terminated(number: int, frame: object) -> NoReturn:
    # As an exception, so that children are ended on the way out.
    sys.exit(128 + number)
