"""Online replay: a recording through the real node over DDS, and what came back judged.

Player, node and recorder run as processes of their own in a ROS domain of their own, on simulated time. When they have
ended, this process matches masks to frames and truth by stamp; `evaluation.replay.online` does it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.messages.message_types import COMPRESSED_IMAGE
from clip_rl_perception.replay.node_run import SessionOptions, run_session
from clip_rl_perception.replay.online_evaluation import OnlineEvaluation, OnlineOptions
from clip_rl_perception.replay.progress import Stage
from clip_rl_perception.replay.recording import Recording, read_published
from clip_rl_perception.replay.ros_environment import require_ros
from clip_rl_perception.runs.observer import FrameObserver
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.media_source import is_bag, open_source
from clip_rl_perception.sources.streams import InputOptions, open_inputs

STAGES = 3
"""Start, play, check."""


@dataclasses.dataclass(frozen=True)
class OnlineReplayOptions:
    """How a recording is played through the node."""

    model: str = "demo"
    """The node's parameter `model`."""
    engine: str = "auto"
    """The node's parameter `engine`."""
    speed: float = 1.0
    """Times the recording's own rate."""
    lockstep: bool = False
    """Send a frame when the node has answered the one before, so that every frame is processed."""
    transport: str | None = None
    """raw or compressed, for videos and folders (None: raw); a bag is played as it was recorded."""
    seconds: float | None = None
    """Play only so much, s."""
    confidence: bool = False
    """Ask the node for confidence too: calibration error in the report, at the price of its time."""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further parameters of the node, values as on a ROS command line."""
    start_timeout_s: float = 180.0
    """How long the node may take to become active, s."""


def replay_online(
    what: InputOptions,
    options: OnlineReplayOptions,
    measured: OnlineOptions,
    folder: Path,
    *,
    observers: Sequence[FrameObserver] = (),
    problems: ProblemLog | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> RunRecord:
    """Play one bag, video or folder through the node and judge what came back.

    Ctrl-C while it plays ends playing; what came back until then is judged.

    Args:
        what: one path, at most one topic, and where its truth is.
        options: how it is played.
        measured: what is measured; `parameters`, `complete` and times are filled in here.
        folder: where the recording (rosbag2), the table of frames and the processes' logs go; must not hold older ones.
        observers: shown every frame when it is judged.
        problems: collects what is left out.
        progress: told frames judged, and sent; None shows a line as the other stages do.

    Raises:
        SourceError: the input cannot be read, or is more than one stream.
        SessionError: the node cannot be configured, or nothing was recorded.
        RosMissingError: no ROS here, or no free ROS domain.
    """
    if len(what.paths) != 1 or len(what.topics) > 1:
        raise SourceError(
            "online replay plays one bag, video or folder, and of a bag one topic: the node has one input"
        )
    path, topic = what.paths[0], _topic(what)
    require_ros()
    session = SessionOptions(
        source=path,
        transport=_transport(path, topic, options),
        model=options.model,
        engine=options.engine,
        topic=topic,
        rate_hz=what.rate_hz,
        seconds=options.seconds,
        speed=options.speed,
        keep_stamps=True,
        lockstep=options.lockstep,
        confidence=options.confidence,
        parameters=options.parameters,
        start_timeout_s=options.start_timeout_s,
    )
    log = problems or ProblemLog()
    started, begun = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    complete = _play(session, folder, log)
    wall_s = time.monotonic() - begun
    recording, published = Recording(folder / "recording"), read_published(folder / "frames.jsonl")
    space = recording.label_space or _no_classes(log)
    what = dataclasses.replace(what, topics=(topic,) if topic is not None else ())
    with Stage(3, STAGES, "judging what came back") as stage:
        inputs = open_inputs(what, space)
        evaluation = OnlineEvaluation(
            recording,
            published,
            inputs,
            space,
            dataclasses.replace(
                measured,
                parameters={**_asked(session, options), **measured.parameters},
                complete=complete,
                transport=session.transport,
                started=started.isoformat(timespec="seconds"),
                wall_s=wall_s,
            ),
            observers=observers,
            problems=log,
            progress=progress or stage.update,
        )
        return evaluation.run(inputs.sha256(), inputs.describe(what))


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends playing as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _play(session: SessionOptions, folder: Path, log: ProblemLog) -> bool:
    """False when playing ended before the input did."""
    try:
        with _terminated_as_interrupted():
            result = run_session(session, folder, first_stage=1, stages=STAGES)
    except KeyboardInterrupt:
        if not (folder / "recording" / "metadata.yaml").is_file() or not (folder / "frames.jsonl").is_file():
            raise
        log.add("interrupted: frames after the last one sent are missing")
        return False
    for line in result.problems:
        log.add(line)
    return not result.node_ended


def _topic(what: InputOptions) -> str | None:
    """The image topic to play; None for videos and folders."""
    path = what.paths[0]
    if not is_bag(path):
        return None
    return open_source(path, topic=what.topics[0] if what.topics else None).info.topic


def _transport(path: Path, topic: str | None, options: OnlineReplayOptions) -> str:
    if topic is None:
        return options.transport or "raw"
    with BagReader(path) as reader:
        recorded = "compressed" if reader.topics[topic].msgtype == COMPRESSED_IMAGE else "raw"
    if options.transport not in (None, recorded):
        raise SourceError(f"{path}: {topic} was recorded as {recorded} images; it is played as it is")
    return recorded


def _no_classes(log: ProblemLog) -> LabelSpace:
    log.add("the node never said what its classes are: no mask can be judged")
    return label_space_from_names(["background", "instrument"], name="binary")


def _asked(session: SessionOptions, options: OnlineReplayOptions) -> dict[str, Any]:
    """What the report says the run was asked for."""
    return {
        "model": options.model,
        "engine": options.engine,
        "transport": session.transport,
        "speed": options.speed,
        "lockstep": options.lockstep,
        "confidence": options.confidence,
        **({"seconds": options.seconds} if options.seconds is not None else {}),
        **{f"node.{name}": value for name, value in options.parameters.items()},
    }
