"""Judges a perception node while a recording is played to it: masks against truth by stamp, latencies, drops.

It only notes what arrives and when; measuring begins when playing is over, so that it takes little from the node.
Playing is over when nobody publishes the image any more, or on SIGINT or SIGTERM. Then report.html and report.json
are written.

Frames and truth come from the bag that is played (`--bag`), wherever it is played from; without it the image and labels
topics are recorded and judged instead:

    ros2 bag play operation --clock
    ros2 run clip_rl_perception evaluator_node out/replay --bag operation --ros-args -r image:=/endoscope/image_raw

Latency is wall time from publishing to the arrival of the mask here. When a frame was published is read from the
player's table (`--stamps`); with another player it is when the image arrives here, on the same machine.

Exit status: 0 when a report was written with masks in it, 1 without masks, 2 when there is nothing to judge.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from rclpy.utilities import remove_ros_args

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.harness import events
from clip_rl_perception.harness.recorder_node import RecorderNode
from clip_rl_perception.pictures.stereo_frames import EYES, LAYOUTS
from clip_rl_perception.replay.online_evaluation import OnlineEvaluation
from clip_rl_perception.replay.recording import Published, Recording, read_published
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.ros.spin import living
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.sources.truth_label_map import load_label_map

QUIET_S = 2.0
"""Playing is over when nobody has published the image for so long and nothing more came back, s."""


def listen(node: RecorderNode, stop: threading.Event) -> bool:
    """Until playing is over; False when `stop` was set before, or the disk failed."""
    played, latest, since = False, -1, time.monotonic()
    for now in node.listen(stop.is_set):
        count, playing = sum(node.counts.values()), node.image_publishers() > 0
        played |= playing
        if playing or count != latest:
            latest, since = count, now
        if played and now - since > QUIET_S:
            return True
    return False


def judged(arguments: argparse.Namespace) -> InputOptions:
    """What was played, or heard, with its truth."""
    # As to the node, of pictures that hold one eye it says nothing which eye is named.
    eye = arguments.eye if arguments.stereo_layout != "single" else EYES[0]
    return InputOptions(
        (arguments.bag or arguments.out / "input",),
        topics=(arguments.topic,) if arguments.topic else (),
        labels=arguments.labels,
        label_map=load_label_map(arguments.label_map) if arguments.label_map is not None else None,
        stereo_layout=arguments.stereo_layout,
        eye=eye,
    )


def check(
    arguments: argparse.Namespace, arrivals: list[Published], problems: ProblemLog, *, complete: bool, wall_s: float
) -> RunRecord:
    """Measure and write the report; raises `ClipRlError` when there is nothing to judge."""
    out: Path = arguments.out
    what = judged(arguments)
    published = read_published(arguments.stamps) if arguments.stamps is not None else arrivals
    measured = "from publishing" if arguments.stamps is not None else "from the image's arrival at the evaluator"
    recording, book = Recording(out / "recording"), FrameGallery()
    evaluation = OnlineEvaluation(recording, published, what, RunOptions(), problems=problems, progress=_tell)
    run = evaluation.run(
        [book],
        parameters={"latency": f"{measured} to the arrival of the mask, wall time"},
        complete=complete,
        wall_s=wall_s,
    )
    write_report(run, out, book)
    return run


def parser() -> argparse.ArgumentParser:
    """The command line, without ROS arguments."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("out", type=Path, help="folder for the recording and the report; must not hold older ones")
    result.add_argument("--bag", type=Path, help="the recording that is played (without: the topics are recorded)")
    result.add_argument("--topic", help="its image topic (the only one)")
    result.add_argument("--labels", type=Path, help="folder of masks (the bag's labels topic)")
    result.add_argument("--label-map", help="what mask values mean: a shipped name or YAML")
    result.add_argument("--stereo-layout", choices=LAYOUTS, default="single", help="the node's parameter stereo_layout")
    result.add_argument("--eye", choices=EYES, default="left", help="the node's parameter eye")
    result.add_argument("--stamps", type=Path, help="the player's table of published frames")
    result.add_argument("--confidence", action="store_true", help="judge the confidence too; the node then computes it")
    return result


def main(args: list[str] | None = None) -> None:
    """Entry point of `ros2 run clip_rl_perception evaluator_node`."""
    arguments = parser().parse_args(remove_ros_args(args)[1:])
    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGTERM:
            os._exit(128 + number)  # asked twice: judging is not waited for
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    problems = ProblemLog(lambda line: print(f"evaluator: {line}", file=sys.stderr))

    def made() -> RecorderNode:
        return RecorderNode(
            arguments.out / "recording",
            name="evaluator",
            confidence=arguments.confidence,
            arrivals=arguments.stamps is None,
            inputs=None if arguments.bag is not None else arguments.out / "input",
        )

    try:
        with living(made, args) as node:
            begun = time.monotonic()
            try:
                complete = listen(node, stop)
            finally:
                wall_s = time.monotonic() - begun
                node.close()
    except ClipRlError as error:
        print(f"evaluator: {error}", file=sys.stderr)
        sys.exit(2)
    if node.failure is not None:
        problems.add(f"{node.failure}; what came later was not recorded")
    if node.lost:
        problems.add(f"the evaluator lost {node.lost} messages: the disk is slower than the topics")
    if not complete:
        problems.add("interrupted before playing was over: later frames are missing")
    try:
        run = check(arguments, node.arrivals, problems, complete=complete, wall_s=wall_s)
    except ClipRlError as error:
        print(f"evaluator: {error}", file=sys.stderr)
        sys.exit(2)
    masks = sum(frame.kind == "mask" for frame in run.frames)
    events.emit("done", lost=node.lost, failure=node.failure, frames=len(run.frames), masks=masks)
    print(f"evaluator: {masks} of {len(run.frames)} frames came back; {arguments.out / 'report.html'}", file=sys.stderr)
    sys.exit(0 if masks else 1)


def _tell(done: int, total: int | None) -> None:
    if done % 50 == 0:
        events.emit("judged", done=done, total=total)


if __name__ == "__main__":
    main()
