"""Online replay: a recording through the real node over DDS, and what came back judged.

Player, node and recorder run as processes of their own in a ROS domain of their own, on simulated time. When they have
ended, this process matches masks to frames and truth by stamp: `online_evaluation`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from clip_rl_perception.messages.message_types import COMPRESSED_VIDEO
from clip_rl_perception.messages.transports import transport_of
from clip_rl_perception.pictures.stereo_frames import BOTH
from clip_rl_perception.progress import Stage
from clip_rl_perception.replay.node_run import FRAMES, RECORDING, NodeRunOptions, Transport, parameters_of, run_node
from clip_rl_perception.replay.online_evaluation import OnlineEvaluation
from clip_rl_perception.replay.recording import Recording, read_published
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.replay.ros_environment import require_ros
from clip_rl_perception.runs.observer import FrameObserver
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.bag_files import is_bag
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.media_source import open_source
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.stream_options import ModelOptions

if TYPE_CHECKING:
    from clip_rl_perception.replay.plain_looks import PlainLooks

STAGES = 3
"""Start, play, judge."""


def replay_online(
    what: InputOptions,
    model: ModelOptions,
    options: NodeRunOptions,
    measured: RunOptions,
    folder: Path,
    *,
    begin: Callable[[], None] = lambda: None,
    observers: Sequence[FrameObserver] = (),
    problems: ProblemLog | None = None,
) -> RunRecord:
    """Play one bag, video or folder through the node and judge what came back.

    Ctrl-C while it plays ends playing; what came back until then is judged.

    Args:
        what: one path, at most one topic, and where its truth is.
        model: what the node runs.
        options: how it is played; a bag as it was recorded, with its stamps.
        measured: what is measured.
        folder: where the recording (rosbag2), the table of frames and the processes' logs go; must not hold older ones.
        begin: called when nothing is known against it, before anything is written.
        observers: shown every frame when it is judged.
        problems: collects what is left out.

    Raises:
        SourceError: the input cannot be read, or is more than one stream.
        NodeRunError: the node cannot be configured, or nothing was recorded.
        RosMissingError: no ROS here, or no free ROS domain.
    """
    if len(what.paths) != 1 or len(what.topics) > 1:
        raise SourceError(
            "online replay plays one bag, video or folder, and of a bag one topic: the node has one input"
        )
    if what.eye == BOTH:
        raise SourceError("the node watches one eye: --eye left or right; both are taken without --online")
    what, transport = _as_recorded(what, options.transport)
    require_ros()
    options = dataclasses.replace(options, transport=transport, keep_stamps=True)
    log = problems or ProblemLog()
    begin()
    started, begun = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    complete = _play(what, model, options, folder, log)
    wall_s = time.monotonic() - begun
    asked: dict[str, Any] = {"model": model.model, "engine": model.engine}
    told = ("transport", "speed", "lockstep", "confidence", "seconds")
    asked |= {name: value for name in told if (value := getattr(options, name)) is not None}
    asked |= {f"node.{name}": value for name, value in parameters_of(what, model).items()}
    recording, published = Recording(folder / RECORDING), read_published(folder / FRAMES)
    with Stage(3, STAGES, "judging what came back") as stage, plain_looks(model, asked=measured.against_plain) as plain:
        evaluation = OnlineEvaluation(
            recording, published, what, measured, problems=log, plain=plain, progress=stage.update
        )
        return evaluation.run(
            observers,
            parameters=asked,
            complete=complete,
            transport=transport,
            started=started.isoformat(timespec="seconds"),
            wall_s=wall_s,
        )


@contextlib.contextmanager
def plain_looks(model: ModelOptions, *, asked: bool = True) -> Iterator[PlainLooks | None]:
    """The node's model once more, in this process, where plain looks are asked for."""
    if not asked:
        yield None
        return
    from clip_rl_perception.replay.plain_looks import PlainLooks
    from clip_rl_perception.stream import load  # here: torch takes seconds

    with load(model) as loaded:
        yield PlainLooks(loaded)


def _play(what: InputOptions, model: ModelOptions, options: NodeRunOptions, folder: Path, log: ProblemLog) -> bool:
    """False when playing ended before the input did."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends playing as Ctrl-C does
    try:
        return run_node(what, model, options, folder, log, first_stage=1, stages=STAGES)
    except KeyboardInterrupt:
        if not (folder / RECORDING / "metadata.yaml").is_file() or not (folder / FRAMES).is_file():
            raise
        log.add("interrupted: frames after the last one sent are missing")
        return False
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_recorded(what: InputOptions, transport: Transport | None) -> tuple[InputOptions, Transport]:
    """The input with the topic that is played, and how its images travel."""
    (path,) = what.paths
    if not is_bag(path):
        if transport == "ffmpeg":
            raise SourceError(f"{path} holds no video packets; it is sent as raw or compressed images")
        return dataclasses.replace(what, topics=()), transport or "raw"
    topic = open_source(path, topic=next(iter(what.topics), None)).info.topic
    with BagReader(path) as reader:
        kind = reader.topics[topic].msgtype or ""
    if kind == COMPRESSED_VIDEO:
        raise SourceError(f"{path}: {topic} holds {kind}, which the node does not take; replay it offline")
    recorded = cast(Transport, transport_of(kind) or "raw")
    if transport not in (None, recorded):
        raise SourceError(f"{path}: {topic} was recorded as {recorded} images; it is played as it is")
    return dataclasses.replace(what, topics=(topic,)), recorded
