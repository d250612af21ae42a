"""Two perception nodes for a stereo endoscope, left and right, and the stereo node that makes points in metres of both.

The defaults follow the da Vinci Research Kit: images on /<rig>/left/image_raw and /<rig>/right/image_raw, masks then on
/<rig>/left/mask and /<rig>/right/mask, points on /<rig>/instruments_3d. Each perception node gets half of the machine's
cores.

ros2 launch clip_rl_perception stereo.launch.py rig:=davinci
ros2 launch clip_rl_perception stereo.launch.py rig:=stereo_source image:=image_rect_color
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from clip_rl_perception.ros.parameter_file import told_in
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("clip_rl_perception"))
SIDES = ("left", "right")
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

ARGUMENTS = [
    DeclareLaunchArgument("rig", default_value="davinci", description="Namespace of the camera pair."),
    DeclareLaunchArgument(
        "image", default_value="image_raw", description="Image topic of each camera, relative to /<rig>/<side>."
    ),
    DeclareLaunchArgument(
        "model", default_value="", description="Checkpoint: name or path. Empty: as params_file says."
    ),
    DeclareLaunchArgument("engine", default_value="", description="Engine. Empty: as params_file says."),
    DeclareLaunchArgument(
        "transport",
        default_value="",
        description="raw, compressed or ffmpeg images. Empty: as params_file says (raw).",
    ),
    DeclareLaunchArgument(
        "threads",
        default_value=str(max(1, CORES // len(SIDES))),
        description="CPU threads of each node's engine; by default the two share this machine's cores. "
        "0: the engine's own choice. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "perception.yaml"),
        description="ROS parameter file for both nodes.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="true: the nodes configure and activate themselves.",
    ),
    DeclareLaunchArgument(
        "viewer",
        default_value="none",
        choices=["none", "rviz", "rqt", "rerun"],
        description="What to look with, per side.",
    ),
    DeclareLaunchArgument(
        "viewer_port", default_value="9090", description="rerun: port of the left page; the right one is two higher."
    ),
    DeclareLaunchArgument(
        "viewer_address", default_value="127.0.0.1", description="rerun: address to serve on, see perception.launch.py."
    ),
    DeclareLaunchArgument(
        "fixed_frame",
        default_value="",
        description="rviz: frame_id of the images, with {side} for left and right. Empty: <rig>_{side}_optical.",
    ),
    DeclareLaunchArgument(
        "points",
        default_value="true",
        choices=["true", "false"],
        description="true: the stereo node tells where instruments are, in metres; it needs camera_info of both eyes.",
    ),
    DeclareLaunchArgument(
        "shaft_mm",
        default_value="",
        description="points: diameter of shafts, as the stereo node's parameter. Empty: not known.",
    ),
    DeclareLaunchArgument(
        "max_skew_ms",
        default_value="10.0",
        description="points: how far apart the stamps of both eyes may be, ms.",
    ),
]
PASSED_ON = (
    "image", "model", "engine", "transport", "threads", "params_file", "autostart",
    "viewer", "viewer_address",
)  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """The launch description that `ros2 launch` asks for."""
    return LaunchDescription([*ARGUMENTS, *(one_side(side) for side in SIDES), OpaqueFunction(function=stereo_node)])


def stereo_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node that joins both eyes; images reach it through shared memory, as perception.launch.py has it."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    if values["points"] != "true":
        return []
    try:
        skew_ms = float(values["max_skew_ms"])
    except ValueError:
        raise RuntimeError(f"max_skew_ms:={values['max_skew_ms']} is not a number of ms, for example 10") from None
    parameters: dict[str, str | float] = {"shaft_mm": values["shaft_mm"], "max_skew_ms": skew_ms}
    transport = values["transport"] or told_in(Path(values["params_file"]), "image_transport")
    if transport:
        parameters["image_transport"] = transport
    profile = str(SHARE / "config" / "fastdds_shm.xml")
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2 (jazzy), 3 (kilted)
    return [
        *(SetEnvironmentVariable(name, profile) for name in names if not os.environ.get(name)),
        Node(
            package="clip_rl_perception",
            executable="stereo_node",
            name="stereo_node",
            namespace=values["rig"],
            parameters=[parameters],
            remappings=[(f"{side}/image", f"{side}/{values['image']}") for side in SIDES],
            output="screen",
            emulate_tty=True,
        ),
    ]


def one_side(side: str) -> GroupAction:
    """perception.launch.py for one camera; the group keeps its arguments to itself."""
    arguments: dict[str, object] = {name: LaunchConfiguration(name) for name in PASSED_ON}
    port = LaunchConfiguration("viewer_port")
    arguments["viewer_port"] = port if side == "left" else PythonExpression(["int('", port, "') + 2"])
    frame = ["'", LaunchConfiguration("fixed_frame"), "' or '", LaunchConfiguration("rig"), "_{side}_optical'"]
    arguments["fixed_frame"] = PythonExpression(
        ["(", *frame, f").strip('/').replace('/', '_').replace('{{side}}', '{side}')"]
    )
    return GroupAction(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "perception.launch.py")),
                launch_arguments={**arguments, "namespace": [LaunchConfiguration("rig"), f"/{side}"]}.items(),
            )
        ]
    )
