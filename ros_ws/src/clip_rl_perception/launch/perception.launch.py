"""One perception node, and a viewer if asked for.

ros2 launch clip_rl_perception perception.launch.py image:=/camera/image_raw namespace:=endoscope viewer:=rviz

`ros2 launch clip_rl_perception perception.launch.py --show-args` lists the arguments.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from functools import partial
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from clip_rl_perception.ros.parameter_file import told_in
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

PACKAGE = "clip_rl_perception"
NODE = "perception_node"
VIEWERS = ("none", "rviz", "rqt", "rerun")
OUTPUTS = ("mask", "confidence", "disagreement", "overlay", "markers")
"""Topics of the node that rviz/perception.rviz shows."""

TAKEN = {"transport": "image_transport", "stereo_layout": "stereo_layout", "eye": "eye"}
"""Arguments that say which images the node takes, and its parameters of that meaning."""

LOW_PRIORITY = "nice -n 10"
"""How viewers are started: on a busy machine they lose pictures before the node loses time."""

ARGUMENTS = [
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
    DeclareLaunchArgument(
        "image", default_value="image", description="Image topic, without /compressed, relative to the namespace."
    ),
    DeclareLaunchArgument(
        "camera_info", default_value="", description="Topic of the camera's calibration. Empty: beside the images."
    ),
    DeclareLaunchArgument(
        "model", default_value="", description="Checkpoint: name or path. Empty: as params_file says (demo)."
    ),
    DeclareLaunchArgument(
        "engine",
        default_value="",
        description="Engine: auto, torch, cuda or a directory. Empty: as params_file says (auto).",
    ),
    DeclareLaunchArgument(
        "transport", default_value="", description="raw, compressed or ffmpeg images. Empty: as params_file says (raw)."
    ),
    DeclareLaunchArgument(
        "stereo_layout",
        default_value="",
        choices=["", "single", "side_by_side", "top_bottom"],
        description="What an image holds; of both eyes the node takes one. Empty: as params_file says (single).",
    ),
    DeclareLaunchArgument(
        "eye",
        default_value="",
        choices=["", "left", "right"],
        description="Which eye of an image that holds both. Empty: as params_file says (left).",
    ),
    DeclareLaunchArgument(
        "threads",
        default_value="",
        description="CPU threads of the engine; 0: its own choice. Empty: as params_file says (0).",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(Path(get_package_share_directory(PACKAGE)) / "config" / "perception.yaml"),
        description="ROS parameter file; arguments given here win over it.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="true: the node configures and activates itself. "
        "false: it waits for a lifecycle manager or `ros2 lifecycle set`.",
    ),
    DeclareLaunchArgument(
        "viewer",
        default_value="none",
        choices=list(VIEWERS),
        description="What to look with: rviz and rqt on this machine's screen, rerun in a browser.",
    ),
    DeclareLaunchArgument(
        "viewer_port", default_value="9090", description="rerun: TCP port of the page; the next one carries its data."
    ),
    DeclareLaunchArgument(
        "viewer_address",
        default_value="127.0.0.1",
        description="rerun: address to serve on; 0.0.0.0 shows the images to every machine that reaches this one.",
    ),
    DeclareLaunchArgument(
        "fixed_frame",
        default_value="endoscope_optical",
        description="rviz: frame_id of the images, in which markers are drawn.",
    ),
]


def generate_launch_description() -> LaunchDescription:
    """The launch description that `ros2 launch` asks for."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Everything that depends on the arguments' values."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    file = Path(values["params_file"])
    if not file.is_file():
        raise RuntimeError(f"params_file:={file} does not exist; expected a ROS parameter file")
    looked_at = values
    if values["viewer"] != "none":  # it takes what the node takes
        looked_at = values | {argument: values[argument] or told_in(file, name) for argument, name in TAKEN.items()}
    return [*shared_memory(), perception_node(values), *viewer(looked_at)]


def shared_memory() -> list[LaunchDescriptionEntity]:
    """Images through shared memory in Fast DDS, unless the user has a profile of their own.

    Without it camera images of several megabytes are cut into UDP fragments, and hardly any arrives whole.
    """
    profile = str(Path(get_package_share_directory(PACKAGE)) / "config" / "fastdds_shm.xml")
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2 (jazzy), 3 (kilted)
    return [SetEnvironmentVariable(name, profile) for name in names if not os.environ.get(name)]


