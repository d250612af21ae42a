"""What `clip-rl replay --online` adds to `clip-rl replay`: its options, and the run through the real node."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from clip_rl_perception.cli_types import positive_number
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.replay.online_evaluation import OnlineOptions
from clip_rl_perception.runs.observer import FrameObserver
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.streams import InputOptions

INCOMPLETE = 130
"""Exit status of a run that Ctrl-C or the node's end cut short."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("through the real node, over DDS (needs ROS 2)")
    group.add_argument(
        "--online", action="store_true", help="play the recording to the node at its own rate, and judge"
    )
    group.add_argument("--speed", type=positive_number, default=1.0, help="times the recording's own rate (default: 1)")
    group.add_argument("--lockstep", action="store_true", help="send a frame when the node has answered the one before")
    group.add_argument("--seconds", type=positive_number, help="play only so much of the recording")
    group.add_argument("--transport", choices=("raw", "compressed"), help="of videos and folders (default: raw)")
    group.add_argument("--confidence", action="store_true", help="judge the confidence too; the node then computes it")


def replay(
    arguments: argparse.Namespace,
    what: InputOptions,
    out: Path,
    *,
    command: str,
    observers: Sequence[FrameObserver],
    problems: ProblemLog,
) -> RunRecord:
    """Play `what` to the node as the arguments of `clip-rl replay` say; errors and Ctrl-C as of `replay_online`."""
    from clip_rl_perception.replay.live import replay_online
    from clip_rl_perception.replay.node_run import NodeRunOptions

    for name, given, instead in (
        ("--classes", arguments.classes, "the node's classes are changed by its service set_classes"),
        ("--frames", arguments.frames, "--seconds ends early online"),
        ("--same-frames-as", arguments.same_frames_as, "it is for offline replay of what an online run processed"),
    ):
        if given is not None:
            raise ClipRlError(f"{name} does not go with --online: {instead}")
    parameters = {
        "use_previous_frame": "false" if arguments.no_previous_frame else None,
        "novelty_check": "false" if arguments.no_novelty else None,
        "refine_steps": str(arguments.refine_steps) if arguments.refine_steps is not None else None,
        "views": str(arguments.views) if arguments.views != 1 else None,
        "threads": str(arguments.threads) if arguments.threads is not None else None,
    }
    return replay_online(
        what,
        NodeRunOptions(
            model=arguments.model,
            engine=arguments.engine,
            speed=arguments.speed,
            lockstep=arguments.lockstep,
            transport=arguments.transport,
            seconds=arguments.seconds,
            confidence=arguments.confidence,
            parameters={name: value for name, value in parameters.items() if value is not None},
        ),
        OnlineOptions(
            boundary=not arguments.no_boundary,
            temporal=not arguments.no_temporal,
            nsd_tau=arguments.tau,
            command=command,
        ),
        out,
        observers=observers,
        problems=problems,
    )
