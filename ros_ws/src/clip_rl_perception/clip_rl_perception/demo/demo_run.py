"""The demo: a video, a folder, a bag or a synthetic operation through the node, and a report of what came back."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.cli_types import CheckpointName, PositiveNumber, WidthByHeight
from clip_rl_perception.demo.demo_engine import can_compile, compile_network
from clip_rl_perception.demo.demo_scene import SyntheticOperation, render
from clip_rl_perception.options import Option
from clip_rl_perception.progress import Stage
from clip_rl_perception.replay.live import plain_looks
from clip_rl_perception.replay.node_run import FRAMES, OUTPUTS, RECORDING, NodeRunOptions, Transport, run_node
from clip_rl_perception.replay.online_evaluation import OnlineEvaluation
from clip_rl_perception.replay.recording import Recording, read_published
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.replay.replay_outputs import OverlayVideos
from clip_rl_perception.replay.ros_environment import require_ros
from clip_rl_perception.replay.run_builder import key_of
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.report.pages import templates
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.runs.output_folder import clear_outputs
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import FrameSource, SourceError
from clip_rl_perception.sources.media_source import open_source
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.stream_options import ModelOptions

REPORT = ("overlay.mp4", "report.html", "report.json")


@dataclasses.dataclass(frozen=True)
class DemoOptions:
    """What is played, through which node, and where the result goes; without video and bag a synthetic operation."""

    video: Annotated[Path | None, Option(one_of="source")] = None
    """Video file or folder of images to play."""
    bag: Annotated[Path | None, Option(one_of="source")] = None
    """rosbag2 to play; a labels topic in it gives accuracy."""
    topic: str | None = None
    """Image topic of the bag; None: the one with most images."""
    transport: Transport = "raw"
    """How images travel."""
    seconds: PositiveNumber | None = None
    """Play only so much (synthetic operation: 10)."""
    rate: PositiveNumber | None = None
    """Frames per second; None: the source's; folder, synthetic: 25."""
    model: CheckpointName = "demo"
    """Checkpoint: shipped name, path, or the folder of a training run."""
    engine: str = "auto"
    """auto, torch or an engine directory."""
    out: Path = Path("out/demo")
    """Output folder."""
    size: Annotated[WidthByHeight, Option(help="synthetic operation: WIDTHxHEIGHT, px")] = (1280, 1024)
    """Synthetic operation: WIDTHxHEIGHT, px."""
    seed: int = 4
    """Synthetic operation: which one."""


def run_demo(options: DemoOptions, command: str) -> int:
    """Play, judge, write overlay.mp4, report.html and report.json; returns the exit status.

    Args:
        options: what to play.
        command: command line, for the report.

    Raises:
        ClipRlError: input, model or set-up cannot be used.
    """
    if options.video or options.bag:
        _open(options)  # what is wrong with the input is said before anything else happens
    require_ros()
    out = options.out
    clear_outputs(out, *REPORT, *OUTPUTS, read=filter(None, (options.video, options.bag)))
    compiled, rendered = can_compile(options.engine), not (options.video or options.bag)
    stages = 4 + rendered + compiled
    if rendered:
        operation = SyntheticOperation(options.size, options.rate or 25.0, options.seconds or 10.0, options.seed)
        with Stage(1, stages, f"rendering a synthetic operation, {operation}") as stage:
            bag = render(operation, out, stage)
        options = dataclasses.replace(options, bag=bag, rate=None, seconds=None)
    if compiled:
        with Stage(stages - 4, stages, "compiling the network for this machine") as stage:
            compile_network(options.model, stage)
    info, problems = _open(options).info, ProblemLog()
    what = InputOptions((info.path,), topics=(info.topic,) if info.topic else (), rate_hz=options.rate)
    model = ModelOptions(options.model, options.engine)
    node = NodeRunOptions(seconds=options.seconds, transport=options.transport)
    played = run_node(what, model, node, out, problems, first_stage=stages - 3, stages=stages)
    summary = _report(what, options, problems, command, stages)
    print(text_summary(summary, out))
    if not summary["masks_received"]:
        print("clip-rl demo: no mask came back", file=sys.stderr)
    return 0 if played and summary["masks_received"] else 1


def _open(options: DemoOptions) -> FrameSource:
    if options.bag is None:
        assert options.video is not None
        return open_source(options.video, rate_hz=options.rate, topic=options.topic)
    if not options.bag.exists():
        raise SourceError(f"{options.bag}: no such bag")
    return BagSource(options.bag, rate_hz=options.rate, topic=options.topic)


def _report(
    what: InputOptions, options: DemoOptions, problems: ProblemLog, command: str, stages: int
) -> dict[str, Any]:
    """Draw, measure and write everything; returns what report.json holds but its frames."""
    out, book = options.out, FrameGallery()
    recording, published = Recording(out / RECORDING), read_published(out / FRAMES)
    asked = {"model": options.model, "engine": options.engine, "transport": options.transport}
    model, judged = ModelOptions(options.model, options.engine), RunOptions(command=command, against_plain=True)
    truth = _open(options).info.label_space is not None
    with (
        Stage(stages - 1, stages, "drawing the overlay video") as stage,
        plain_looks(model, asked=truth) as plain,
    ):
        evaluation = OnlineEvaluation(
            recording, published, what, judged, problems=problems, plain=plain, progress=stage.update
        )
        rates = {key_of(evaluation.stream): evaluation.stream.source.info.rate_hz}
        width = max(2, evaluation.stream.source.info.size[1])
        video = OverlayVideos(out, rates, width=width, frames=len(published))
        run = evaluation.run([book, video], mode="demo", parameters=asked, transport=options.transport)
        if video.frames:
            stage.result(f"{video.frames} frames, {video.codec}")
    with Stage(stages, stages, "writing the report"):
        return write_report(run, out, book, videos=list(video.files.values()))


def text_summary(summary: dict[str, Any], out: Path) -> str:
    """The last lines on the terminal."""
    template = templates(Path(__file__).with_name("templates"), escape=False).get_template("summary.txt.j2")
    files = [out / name for name in REPORT if (out / name).exists()]
    return template.render(summary, verdict=reports.verdict(summary), files=files).removesuffix("\n")