def perception_node(values: dict[str, str]) -> LifecycleNode:
    """The node; of the arguments, those that are not empty win over the parameter file."""
    given = {name: values[name] for name in ("model", "engine", "stereo_layout", "eye")}
    given["image_transport"] = values["transport"]
    overrides: dict[str, str | int] = {name: value for name, value in given.items() if value}
    if values["threads"]:
        if not values["threads"].isdigit():
            raise RuntimeError(f"threads:={values['threads']} is not a number of CPU threads, for example 2")
        overrides["threads"] = int(values["threads"])
    return LifecycleNode(
        package=PACKAGE,
        executable=NODE,
        name=NODE,
        namespace=values["namespace"],
        parameters=[values["params_file"], {**overrides, "autostart": values["autostart"] == "true"}],
        remappings=[  # its transports follow, and so does camera_info unless it is given
            ("image", values["image"]),
            *([("camera_info", values["camera_info"])] if values["camera_info"] else []),
        ],
        output="screen",
        emulate_tty=True,
        sigterm_timeout="20",  # the node finishes the frame in hand and frees the engine; it limits itself to 15 s
    )


def camera_info(image: str) -> str:
    """Where image_transport has the CameraInfo of an image topic: beside it."""
    return f"{image.rpartition('/')[0]}/camera_info" if "/" in image else "camera_info"


def viewer(values: dict[str, str]) -> list[Node]:
    """RViz, rqt_image_view or the live page on the topics of this node."""
    if values["viewer"] == "none":
        return []
    if values["viewer"] == "rerun":
        return [live_page(values)]
    package = {"rviz": "rviz2", "rqt": "rqt_image_view"}[values["viewer"]]
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        distro = os.environ.get("ROS_DISTRO", "<distro>")
        raise RuntimeError(
            f"viewer:={values['viewer']} needs the package {package}, which is not installed: "
            f"sudo apt install ros-{distro}-{package.replace('_', '-')}"
        ) from None
    look = partial(Node, package=package, executable=package, namespace=values["namespace"], prefix=LOW_PRIORITY)
    if values["viewer"] == "rqt":
        return [look(arguments=["overlay"])]
    config = rviz_view(values["transport"])
    # The view speaks of /overlay and so on; in a namespace these become the topics of that namespace.
    remappings = [(f"/{name}", name) for name in OUTPUTS]
    beside = values["camera_info"] or camera_info(values["image"])
    remappings += [("/image", values["image"]), ("/camera_info", beside), ("/image/camera_info", beside)]
    return [look(name="rviz", arguments=["-d", config, "-f", values["fixed_frame"]], remappings=remappings)]


def rviz_view(transport: str) -> str:
    """The view; of another transport a copy of it, as RViz takes the transport from the end of a topic's name."""
    view = Path(get_package_share_directory(PACKAGE)) / "rviz" / "perception.rviz"
    if transport in ("", "raw"):
        return str(view)
    copy = Path(tempfile.mkdtemp(prefix="clip_rl_rviz_")) / view.name
    text = view.read_text(encoding="utf-8")
    copy.write_text(text.replace("Value: /image\n", f"Value: /image/{transport}\n"), encoding="utf-8")
    return str(copy)


def live_page(values: dict[str, str]) -> Node:
    """The Rerun page; its process subscribes only while a browser has it open."""
    if importlib.util.find_spec("rerun") is None:
        raise RuntimeError("viewer:=rerun needs rerun-sdk, which is not installed: pip install 'rerun-sdk>=0.39,<0.42'")
    if not values["viewer_port"].isdigit():
        raise RuntimeError(f"viewer_port:={values['viewer_port']} is not a TCP port, for example 9090")
    parameters: dict[str, str | int] = {"port": int(values["viewer_port"]), "address": values["viewer_address"]}
    if values["transport"] == "ffmpeg":
        raise RuntimeError("viewer:=rerun does not show transport:=ffmpeg; viewer:=rqt shows the overlay")
    parameters |= {name: values[argument] for argument, name in TAKEN.items() if values[argument]}
    return Node(
        package=PACKAGE,
        executable="rerun_viewer_node",
        name="rerun_viewer",
        namespace=values["namespace"],
        parameters=[parameters],
        remappings=[("image", values["image"])],
        output="screen",
        emulate_tty=True,
        prefix=LOW_PRIORITY,
    )
