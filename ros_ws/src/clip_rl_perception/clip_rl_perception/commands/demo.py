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
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from clip_rl_perception.cli_types import positive_number, width_by_height
from clip_rl_perception.demo.demo_engine import can_compile, compile_network
from clip_rl_perception.demo.demo_scene import SyntheticOperation, render
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.replay.node_run import SessionOptions, SessionResult, run_session
from clip_rl_perception.replay.online_evaluation import OnlineEvaluation, OnlineOptions
from clip_rl_perception.replay.progress import Stage
from clip_rl_perception.replay.recording import Recording, read_published
from clip_rl_perception.replay.replay_outputs import OverlayObserver
from clip_rl_perception.replay.ros_environment import require_ros
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.sources.frames import FrameSource, SourceError
from clip_rl_perception.sources.media_source import open_source
from clip_rl_perception.sources.streams import InputOptions, open_inputs

OUTPUTS = ("overlay.mp4", "report.html", "report.json", "frames.jsonl")


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
    given = arguments.video or arguments.bag
    if given is not None:
        _open(arguments, given)  # what is wrong with the input is said before anything else happens
    require_ros()
    out: Path = arguments.out
    _clear(out)
    compiled = can_compile(arguments.engine)
    stages = 4 + (given is None) + compiled
    if given is None:
        operation = SyntheticOperation(
            arguments.size, arguments.rate or 25.0, arguments.seconds or 10.0, arguments.seed
        )
        with Stage(1, stages, f"rendering a synthetic operation, {operation}") as stage:
            given = render(operation, out, stage)
        arguments.bag, arguments.rate, arguments.seconds = given, None, None
    if compiled:
        with Stage(stages - 4, stages, "compiling the network for this machine") as stage:
            compile_network(arguments.model, stage)
    options = SessionOptions(
        source=given,
        transport=arguments.transport,
        model=arguments.model,
        engine=arguments.engine,
        topic=arguments.topic,
        rate_hz=arguments.rate,
        seconds=arguments.seconds,
    )
    result = run_session(options, out, first_stage=stages - 3, stages=stages)
    source = _open(arguments, given)
    summary = _report(source, result, options, out, stages)
    print(text_summary(summary, out))
    if not summary["masks_received"]:
        print("clip-rl demo: no mask came back", file=sys.stderr)
        return 1
    return 1 if result.node_ended else 0


def _open(arguments: argparse.Namespace, path: Path) -> FrameSource:
    if arguments.bag is not None:
        from clip_rl_perception.sources.bag_source import BagSource

        if not path.exists():
            raise SourceError(f"{path}: no such bag")
        return BagSource(path, rate_hz=arguments.rate, topic=arguments.topic)
    return open_source(path, rate_hz=arguments.rate, topic=arguments.topic)


def _report(
    source: FrameSource, result: SessionResult, options: SessionOptions, out: Path, stages: int
) -> dict[str, Any]:
    """Draw, measure and write everything; returns what report.json holds but its frames."""
    recording, published = Recording(result.recording), read_published(result.stamps)
    space = recording.label_space
    topics = (source.info.topic,) if source.info.topic else ()
    input_options = InputOptions((source.info.path,), topics=topics, rate_hz=options.rate_hz)
    # Without a class list there are no masks either, and nothing speaks of classes.
    inputs = open_inputs(input_options, space or load_label_space("binary"))
    problems = ProblemLog()
    for line in result.problems:
        problems.add(line)
    book = FrameGallery()
    video = OverlayObserver(out / "overlay.mp4", source.info.rate_hz, width=max(2, source.info.size[1]))
    with Stage(stages - 1, stages, "drawing the overlay video") as stage:
        evaluation = OnlineEvaluation(
            recording,
            published,
            inputs,
            space or load_label_space("binary"),
            OnlineOptions(
                title="CLIP-RL demo",
                transport=options.transport,
                parameters={"model": options.model, "engine": options.engine, "transport": options.transport},
                command=shlex.join(["clip-rl", *sys.argv[1:]]),
            ),
            observers=[book, video],
            problems=problems,
            progress=lambda done, total: stage.update(done, total or done),
        )
        run = evaluation.run(source.sha256(), inputs.describe(input_options))
        video.fill(len(run.frames))
        codec = video.finish()
        if video.frames:
            stage.result(f"{video.frames} frames, {codec}")
    with Stage(stages, stages, "writing the report"):
        run = dataclasses.replace(run, mode="demo", label_space=space)
        return write_report(run, out, book, videos=[out / "overlay.mp4"] if video.frames else []).summary


def text_summary(summary: dict[str, Any], out: Path) -> str:
    """The last lines on the terminal."""
    times, drops = summary["latency_ms"], summary["drops"]
    lines = ["", reports.verdict(summary), ""]
    if summary["masks_received"]:
        stages = {name: values["p50"] for name, values in summary["stage_ms"].items() if values["p50"] is not None}
        rows = {
            "latency": "   ".join(f"{name} {value:.1f}" for name, value in times.items()) + "   ms, publishing to mask",
            "stages": "   ".join(f"{name} {value:.1f}" for name, value in stages.items()) + "   ms, median",
            "validity": ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in summary["validity"].items()),
            "model": f"{summary['model_id']} on {summary['engine']}",
        }
        lines += [f"  {name:9} {text}" for name, text in rows.items()]
    if summary["dropped"]:
        parts = {
            "replaced by newer frames": drops["replaced_by_newer"],
            "rejected": drops["invalid"],
            "lost on the way": drops["lost"],
        }
        lines.append(f"  dropped   {', '.join(f'{count} {name}' for name, count in parts.items() if count)}")
    lines += [f"  note      {problem}" for problem in summary["problems"][:5]]
    lines += [
        "",
        *(f"  {out / name}" for name in ("overlay.mp4", "report.html", "report.json") if (out / name).exists()),
    ]
    return "\n".join(lines)


def _clear(out: Path) -> None:
    """Remove what an earlier run left, so that nothing old can pass for this run's result."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:
            (out / name).unlink(missing_ok=True)
        for name in ("recording", "logs"):
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        raise ClipRlError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error


def _terminated(number: int, frame: object) -> NoReturn:
    # As an exception, so that children are ended on the way out.
    sys.exit(128 + number)
