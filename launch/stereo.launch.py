"""Two perception nodes for a stereo endoscope, left and right, each in its camera's namespace.

The defaults follow the da Vinci Research Kit: images on /<rig>/left/image_raw and /<rig>/right/image_raw, masks then on
/<rig>/left/mask and /<rig>/right/mask. Each node gets half of the machine's cores.

ros2 launch clip_rl_perception stereo.launch.py rig:=davinci
ros2 launch clip_rl_perception stereo.launch.py rig:=stereo_source image:=image_rect_color
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression

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
    DeclareLaunchArgument("transport", default_value="", description="raw or compressed. Empty: as params_file says."),
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
]
PASSED_ON = (
    "image", "model", "engine", "transport", "threads", "params_file", "autostart",
    "viewer", "viewer_address",
)  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """The launch description that `ros2 launch` asks for."""
    return LaunchDescription([*ARGUMENTS, *(one_side(side) for side in SIDES)])


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
