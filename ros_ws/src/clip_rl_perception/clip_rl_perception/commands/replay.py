"""`clip-rl replay`: run a bag, a video or images through the pipeline, without ROS, and report how well it went.

The node's own pipeline, as fast as frames can be read. Every image topic of a bag is a stream of its own. Ground truth
comes from a labels topic of the bag or from --labels; without it the report tells of times, validity and steadiness.
Writes report.html, report.json, a bag with mask, confidence, instruments and status, and an overlay video into --out.
The same input, model and engine give the same masks to the byte; the report says so by hash.

Exit status: 0; 1 when no frame gave a mask or a requirement fails; 2 when the input cannot be used; 130 after Ctrl-C,
which leaves a report and a bag of what was done.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from clip_rl_perception.cli_types import positive_number
from clip_rl_perception.commands import replay_online
from clip_rl_perception.engine.tta import VIEWS
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.replay.node_run import OUTPUTS
from clip_rl_perception.replay.replay_outputs import clear_outputs
from clip_rl_perception.report import requirements
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.runs.observer import FrameObserver
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.class_mapping import TruthMapping
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.sources.truth_label_map import load_label_map
from clip_rl_perception.threads.priority import hand_over_quickly

BAG, FILES = "perception", ("report.html", "report.json", "overlay*.mp4")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl replay`."""
    parser.add_argument("input", type=Path, nargs="+", help="rosbag2, video or folder of images; each is a sequence")
    parser.add_argument("--topic", action="append", default=[], help="image topic of the bag; may be given again (all)")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="folder of ground-truth masks")
    parser.add_argument("--label-topic", help="topic of ground truth in the bag (default: labels beside the images)")
    parser.add_argument(
        "--label-map", type=Path, metavar="YAML", help="how truth is stored and merged, as clip-rl eval"
    )
    parser.add_argument("--no-truth", action="store_true", help="leave labels in the bag alone")
    parser.add_argument(
        "--rate", type=positive_number, help="frames per second of videos and folders (default: their own)"
    )
    parser.add_argument("--model", default="demo", help="checkpoint: shipped name or path (default: demo)")
    parser.add_argument("--engine", default="auto", help="auto, torch or an engine directory (default: auto)")
    parser.add_argument("--classes", metavar="SPACE", help="label space whose prompts replace the model's classes")
    parser.add_argument("--threads", type=int, help="CPU threads of the engine (default: its own choice)")
    parser.add_argument("--refine-steps", type=int, help="most refinement steps per frame (default: the model's)")
    parser.add_argument(
        "--views", type=int, choices=VIEWS, default=1, help="average over this many mirror images (default: 1)"
    )
    parser.add_argument("--no-previous-frame", action="store_true", help="the refiner recalls no previous result")
    parser.add_argument("--no-novelty", action="store_true", help="never call a frame out of distribution")
    parser.add_argument("--frames", type=int, metavar="N", help="end after N frames")
    parser.add_argument("--tau", type=float, default=10.0, help="tolerance of the NSD, px (default: 10)")
    parser.add_argument("--no-boundary", action="store_true", help="measure no NSD and HD95")
    parser.add_argument("--no-temporal", action="store_true", help="measure no consistency from frame to frame")
    parser.add_argument("--out", type=Path, default=Path("out/replay"), help="output folder (default: out/replay)")
    parser.add_argument("--no-bag", action="store_true", help="write no output bag")
    parser.add_argument("--no-video", action="store_true", help="write no overlay video")
    parser.add_argument(
        "--require", metavar="LIST", help='for example "miou>=0.7,p99_ms<=80": exit status 1 if not met'
    )
    parser.add_argument(
        "--same-frames-as",
        type=Path,
        metavar="JSON",
        help="only frames that gave a mask in that report, by their stamp",
    )
    replay_online.add_arguments(parser)
    parser.add_argument("--view", action="store_true", help="show every frame on a live page in a browser (rerun-sdk)")
    parser.add_argument("--view-port", type=int, default=9090, help="TCP port of the page; the next one carries data")


def run(arguments: argparse.Namespace) -> int:
    """Replay; returns the exit status."""
    hand_over_quickly()
    if not arguments.view:
        return replay(arguments)
    from clip_rl_perception.viewer.replay_view import ReplayView

    _check(arguments)
    view = ReplayView(port=arguments.view_port, tell=lambda line: print(line, file=sys.stderr, flush=True))
    try:
        view.wait()
        status = replay(arguments, [view])
        view.stay()
        return status
    finally:
        view.stop()


