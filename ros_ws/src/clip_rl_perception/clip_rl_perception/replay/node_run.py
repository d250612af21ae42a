"""One run of the node over DDS: node, recorder and player as processes, from start to the last mask."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import NotAnOption
from clip_rl_perception.progress import Stage
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.ros_environment import child_environment
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.stream_options import ModelOptions

NAMESPACE = "/clip_rl_demo"
Transport = Literal["raw", "compressed", "ffmpeg"]
"""How images travel; ffmpeg: the packets of a bag that holds video."""
OUTPUTS = RECORDING, FRAMES, LOGS = "recording", "frames.jsonl", "logs"
"""What a run leaves in its folder: rosbag2 of the node's outputs, JSON lines of frames published, a log per process."""
QUIET_S = 1.5
"""The run is over when nothing new has arrived for so long after the last frame, s."""
MAX_WAIT_S = 30.0
"""Longest wait for what is still in work after the last frame, s."""


class NodeRunError(ClipRlError):
    """The node, the player or the recorder did not do its part; the message says which, why, and where its log is."""


@dataclasses.dataclass(frozen=True)
class NodeRunOptions:
    """How an input is played through the node."""

    speed: PositiveNumber = 1.0
    """Times the recording's own rate."""
    lockstep: bool = False
    """Send a frame when the node has answered the one before."""
    seconds: PositiveNumber | None = None
    """Play only so much of the recording."""
    transport: Transport | None = None
    """Of videos and folders; None: raw."""
    confidence: bool = False
    """Judge the confidence too; the node then computes it."""
    keep_stamps: Annotated[bool, NotAnOption()] = False
    """Send a bag's messages as they were recorded, with their own stamps, on simulated time."""
    start_timeout_s: Annotated[float, NotAnOption()] = 180.0
    """How long the node may take to become active, s."""


def run_node(
    what: InputOptions,
    model: ModelOptions,
    options: NodeRunOptions,
    folder: Path,
    problems: ProblemLog,
    *,
    first_stage: int,
    stages: int,
) -> bool:
    """Play one bag, video or folder through the node and record what comes back; False when the node ended before.

    Args:
        what: its path, rate and, of a bag, topic.
        model: what the node runs.
        options: how it is played.
        folder: where the recording (rosbag2), the table of frames and the processes' logs go.
        problems: collects what goes wrong without ending the run.
        first_stage: number of the first of the two stages that are shown.
        stages: how many there are in all.

    Raises:
        NodeRunError: the node cannot be configured, or a process ends before it should.
        RosMissingError: no ROS domain can be had.
    """
    with Children(child_environment(), folder / LOGS) as children:
        with Stage(first_stage, stages, "starting the perception node") as stage:
            record = [str(folder / RECORDING), *(["--confidence"] if options.confidence else [])]
            recorder = children.start("recorder", _node_command("harness.recorder_node", *record))
            perception = _node_command("nodes.perception_node", parameters=_node_parameters(what, model, options))
            node = children.start("perception_node", perception)
            deadline = time.monotonic() + options.start_timeout_s
            # The node's publishers exist as soon as it is configured; frames played before would return unrecorded.
            _wait_for(recorder, "ready", stage, (node, recorder), deadline)
            play = _node_command("harness.player_node", *_player_arguments(what, options, folder))
            player = children.start("player", play)
            _wait_for(player, "started", stage, (node, recorder, player), deadline)
        with Stage(first_stage + 1, stages, f"playing over DDS as {options.transport or 'raw'} images") as stage:
            played_all = _play(stage, node, recorder, player, problems)
        children.stop(recorder, patience_s=60.0)  # until what it received is on the disk
        done = recorder.last("done") or {}
        if done.get("failure"):
            raise NodeRunError(f"recording failed: {done['failure']}")
        if done.get("lost"):
            problems.add(f"the recorder lost {done['lost']} messages: the disk is slower than the topics")
        played = player.last("done") or {}
        problems.add(*played.get("problems", []))
        if played.get("unanswered"):
            problems.add(f"{played['unanswered']} frames were never answered by the node")
        if played.get("late"):
            problems.add(f"{played['late']} frames were played later than their time: this machine is too busy")
    return played_all


