"""`clip-rl replay`: run a bag, a video or images through the pipeline, without ROS, and report how well it went.

The node's own pipeline, as fast as frames can be read. Every image topic of a bag is a stream of its own. Ground truth
comes from a labels topic of the bag or from --labels; without it the report tells of times, validity and steadiness.
Writes report.html, report.json, a bag with mask, confidence, instruments and status, and an overlay video into --out.
The same input, model and engine give the same masks to the byte; the report says so by hash.

Exit status: 0; 1 when no frame gave a mask or a requirement fails; 2 when the input cannot be used; 130 after Ctrl-C,
which leaves a report and a bag of what was done.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.checkpoint import open_checkpoint
from clip_rl_perception.options import Option
from clip_rl_perception.progress import Progress
from clip_rl_perception.replay.node_run import OUTPUTS, NodeRunOptions
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.report import requirements
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.report.requirements import Requirement
from clip_rl_perception.runs.observer import FrameObserver
from clip_rl_perception.runs.output_folder import clear_outputs
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.class_mapping import TruthMapping
from clip_rl_perception.sources.input_paths import check_paths
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_perception.threads.priority import hand_over_quickly
from clip_rl_perception.threads.stop_signals import interruptible

BAG, FILES = "perception", ("report.html", "report.json", "overlay.mp4", "overlay-*.mp4")
INTERRUPTED = 130
"""Exit status of an online run that Ctrl-C or the node's end cut short."""
OTHERS = "--classes gives the model other classes, by a label space's name or file"
NODE = "through the real node, over DDS (needs ROS 2)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is replayed, how, and what is told of it."""

    what: InputOptions
    model: ModelOptions
    measured: OfflineOptions
    out: Path = Path("out/replay")
    """Output folder."""
    bag: bool = True
    """Write an output bag; False: write no output bag."""
    video: bool = True
    """Write an overlay video; False: write no overlay video."""
    require: Annotated[tuple[Requirement, ...], Option(metavar="LIST", read=requirements.parse)] = ()
    """For example "miou>=0.7,p99_ms<=80": exit status 1 if not met."""
    online: Annotated[bool, Option(group=NODE)] = False
    """Play the recording to the node at its own rate, and judge."""
    node: Annotated[NodeRunOptions, Option(group=NODE)]
    view: bool = False
    """Show every frame on a live page in a browser (rerun-sdk)."""
    view_port: int = 9090
    """TCP port of the page; the next one carries data."""


def run(options: Options) -> int:
    """Replay; returns the exit status."""
    hand_over_quickly()
    command = shlex.join(["clip-rl", *sys.argv[1:]])
    options = dataclasses.replace(options, measured=dataclasses.replace(options.measured, command=command))
    replay = _online if options.online else _offline
    if not options.view:
        return replay(options, ())
    from clip_rl_perception.viewer.replay_view import ReplayView

    view = ReplayView(port=options.view_port, tell=lambda line: print(line, file=sys.stderr, flush=True))
    try:
        view.wait()
        status = replay(options, [view])
        view.stay()
        return status
    finally:
        view.stop()


def _offline(options: Options, observers: Sequence[FrameObserver]) -> int:
    check_paths(options.what.paths)
    # Imported here: torch takes seconds, and what is wrong with the arguments is said before.
    from clip_rl_perception.replay.offline import OfflineReplay
    from clip_rl_perception.stream import load

    for name in _only_online(options.node):
        raise ClipRlError(f"{name} goes with --online alone: it is of how the node is run")
    out = options.out
    bag, video = out / BAG if options.bag else None, out if options.video else None
    with Progress("replaying") as progress:
        problems = ProblemLog(lambda line: progress.say(f"note: {line}"))
        with load(options.model, log=progress.say) as model:
            book = FrameGallery()
            offline = OfflineReplay(
                options.what,
                model,
                dataclasses.replace(options.measured, bag=bag, video=video),
                observers=[book, *observers],
                problems=problems,
                progress=progress.update,
            )
            mapping = offline.inputs.mapping
            for name in mapping.unanswered if mapping is not None else ():
                problems.add(f"no class of the model answers to '{name}'; it scores 0 wherever it occurs. {OTHERS}")
            if options.require:
                requirements.check_names(options.require, _known_metrics(mapping, model.space))
            _clear(options)
            with interruptible(offline.stop) as interrupted:
                record = offline.run()
    summary = _written(options, record, book, problems, videos=list(offline.video_files.values()))
    if interrupted:
        print(
            f"clip-rl replay: interrupted after {len(record.frames)} frames; the report tells of them", file=sys.stderr
        )
        return 128 + interrupted[0]
    return _status(options.require, summary)


