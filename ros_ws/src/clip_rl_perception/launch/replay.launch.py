"""A recording through the perception node at its own rate, on simulated time, and a report of what came back.

ros2 launch clip_rl_perception replay.launch.py bag:=operation rate:=0.5 out:=out/replay

With play:=false something else plays the recording, for example `ros2 bag play operation --clock`; the evaluator waits
for it. Everything ends when playing is over and out/report.html is written. `--show-args` lists the arguments.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from clip_rl_perception.ros.parameter_file import told_in
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetParameter

PACKAGE = "clip_rl_perception"

ARGUMENTS = [
    DeclareLaunchArgument("bag", description="The recording: a rosbag2 folder, one of its files, or a ROS 1 .bag."),
    DeclareLaunchArgument("topic", default_value="", description="Image topic of the bag. Empty: the one with most."),
    DeclareLaunchArgument("rate", default_value="1.0", description="Times the recording's own rate."),
    DeclareLaunchArgument(
        "lockstep",
        default_value="false",
        choices=["true", "false"],
        description="true: the next frame is sent when the node has answered, so that every frame is processed.",
    ),
    DeclareLaunchArgument("labels", default_value="", description="Folder of masks. Empty: the bag's labels topic."),
    DeclareLaunchArgument("label_map", default_value="", description="File that says what mask values mean."),
    DeclareLaunchArgument("out", default_value="out/replay", description="Folder for the report; replaced."),
    DeclareLaunchArgument(
        "play",
        default_value="true",
        choices=["true", "false"],
        description="false: something else plays the recording, with /clock.",
    ),
    DeclareLaunchArgument("model", default_value="", description="As in perception.launch.py."),
    DeclareLaunchArgument("engine", default_value="", description="As in perception.launch.py."),
    DeclareLaunchArgument("stereo_layout", default_value="", description="As in perception.launch.py."),
    DeclareLaunchArgument("eye", default_value="", description="As in perception.launch.py."),
    DeclareLaunchArgument("viewer", default_value="none", description="As in perception.launch.py."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(Path(get_package_share_directory(PACKAGE)) / "config" / "perception.yaml"),
        description="As in perception.launch.py.",
    ),
]

OUTPUTS = ("recording", "frames.jsonl", "report.html", "report.json")
"""What an earlier run left in `out`, removed so that nothing old can pass for this run's result."""


def generate_launch_description() -> LaunchDescription:
    """The launch description that `ros2 launch` asks for."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Everything that depends on the arguments' values."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    topic, transport = input_of(values)
    halves = halves_of(values)
    out = Path(values["out"])
    out.mkdir(parents=True, exist_ok=True)
    for name in OUTPUTS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    check = evaluator(values, out, topic, halves)
    actions: list[LaunchDescriptionEntity] = [
        SetParameter("use_sim_time", True),
        perception(values, topic, transport),
        check,
        RegisterEventHandler(OnProcessExit(target_action=check, on_exit=[Shutdown(reason="the report is written")])),
    ]
    if values["play"] == "true":
        play = player(values, out, topic)
        actions += [play, RegisterEventHandler(OnProcessExit(target_action=play, on_exit=end_if_failed))]
    return [GroupAction(actions, scoped=False)]


def input_of(values: dict[str, str]) -> tuple[str, str]:
    """Image topic without that of its transport, and the transport; raises where there is nothing to play."""
    from clip_rl_perception.errors import ClipRlError
    from clip_rl_perception.messages.transports import split_topic
    from clip_rl_perception.sources.bag_source import BagSource

    try:
        topic = BagSource(values["bag"], topic=values["topic"] or None).info.topic
        if not 0 < float(values["rate"]) < math.inf:
            raise ValueError
    except ClipRlError as error:
        raise RuntimeError(str(error)) from None
    except ValueError:
        raise RuntimeError(f"rate:={values['rate']} is not a finite number above 0") from None
    return split_topic(topic)


def halves_of(values: dict[str, str]) -> list[str]:
    """Which half of a picture of both eyes the node sees, as arguments of the evaluator: truth is halved with it."""
    file = Path(values["params_file"])
    layout = values["stereo_layout"] or told_in(file, "stereo_layout")
    if layout in ("", "single"):
        return []
    return ["--stereo-layout", layout, "--eye", values["eye"] or told_in(file, "eye") or "left"]


def perception(values: dict[str, str], topic: str, transport: str) -> IncludeLaunchDescription:
    """The node on the recording's own topic."""
    given = {name: values[name] for name in ("model", "engine", "stereo_layout", "eye", "viewer", "params_file")}
    given |= {"image": topic, "transport": transport}
    source = PythonLaunchDescriptionSource(str(Path(__file__).resolve().with_name("perception.launch.py")))
    return IncludeLaunchDescription(source, launch_arguments=list(given.items()))


def player(values: dict[str, str], out: Path, topic: str) -> Node:
    """Plays the recording with simulated time once the node and the evaluator listen."""
    arguments = [values["bag"], "--keep-stamps", "--topic", topic, "--speed", values["rate"]]
    arguments += ["--stamps", str(out / "frames.jsonl"), "--listeners", "1", "--wait-seconds", "300"]
    if values["lockstep"] == "true":
        arguments.append("--lockstep")
    return Node(
        package=PACKAGE,
        executable="player_node",
        arguments=arguments,
        remappings=[("image", topic)],
        output="screen",
        parameters=[{"use_sim_time": False}],
    )


def evaluator(values: dict[str, str], out: Path, topic: str, halves: list[str]) -> Node:
    """Notes what comes back, and writes the report when playing is over."""
    arguments = [str(out), "--bag", values["bag"], "--topic", topic, *halves]
    if values["play"] == "true":
        arguments += ["--stamps", str(out / "frames.jsonl")]
    for name, flag in (("labels", "--labels"), ("label_map", "--label-map")):
        arguments += [flag, values[name]] if values[name] else []
    return Node(
        package=PACKAGE,
        executable="evaluator_node",
        arguments=arguments,
        remappings=[("image", topic)],
        output="screen",
        parameters=[{"use_sim_time": False}],
        sigterm_timeout="600",  # after Ctrl-C it still judges what came until then
        sigkill_timeout="600",
    )


def end_if_failed(event: object, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """A player that could not play ends everything; after one that did the evaluator goes on by itself."""
    status = getattr(event, "returncode", 0)
    return [Shutdown(reason=f"the player ended with status {status}")] if status else []
