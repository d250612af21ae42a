"""Two perception nodes for a stereo endoscope, left and right, each in its camera's namespace.

The defaults follow the da Vinci Research Kit: images on /<rig>/left/image_raw and /<rig>/right/image_raw, masks then on
/<rig>/left/mask and /<rig>/right/mask.

ros2 launch clip_rl_perception stereo.launch.py rig:=davinci
ros2 launch clip_rl_perception stereo.launch.py rig:=stereo_source image:=image_rect_color
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(get_package_share_directory("clip_rl_perception"))
SIDES = ("left", "right")

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
        "viewer", default_value="none", choices=["none", "rviz", "rqt"], description="What to look with, per side."
    ),
]
PASSED_ON = ("image", "model", "engine", "transport", "params_file", "autostart", "viewer")


def generate_launch_description() -> LaunchDescription:
    """The launch description that `ros2 launch` asks for."""
    return LaunchDescription([*ARGUMENTS, *(one_side(side) for side in SIDES)])


def one_side(side: str) -> GroupAction:
    """perception.launch.py for one camera; the group keeps its arguments to itself."""
    arguments = {name: LaunchConfiguration(name) for name in PASSED_ON}
    return GroupAction(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "perception.launch.py")),
                launch_arguments={**arguments, "namespace": [LaunchConfiguration("rig"), f"/{side}"]}.items(),
            )
        ]
    )