def _wait_for(child: Child, event: str, stage: Stage, children: tuple[Child, ...], deadline: float) -> None:
    """Until `child` reports `event`; raises `NodeRunError` when it cannot come. The first of `children` is the node."""
    node = children[0]
    while child.last(event) is None:
        for other in children:
            _require_running(other)
        refused = node.log_lines("configure failed")
        if refused:
            reason = _message(refused[-1]).removeprefix("configure failed: ")
            raise NodeRunError(f"the perception node cannot be configured: {reason}")
        if time.monotonic() > deadline:
            raise NodeRunError(f"the perception node is not active in time; its last words: {_last_words(node)}")
        stage.update(0, note="waiting for the model")
        time.sleep(0.05)


def _play(stage: Stage, node: Child, recorder: Child, player: Child, problems: ProblemLog) -> bool:
    """Until everything has been played and nothing more comes back; False when the node ended before that."""
    while (done := player.last("done")) is None:
        if not player.running() and player.last("done") is None:
            _require_running(player)
        _require_running(recorder)
        if not node.running():
            problems.add(f"the perception node ended while frames were played: {_last_words(node)}")
            return False
        stage.update(_count(player, "sent"), note=f"{_count(recorder, 'mask')} masks back")
        time.sleep(0.1)
    deadline, latest, since = time.monotonic() + MAX_WAIT_S, -1, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < QUIET_S:
        _require_running(recorder)
        count = _count(recorder, "mask") + _count(recorder, "status")
        if count != latest:
            latest, since = count, time.monotonic()
        time.sleep(0.1)
    stage.result(f"{done['sent']} frames sent, {_count(recorder, 'mask')} masks back")
    return True


def _count(child: Child, name: str) -> int:
    event = child.last("progress") or {}
    return int(event.get(name, 0))


def _require_running(child: Child) -> None:
    if not child.running():
        raise NodeRunError(f"the {child.name} ended before it should: {_last_words(child)}")


def _last_words(child: Child) -> str:
    lines = child.log_lines()
    return f"{_message(lines[-1]) if lines else 'it said nothing'} (log: {child.log})"


def _message(line: str) -> str:
    """The text of an rclpy log line: ``[ERROR] [time] [node]: text``."""
    head, separator, text = line.partition("]: ")
    return text if separator and head.startswith("[") else line


def _node_command(module: str, *arguments: str, parameters: Mapping[str, str] | None = None) -> list[str]:
    given = [part for name, value in (parameters or {}).items() for part in ("-p", f"{name}:={value}")]
    ros = ["--ros-args", "-r", f"__ns:={NAMESPACE}", *given]
    return [sys.executable, "-m", f"clip_rl_perception.{module}", *arguments, *ros]


def parameters_of(what: InputOptions, model: ModelOptions) -> dict[str, str]:
    """The node's parameters for what is not as usual beside model and engine, values as on a ROS command line."""
    unusual = {field.name for field in dataclasses.fields(model) if getattr(model, field.name) != field.default}
    eyes = {} if what.stereo_layout == "single" else {"stereo_layout": what.stereo_layout, "eye": what.eye}
    return {name: str(getattr(model, name)).lower() for name in sorted(unusual - {"model", "engine"})} | eyes


def _node_parameters(what: InputOptions, model: ModelOptions, options: NodeRunOptions) -> dict[str, str]:
    return {
        "autostart": "true",
        # Quoted: a model called 1e3 or true stays text.
        "model": f"'{model.model}'",
        "engine": f"'{model.engine}'",
        "image_transport": options.transport or "raw",
        **({"use_sim_time": "true"} if options.keep_stamps else {}),
        **parameters_of(what, model),
    }


def _player_arguments(what: InputOptions, options: NodeRunOptions, folder: Path) -> list[str]:
    values = {
        "transport": options.transport,
        "stamps": folder / FRAMES,
        "wait-seconds": options.start_timeout_s + 60,  # our own patience ends first
        "topic": next(iter(what.topics), None),
        "rate": what.rate_hz,
        "seconds": options.seconds,
        "speed": options.speed,
    }
    given = [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]
    switches = {"--keep-stamps": options.keep_stamps, "--lockstep": options.lockstep}
    return [str(what.paths[0]), *given, *(name for name, wanted in switches.items() if wanted)]
