"""Two perception nodes for a stereo endoscope, left and right, and the stereo node that makes points in metres of both.

The defaults follow the da Vinci Research Kit: images on /<rig>/left/image_raw and /<rig>/right/image_raw, masks then on
/<rig>/left/mask and /<rig>/right/mask, points on /<rig>/instruments_3d. Each perception node gets half of the machine's
cores.

ros2 launch clip_rl_perception stereo.launch.py rig:=davinci
ros2 launch clip_rl_perception stereo.launch.py rig:=stereo_source image:=image_rect_color

Where one picture holds both eyes, on /<rig>/image_raw, calibrations are on /<rig>/left/camera_info and
/<rig>/right/camera_info:

ros2 launch clip_rl_perception stereo.launch.py rig:=davinci stereo_layout:=side_by_side
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
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("clip_rl_perception"))
SIDES = ("left", "right")
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

ARGUMENTS = [
    DeclareLaunchArgument("rig", default_value="davinci", description="Namespace of the camera pair."),
    DeclareLaunchArgument(
        "image",
        default_value="image_raw",
        description="Image topic of each camera, relative to /<rig>/<side>; of both eyes' pictures, to /<rig>.",
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
        "stereo_layout",
        default_value="",
        choices=["", "single", "side_by_side", "top_bottom"],
        description="What an image holds: one eye, or both. Empty: as params_file says (single).",
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
        "stereo_params_file",
        default_value="",
        description="points: ROS parameter file for the stereo node; arguments given here win over it. Empty: none.",
    ),
    DeclareLaunchArgument(
        "shaft_mm",
        default_value="",
        description="points: diameter of shafts, as the stereo node's parameter. Empty: as stereo_params_file says "
        "(not known).",
    ),
    DeclareLaunchArgument(
        "max_skew_ms",
        default_value="",
        description="points: how far apart the stamps of both eyes may be, ms. Empty: as stereo_params_file says (10).",
    ),
]
PASSED_ON = ("model", "engine", "transport", "threads", "params_file", "autostart", "viewer", "viewer_address")


def generate_launch_description() -> LaunchDescription:
    """The launch description that `ros2 launch` asks for."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Everything that depends on the arguments' values."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    values["rig"] = values["rig"].strip("/")
    file = Path(values["params_file"])
    if not file.is_file():
        raise RuntimeError(f"params_file:={file} does not exist; expected a ROS parameter file")
    layout = values["stereo_layout"] or told_in(file, "stereo_layout") or "single"
    if layout == "single" and values["image"].startswith("/"):
        raise RuntimeError(
            f"image:={values['image']} is one topic for both eyes; expected a name below /{values['rig']}/left and "
            f"/{values['rig']}/right; where its pictures hold both eyes, give stereo_layout"
        )
    return [*(one_side(side, layout, values) for side in SIDES), *stereo_node(layout, values)]


def shared_image(values: dict[str, str]) -> str:
    """The topic of pictures that hold both eyes."""
    return (
        values["image"] if values["image"].startswith("/") else f"/{values['rig']}/{values['image']}".replace("//", "/")
    )


def stereo_node(layout: str, values: dict[str, str]) -> list[LaunchDescriptionEntity]:
    """The node that joins both eyes; images reach it through shared memory, as perception.launch.py has it."""
    if values["points"] != "true":
        return []
    file = values["stereo_params_file"]
    if file and not Path(file).is_file():
        raise RuntimeError(f"stereo_params_file:={file} does not exist; expected a ROS parameter file")
    parameters: dict[str, str | float] = {"stereo_layout": layout}
    if values["shaft_mm"]:
        parameters["shaft_mm"] = values["shaft_mm"]
    if values["max_skew_ms"]:
        try:
            parameters["max_skew_ms"] = float(values["max_skew_ms"])
        except ValueError:
            raise RuntimeError(f"max_skew_ms:={values['max_skew_ms']} is not a number of ms, for example 10") from None
    transport = values["transport"] or told_in(Path(values["params_file"]), "image_transport")
    if transport:
        parameters["image_transport"] = transport
    profile = str(SHARE / "config" / "fastdds_shm.xml")
    images = [(f"{side}/image", f"{side}/{values['image']}") for side in SIDES]
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2 (jazzy), 3 (kilted)
    return [
        *(SetEnvironmentVariable(name, profile) for name in names if not os.environ.get(name)),
        Node(
            package="clip_rl_perception",
            executable="stereo_node",
            name="stereo_node",
            namespace=values["rig"],
            parameters=[*filter(None, [values["stereo_params_file"]]), parameters],
            remappings=images if layout == "single" else [("image", shared_image(values))],
            output="screen",
            emulate_tty=True,
        ),
    ]


def one_side(side: str, layout: str, values: dict[str, str]) -> GroupAction:
    """perception.launch.py for one eye; the group keeps its arguments to itself."""
    arguments = {name: values[name] for name in PASSED_ON}
    arguments["image"] = values["image"] if layout == "single" else shared_image(values)
    arguments |= {"stereo_layout": layout, "eye": side}
    try:
        arguments["viewer_port"] = str(int(values["viewer_port"]) + 2 * SIDES.index(side))
    except ValueError:
        raise RuntimeError(f"viewer_port:={values['viewer_port']} is not a TCP port, for example 9090") from None
    frame = values["fixed_frame"] or f"{values['rig']}_{{side}}_optical"
    arguments["fixed_frame"] = frame.strip("/").replace("/", "_").replace("{side}", side)
    arguments["namespace"] = f"{values['rig']}/{side}".strip("/")
    # Beside one picture of both eyes lies no calibration of one: the markers take what the stereo node takes.
    arguments["camera_info"] = "" if layout == "single" else f"/{arguments['namespace']}/camera_info"
    return GroupAction(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "perception.launch.py")),
                launch_arguments=arguments.items(),
            )
        ]
    )
