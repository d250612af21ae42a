"""`clip-rl replay`: run a bag, a video or images through the pipeline, without ROS, and report how well it went.

The node's own pipeline, as fast as frames can be read. Every image topic of a bag is a stream of its own. Ground truth
comes from a labels topic of the bag or from --labels; without it the report tells of times, validity and steadiness.
Writes report.html, report.json, a bag with mask, confidence, instruments and status, and an overlay video into --out.
The same input, model and engine give the same masks to the byte; the report says so by hash.

Exit status: 0; 1 when no frame gave a mask or a requirement fails; 2 when the input cannot be used; 130 after Ctrl-C,
which leaves a report and a bag of what was done.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from clip_rl_perception.commands import replay_online
from clip_rl_perception.commands.replay_options import Options
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


def run(options: Options) -> int:
    """Replay; returns the exit status."""
    hand_over_quickly()
    if not options.view:
        return replay(options)
    from clip_rl_perception.viewer.replay_view import ReplayView

    _check(options)
    view = ReplayView(port=options.view_port, tell=lambda line: print(line, file=sys.stderr, flush=True))
    try:
        view.wait()
        status = replay(options, [view])
        view.stay()
        return status
    finally:
        view.stop()


def replay(options: Options, observers: Sequence[FrameObserver] = ()) -> int:
    """Replay as the options say, shown to further observers too; returns the exit status."""
    required = requirements.parse(options.require) if options.require else ()
    _check(options)
    label_map = load_label_map(options.label_map) if options.label_map else None
    what = InputOptions(
        paths=options.input,
        topics=options.topic,
        rate_hz=options.rate,
        labels=options.labels,
        label_topic=options.label_topic,
        label_map=label_map,
        use_truth=options.truth,
    )
    for path in what.paths:
        if not path.exists():
            raise ClipRlError(f"{path}: no such file or folder; expected a rosbag2, a video or a folder of images")
    if options.node.online:
        return _online(options, what, required, observers)
    # Imported here: torch takes seconds, and what is wrong with the arguments is said before.
    from clip_rl_perception.replay.offline import OfflineOptions, OfflineReplay
    from clip_rl_perception.stream import ModelOptions, load

    out = options.out
    _clear(out)
    model_options = ModelOptions(
        model=options.model,
        engine=options.engine,
        classes=options.classes,
        threads=options.threads,
        refine_steps=options.refine_steps,
        views=options.views,
        use_previous_frame=options.previous_frame,
        novelty_check=options.novelty,
    )
    progress = Progress()
    problems = ProblemLog(lambda line: progress.say(f"note: {line}"))
    with load(model_options, log=progress.say) as model:
        book = FrameGallery()
        offline = OfflineReplay(
            what,
            model,
            OfflineOptions(
                bag=out / BAG if options.bag else None,
                video=out if options.video else None,
                boundary=options.boundary,
                temporal=options.temporal,
                nsd_tau=options.tau,
                max_frames=options.frames,
                only_stamps=_stamps(options.same_frames_as),
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
    options: Options,
    what: InputOptions,
    required: Sequence[requirements.Requirement],
    observers: Sequence[FrameObserver],
) -> int:
    out = options.out
    _clear(out, *OUTPUTS)
    problems, book = ProblemLog(lambda line: print(f"note: {line}", file=sys.stderr)), FrameGallery()
    command = shlex.join(["clip-rl", *sys.argv[1:]])
    record = replay_online.replay(options, what, out, command=command, observers=[book, *observers], problems=problems)
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


def _check(options: Options) -> None:
    for value, least, name in (
        (options.frames, 1, "--frames"),
        (options.threads, 1, "--threads"),
        (options.refine_steps, 0, "--refine-steps"),
        (options.tau, 0, "--tau"),
    ):
        if value is not None and not value >= least:
            raise ClipRlError(f"{name} is {value}; expected {least} or more")
