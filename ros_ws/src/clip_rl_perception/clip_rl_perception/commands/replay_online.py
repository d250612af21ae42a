"""What `clip-rl replay --online` adds to `clip-rl replay`: the run through the real node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clip_rl_perception.commands.replay_options import Options
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.replay.online_evaluation import OnlineOptions
from clip_rl_perception.runs.observer import FrameObserver
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.streams import InputOptions

INCOMPLETE = 130
"""Exit status of a run that Ctrl-C or the node's end cut short."""


def replay(
    options: Options,
    what: InputOptions,
    out: Path,
    *,
    command: str,
    observers: Sequence[FrameObserver],
    problems: ProblemLog,
) -> RunRecord:
    """Play `what` to the node as the options of `clip-rl replay` say; errors and Ctrl-C as of `replay_online`."""
    from clip_rl_perception.replay.live import replay_online
    from clip_rl_perception.replay.node_run import NodeRunOptions

    for name, given, instead in (
        ("--classes", options.classes, "the node's classes are changed by its service set_classes"),
        ("--frames", options.frames, "--seconds ends early online"),
        ("--same-frames-as", options.same_frames_as, "it is for offline replay of what an online run processed"),
    ):
        if given is not None:
            raise ClipRlError(f"{name} does not go with --online: {instead}")
    parameters = {
        "use_previous_frame": None if options.previous_frame else "false",
        "novelty_check": None if options.novelty else "false",
        "refine_steps": str(options.refine_steps) if options.refine_steps is not None else None,
        "views": str(options.views) if options.views != 1 else None,
        "threads": str(options.threads) if options.threads is not None else None,
    }
    return replay_online(
        what,
        NodeRunOptions(
            model=options.model,
            engine=options.engine,
            speed=options.node.speed,
            lockstep=options.node.lockstep,
            transport=options.node.transport,
            seconds=options.node.seconds,
            confidence=options.node.confidence,
            parameters={name: value for name, value in parameters.items() if value is not None},
        ),
        OnlineOptions(
            boundary=options.boundary,
            temporal=options.temporal,
            nsd_tau=options.tau,
            command=command,
        ),
        out,
        observers=observers,
        problems=problems,
    )