def replay(arguments: argparse.Namespace, observers: Sequence[FrameObserver] = ()) -> int:
    """Replay as the arguments say, shown to further observers too; returns the exit status."""
    required = requirements.parse(arguments.require) if arguments.require else ()
    _check(arguments)
    label_map = load_label_map(arguments.label_map) if arguments.label_map else None
    options = InputOptions(
        paths=tuple(arguments.input),
        topics=tuple(arguments.topic),
        rate_hz=arguments.rate,
        labels=arguments.labels,
        label_topic=arguments.label_topic,
        label_map=label_map,
        use_truth=not arguments.no_truth,
    )
    for path in options.paths:
        if not path.exists():
            raise ClipRlError(f"{path}: no such file or folder; expected a rosbag2, a video or a folder of images")
    if arguments.online:
        return _online(arguments, options, required, observers)
    # Imported here: torch takes seconds, and what is wrong with the arguments is said before.
    from clip_rl_perception.replay.offline import OfflineOptions, OfflineReplay
    from clip_rl_perception.stream import ModelOptions, load

    out: Path = arguments.out
    _clear(out)
    model_options = ModelOptions(
        model=arguments.model,
        engine=arguments.engine,
        classes=arguments.classes,
        threads=arguments.threads,
        refine_steps=arguments.refine_steps,
        views=arguments.views,
        use_previous_frame=not arguments.no_previous_frame,
        novelty_check=not arguments.no_novelty,
    )
    progress = Progress()
    problems = ProblemLog(lambda line: progress.say(f"note: {line}"))
    with load(model_options, log=progress.say) as model:
        book = FrameGallery()
        offline = OfflineReplay(
            options,
            model,
            OfflineOptions(
                bag=None if arguments.no_bag else out / BAG,
                video=None if arguments.no_video else out,
                boundary=not arguments.no_boundary,
                temporal=not arguments.no_temporal,
                nsd_tau=arguments.tau,
                max_frames=arguments.frames,
                only_stamps=_stamps(arguments.same_frames_as),
                command=shlex.join(["clip-rl", *sys.argv[1:]]),
            ),
            observers=[book, *observers],
            problems=problems,
            progress=progress.update,
        )
        mapping = offline.inputs.mapping
        for name in mapping.unanswered if mapping is not None else ():
            problems.add(f"no class of the model answers to '{name}'; it scores 0 wherever it occurs")
        if required:
            requirements.check_names(required, _known_metrics(mapping, model.space))
        with _interruptible(offline.stop) as interrupted:
            record = offline.run()
        progress.end()
    written = write_report(record, out, book, videos=list(offline.video_files.values()))
    _summarise(written.summary, record, out, problems)
    if interrupted:
        print(
            f"clip-rl replay: interrupted after {len(record.frames)} frames; the report tells of them", file=sys.stderr
        )
        return 128 + interrupted[0]
    return _status(required, written.summary)


def _online(
    arguments: argparse.Namespace,
    options: InputOptions,
    required: Sequence[requirements.Requirement],
    observers: Sequence[FrameObserver],
) -> int:
    out: Path = arguments.out
    _clear(out, *OUTPUTS)
    problems, book = ProblemLog(lambda line: print(f"note: {line}", file=sys.stderr)), FrameGallery()
    command = shlex.join(["clip-rl", *sys.argv[1:]])
    record = replay_online.replay(
        arguments, options, out, command=command, observers=[book, *observers], problems=problems
    )
    written = write_report(record, out, book)
    _summarise(written.summary, record, out, problems)
    if not record.complete:
        print("clip-rl replay: not played to its end; the report tells of what came back", file=sys.stderr)
        return replay_online.INCOMPLETE
    return _status(required, written.summary)


class Progress:
    """One line that is rewritten on a terminal, and a line now and then elsewhere."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._told = 0.0
        self._open = False
        self._terminal = sys.stderr.isatty()

    def say(self, line: str) -> None:
        """Print a line above the progress."""
        self.end()
        print(line, file=sys.stderr, flush=True)

    def update(self, done: int, total: int | None) -> None:
        """Show frames done, in all, and the rate."""
        now = time.monotonic()
        if done == 1:
            self._started = now
        if now - self._told < (0.2 if self._terminal else 10.0):
            return
        self._told = now
        rate = (done - 1) / (now - self._started) if done > 1 else 0.0
        left = f", {(total - done) / rate:.0f} s left" if total and rate > 0 else ""
        text = f"{done}{f' of {total}' if total else ''} frames, {rate:.1f} a second{left}"
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._open:
            print(file=sys.stderr)
            self._open = False


@contextlib.contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[list[int]]:
    """The first Ctrl-C (or SIGTERM) ends the replay after the frame in hand, a second one at once.

    Yields a list that holds the signal's number once it came.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        stop()

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summarise(summary: dict[str, object], record: RunRecord, out: Path, problems: ProblemLog) -> None:
    print(reports.verdict(summary))
    if record.output_sha256:
        print(f"  masks     SHA-256 {record.output_sha256}")
    print(f"  model     {record.model_id} on {record.engine}")
    if problems.untold():
        print(f"  note      {problems.untold()} more lines like the notes above are in the report")
    print(f"  report    {out / 'report.html'}")


def _status(required: Sequence[requirements.Requirement], summary: dict[str, object]) -> int:
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


def _stamps(path: Path | None) -> frozenset[int] | None:
    if path is None:
        return None
    from clip_rl_perception.runs.record_json import read_run

    return frozenset(frame.stamp_ns for frame in read_run(path).frames if frame.kind == "mask")


def _clear(out: Path, *further: str) -> None:
    """Remove what an earlier replay left; of a folder called as our bag only one that is a bag."""
    bag = [BAG] if (out / BAG / "metadata.yaml").is_file() else []
    clear_outputs(out, *FILES, *bag, *further)


def _check(arguments: argparse.Namespace) -> None:
    for value, least, name in (
        (arguments.frames, 1, "--frames"),
        (arguments.threads, 1, "--threads"),
        (arguments.refine_steps, 0, "--refine-steps"),
        (arguments.tau, 0, "--tau"),
    ):
        if value is not None and not value >= least:
            raise ClipRlError(f"{name} is {value}; expected {least} or more")