def _online(options: Options, observers: Sequence[FrameObserver]) -> int:
    check_paths(options.what.paths)
    from clip_rl_perception.replay.live import replay_online

    measured, usual = options.measured, OfflineOptions()
    for name, given, instead in (
        ("--classes", options.model.classes, "the node's classes are changed by its service set_classes"),
        ("--types", options.model.types or None, "the node's types are changed by its service set_types"),
        ("--device", options.model.device, "the node's engine says where it runs: --engine cuda"),
        ("--frames", measured.max_frames, "--seconds ends early online"),
        ("--same-frames-as", measured.only_stamps, "it is for offline replay of what an online run processed"),
        *(
            (_option(name), True, "space is judged offline")
            for name in ("true_tags", "shaft_mm", "calibration_px", "keypoint_confidence")
            if getattr(measured, name) != getattr(usual, name)
        ),
    ):
        if given is not None:
            raise ClipRlError(f"{name} does not go with --online: {instead}")
    if options.require:  # a misspelt name is told before anything is played
        space = open_checkpoint(options.model.model).label_space
        known = _known_metrics(open_inputs(options.what, space).mapping, space)
        requirements.check_names(options.require, known)
    problems, book = ProblemLog(lambda line: print(f"note: {line}", file=sys.stderr)), FrameGallery()
    record = replay_online(
        options.what,
        options.model,
        options.node,
        measured,
        options.out,
        begin=lambda: _clear(options, *OUTPUTS),
        observers=[book, *observers],
        problems=problems,
    )
    summary = _written(options, record, book, problems)
    if not record.complete:
        print("clip-rl replay: not played to its end; the report tells of what came back", file=sys.stderr)
        return INTERRUPTED
    return _status(options.require, summary)


def _written(
    options: Options, record: RunRecord, book: FrameGallery, problems: ProblemLog, *, videos: Sequence[Path] = ()
) -> dict[str, Any]:
    """Write the report and print the main numbers; returns what report.json holds but its frames."""
    summary = write_report(record, options.out, book, videos=videos)
    print(reports.verdict(summary))
    if record.output_sha256:
        print(f"  masks     SHA-256 {record.output_sha256}")
    print(f"  model     {record.model_id} on {record.engine}")
    if problems.untold():
        print(f"  note      {problems.untold()} more lines like the notes above are in the report")
    place = options.out / "report.html"
    print(f"  report    {place}: {summary['masks_received']} of {summary['frames_sent']} frames")
    return summary


def _status(required: Sequence[Requirement], summary: dict[str, Any]) -> int:
    """Exit status of a run that was not interrupted; prints how the requirements fared."""
    verdicts = requirements.check(required, summary) if required else ()
    for verdict in verdicts:
        print(f"  {verdict}")
    if not summary["masks_received"]:
        print("clip-rl replay: no frame gave a mask", file=sys.stderr)
        return 1
    return int(not all(verdict.holds for verdict in verdicts))


def _known_metrics(mapping: TruthMapping | None, space: LabelSpace) -> list[str]:
    """What can be required of this run; asked before it begins, so that a misspelt name costs nothing."""
    evaluated = mapping.names if mapping is not None else space.names
    return list(
        requirements.values_of(reports.summary(RunRecord("offline", "", "", {}, None, None, (), None, evaluated)))
    )


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _only_online(node: NodeRunOptions) -> list[str]:
    """Options given that an offline replay knows nothing of."""
    usual = NodeRunOptions()
    return [
        _option(field.name)
        for field in dataclasses.fields(NodeRunOptions)
        if getattr(node, field.name) != getattr(usual, field.name)
    ]


def _clear(options: Options, *further: str) -> None:
    """Remove what an earlier replay left."""
    read = [*options.what.paths, *filter(None, [options.what.labels])]
    clear_outputs(options.out, *FILES, BAG, *further, read=read)
