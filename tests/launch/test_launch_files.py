"""The launch files: their arguments always, what they start where ROS 2's launch is installed."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from clip_rl_perception.ros.parameter_fields import ParameterError

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
RVIZ = ROOT / "ros_ws" / "src" / "clip_rl_perception" / "rviz" / "perception.rviz"

COMMON = ["image", "model", "engine", "transport", "threads", "params_file", "autostart", "viewer"]
VIEWER = ["viewer_port", "viewer_address", "fixed_frame"]
HALVES = ["stereo_layout", "eye"]
PERCEPTION = ["namespace", "image", "camera_info", *COMMON[1:4], *HALVES, *COMMON[4:], *VIEWER]
STEREO = ["rig", *COMMON[:4], "stereo_layout", *COMMON[4:], *VIEWER, "points"]
STEREO += ["stereo_params_file", "shaft_mm", "max_skew_ms"]
REPLAY = ["bag", "topic", "rate", "lockstep", "labels", "label_map", "out", "play", "model", "engine", *HALVES]
REPLAY += ["viewer", "params_file"]


def installed() -> bool:
    if importlib.util.find_spec("launch_ros") is None:
        return False
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory("clip_rl_perception")).is_dir()
    except PackageNotFoundError:
        return False


needs_launch = pytest.mark.skipif(
    not installed(), reason="ROS 2's launch and launch_ros (in no Python registry), or the built workspace, are missing"
)


def declared(file: Path) -> list[str]:
    return [
        node.args[0].value
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "DeclareLaunchArgument"
        and isinstance(node.args[0], ast.Constant)
    ]


@pytest.mark.parametrize(("name", "arguments"), [("perception", PERCEPTION), ("stereo", STEREO), ("replay", REPLAY)])
def test_arguments(name: str, arguments: list[str]) -> None:
    assert declared(LAUNCH / f"{name}.launch.py") == arguments


@pytest.mark.parametrize("file", sorted(LAUNCH.glob("*.launch.py")), ids=lambda file: file.name)
def test_every_launch_file_can_be_launched(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert "generate_launch_description" in functions
    assert ast.get_docstring(tree)


def test_the_ros_package_has_the_launch_files_and_the_top_links_to_them() -> None:
    package = ROOT / "ros_ws" / "src" / "clip_rl_perception" / "launch"
    assert LAUNCH.resolve() == package and package.is_dir() and not package.is_symlink()
    assert sorted(file.name for file in LAUNCH.glob("*.launch.py")) == [
        f"{name}.launch.py" for name in ("perception", "replay", "stereo")
    ]


def test_rviz_topics_are_mapped_into_the_namespace() -> None:
    displays = yaml.safe_load(RVIZ.read_text(encoding="utf-8"))["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"].removeprefix("/") for display in displays}
    tree = ast.parse((LAUNCH / "perception.launch.py").read_text(encoding="utf-8"))
    (mapped,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "OUTPUTS"
    ]
    assert topics == {"image", *mapped}


# ---- with ROS 2's launch


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_launch", LAUNCH / f"{name}.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launched(name: str, arguments: dict[str, str]) -> list:
    """What a launch file starts with these arguments, others at their defaults."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    context = LaunchContext()
    context.launch_configurations.update(arguments)
    result = []
    for entity in load(name).generate_launch_description().entities:
        assert isinstance(entity, DeclareLaunchArgument | OpaqueFunction)
        result += entity.execute(context) or []
    return result


def started(**arguments: str) -> list:
    """What perception.launch.py starts."""
    return launched("perception", arguments)


def command(node: object) -> list[str]:
    """The command line of a Node action, with every substitution made; nothing is started."""
    from launch import LaunchContext
    from launch.actions import ExecuteLocal
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node

    lines: list[list[str]] = []

    def record(action: ExecuteLocal, context: LaunchContext) -> None:
        lines.append([perform_substitutions(context, part) for part in action.cmd])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExecuteLocal, "execute", record)
        Node.execute(node, LaunchContext())  # not LifecycleNode's, which also subscribes to transition events
    return lines[0]


def parameters(line: list[str]) -> dict[str, object]:
    """Parameters in the files of a command line, later ones winning."""
    merged: dict[str, object] = {}
    for flag, value in itertools.pairwise(line):
        if flag == "--params-file":
            for section in yaml.safe_load(Path(value).read_text(encoding="utf-8")).values():
                merged.update(section["ros__parameters"])
    return merged


@needs_launch
def test_defaults() -> None:
    from launch_ros.actions import LifecycleNode

    (node,) = [action for action in started() if isinstance(action, LifecycleNode)]
    line = command(node)
    assert Path(line[0]).name == "perception_node"
    values = parameters(line)
    assert values["autostart"] is True
    assert (values["model"], values["engine"], values["image_transport"]) == ("demo", "auto", "raw")
    assert "image:=image" in line


@needs_launch
def test_arguments_reach_the_node(tmp_path: Path) -> None:
    from launch_ros.actions import LifecycleNode

    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters:\n    model: mine\n    engine: torch\n    jpeg_quality: 50\n")
    (node,) = [
        action
        for action in started(
            namespace="scope",
            image="/camera/image_raw",
            engine="/engines/a",
            transport="compressed",
            stereo_layout="top_bottom",
            eye="right",
            threads="3",
            params_file=str(own),
            autostart="false",
        )
        if isinstance(action, LifecycleNode)
    ]
    line = command(node)
    assert "__ns:=/scope" in line
    assert "image:=/camera/image_raw" in line
    assert [part for part in line if ":=" in part and "image" in part] == [
        "image:=/camera/image_raw"
    ]  # the rest follows
    assert not [part for part in line if part.startswith("camera_info:=")]
    assert parameters(line) == {
        "model": "mine",
        "engine": "/engines/a",
        "image_transport": "compressed",
        "stereo_layout": "top_bottom",
        "eye": "right",
        "jpeg_quality": 50,
        "threads": 3,
        "autostart": False,
    }


@needs_launch
def test_a_calibration_that_lies_elsewhere() -> None:
    from launch_ros.actions import LifecycleNode

    given = {"image": "/rig/both", "camera_info": "/rig/left/camera_info"}
    (node,) = [action for action in started(**given) if isinstance(action, LifecycleNode)]
    assert "camera_info:=/rig/left/camera_info" in command(node)
    assert [side["camera_info"] for side in stereo_includes(rig="psm")] == ["", ""]


@needs_launch
def test_shared_memory_profile_unless_the_user_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from launch.actions import SetEnvironmentVariable

    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    set_names = [
        "".join(part.text for part in action.name) for action in started() if isinstance(action, SetEnvironmentVariable)
    ]
    assert set_names == ["FASTDDS_DEFAULT_PROFILES_FILE"]
    assert os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"


@needs_launch
def test_wrong_arguments_are_named() -> None:
    with pytest.raises(RuntimeError, match=r"viewer.*foxglove.* Valid options are: .*none.*rviz.*rqt"):
        started(viewer="foxglove")
    with pytest.raises(RuntimeError, match=r"params_file:=/nowhere\.yaml does not exist"):
        started(params_file="/nowhere.yaml")
    with pytest.raises(RuntimeError, match="threads:=half is not a number of CPU threads"):
        started(threads="half")
    with pytest.raises(RuntimeError, match="autostart"):
        started(autostart="yes")
    with pytest.raises(RuntimeError, match=r"stereo_layout.*side_by_side"):
        started(stereo_layout="sideways")


@needs_launch
def test_rviz_shows_the_transport_that_the_node_takes() -> None:
    module = load("perception")
    assert module.rviz_view("") == module.rviz_view("raw")
    views = {
        transport: yaml.safe_load(Path(module.rviz_view(transport)).read_text()) for transport in ("raw", "compressed")
    }
    topics = {
        transport: [display["Topic"]["Value"] for display in view["Visualization Manager"]["Displays"]]
        for transport, view in views.items()
    }
    assert topics["raw"].count("/image") == topics["compressed"].count("/image/compressed") == 2
    assert "/image" not in topics["compressed"] and "/overlay" in topics["compressed"]
    assert module.camera_info("image") == "camera_info"
    assert module.camera_info("/davinci/left/image_raw") == "/davinci/left/camera_info"


@needs_launch
def test_live_page() -> None:
    if importlib.util.find_spec("rerun") is None:
        with pytest.raises(RuntimeError, match=r"viewer:=rerun needs rerun-sdk.*pip install"):
            started(viewer="rerun")
        return
    (page,) = [
        action
        for action in started(viewer="rerun", viewer_port="9190", namespace="scope", image="/cam/image_raw")
        if "rerun" in str(getattr(action, "node_executable", ""))
    ]
    line = command(page)
    assert Path(line[0]).name == "rerun_viewer_node"
    assert "__ns:=/scope" in line
    assert "image:=/cam/image_raw" in line
    shown = {"image_transport": "raw", "stereo_layout": "single", "eye": "left"}  # of the file of defaults
    assert parameters(line) == {"port": 9190, "address": "127.0.0.1", **shown}
    with pytest.raises(RuntimeError, match="viewer_port:=no is not a TCP port"):
        started(viewer="rerun", viewer_port="no")


@needs_launch
@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="rerun-sdk (extra viewer) is not installed")
def test_the_live_page_shows_the_images_that_the_parameter_file_names(tmp_path: Path) -> None:
    from launch_ros.actions import LifecycleNode

    own = tmp_path / "own.yaml"

    def shown(**arguments: str) -> tuple[object, ...]:
        node, page = (
            parameters(command(action))
            for action in started(viewer="rerun", params_file=str(own), **arguments)
            if isinstance(action, LifecycleNode) or "rerun" in str(getattr(action, "node_executable", ""))
        )
        names = ("image_transport", "stereo_layout", "eye")
        assert [node[name] for name in names] == [page[name] for name in names]
        return tuple(page[name] for name in names)

    own.write_text("/**:\n  ros__parameters: {image_transport: compressed, stereo_layout: top_bottom, eye: right}\n")
    assert shown() == ("compressed", "top_bottom", "right")
    assert shown(transport="raw", eye="left") == ("raw", "top_bottom", "left")
    own.write_text("/**:\n  ros__parameters:\n    image_transport: ffmpeg\n")
    with pytest.raises(RuntimeError, match="viewer:=rerun does not show transport:=ffmpeg"):
        started(viewer="rerun", params_file=str(own))


@needs_launch
def test_viewer_that_is_not_installed_is_named() -> None:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        with pytest.raises(RuntimeError, match=r"viewer:=rviz needs the package rviz2.*apt install ros-\S*-rviz2"):
            started(viewer="rviz")
    else:
        (viewer,) = [action for action in started(viewer="rviz") if "rviz2" in str(action.node_executable)]
        line = command(viewer)
        assert any(part.endswith("perception.rviz") for part in line)
        assert line[line.index("-f") + 1] == "endoscope_optical"


def stereo(**arguments: str) -> list:
    """What stereo.launch.py starts."""
    return launched("stereo", arguments)


def stereo_includes(**arguments: str) -> list[dict[str, str]]:
    """The arguments with which stereo.launch.py includes perception.launch.py, left and right."""
    from launch.actions import GroupAction, IncludeLaunchDescription

    groups = [entity for entity in stereo(**arguments) if isinstance(entity, GroupAction)]
    included = [
        action
        for group in groups
        for action in group.get_sub_entities()
        if isinstance(action, IncludeLaunchDescription)
    ]
    return [dict(include.launch_arguments) for include in included]


@needs_launch
def test_stereo_includes_both_sides() -> None:
    sides = stereo_includes(rig="psm")
    namespaces = [(side["namespace"], side["image"], side["viewer_port"], side["fixed_frame"]) for side in sides]
    assert namespaces == [
        ("psm/left", "image_raw", "9090", "psm_left_optical"),
        ("psm/right", "image_raw", "9092", "psm_right_optical"),
    ]
    named = stereo_includes(rig="/or/psm", fixed_frame="endo_{side}_frame")
    assert [side["fixed_frame"] for side in named] == ["endo_left_frame", "endo_right_frame"]
    assert stereo_includes(rig="/or/psm")[0]["fixed_frame"] == "or_psm_left_optical"


@needs_launch
@pytest.mark.parametrize(("image", "topic"), [("image_raw", "/psm/image_raw"), ("/dvrk/both", "/dvrk/both")])
@pytest.mark.parametrize("by_file", [False, True])
def test_stereo_of_pictures_that_hold_both_eyes(tmp_path: Path, image: str, topic: str, by_file: bool) -> None:
    from launch_ros.actions import Node

    arguments = {"rig": "psm", "image": image}
    if by_file:
        file = tmp_path / "own.yaml"
        file.write_text("/**:\n  ros__parameters:\n    stereo_layout: top_bottom\n")
        arguments["params_file"] = str(file)
    else:
        arguments["stereo_layout"] = "top_bottom"
    names = ("image", "stereo_layout", "eye", "camera_info")
    sides = [tuple(side[name] for name in names) for side in stereo_includes(**arguments)]
    assert sides == [(topic, "top_bottom", eye, f"/psm/{eye}/camera_info") for eye in ("left", "right")]
    (node,) = [action for action in stereo(**arguments) if isinstance(action, Node)]
    line = command(node)
    assert f"image:={topic}" in line and parameters(line)["stereo_layout"] == "top_bottom"
    assert not [part for part in line if part.startswith(("left/image:=", "right/image:="))]


@needs_launch
def test_wrong_arguments_of_stereo_are_named() -> None:
    with pytest.raises(RuntimeError, match=r"stereo_layout.*side_by_side"):
        stereo(stereo_layout="sideways")
    with pytest.raises(RuntimeError, match=r"params_file:=/nowhere\.yaml does not exist"):
        stereo(params_file="/nowhere.yaml")
    with pytest.raises(RuntimeError, match="viewer_port:=no is not a TCP port"):
        stereo(viewer_port="no")
    with pytest.raises(RuntimeError, match=r"image:=/endo/both is one topic for both eyes.*give stereo_layout"):
        stereo(image="/endo/both")
    with pytest.raises(RuntimeError, match=r"stereo_params_file:=/nowhere\.yaml does not exist"):
        stereo(stereo_params_file="/nowhere.yaml")


@needs_launch
def test_one_eye_each_wins_over_a_file_that_says_both(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("/**:\n  ros__parameters:\n    stereo_layout: top_bottom\n")
    sides = stereo_includes(params_file=str(file), stereo_layout="single")
    assert [(side["image"], side["stereo_layout"]) for side in sides] == [("image_raw", "single")] * 2


@needs_launch
def test_a_rig_without_a_name() -> None:
    sides = [(side["namespace"], side["image"]) for side in stereo_includes(rig="", stereo_layout="top_bottom")]
    assert sides == [("left", "/image_raw"), ("right", "/image_raw")]


@needs_launch
def test_a_parameter_file_of_the_stereo_node(tmp_path: Path) -> None:
    from launch_ros.actions import Node

    file = tmp_path / "stereo.yaml"
    file.write_text("/**:\n  ros__parameters:\n    baseline_mm: 4.5\n    shaft_mm: '8.4'\n    max_skew_ms: 5.0\n")
    for given, expected in (({}, ("8.4", 5.0)), ({"shaft_mm": "5", "max_skew_ms": "2"}, ("5", 2.0))):
        arguments = {"stereo_params_file": str(file), **given}
        (node,) = [action for action in stereo(**arguments) if isinstance(action, Node)]
        values = parameters(command(node))
        assert (str(values["shaft_mm"]), values["max_skew_ms"], values["baseline_mm"]) == (*expected, 4.5)


@needs_launch
def test_stereo_joins_both_sides() -> None:
    from launch_ros.actions import Node

    (node,) = [
        action
        for action in stereo(rig="psm", shaft_mm="8.4", max_skew_ms="10", transport="compressed")
        if isinstance(action, Node)
    ]
    line = command(node)
    assert Path(line[0]).name == "stereo_node" and "__ns:=/psm" in line
    assert {"left/image:=left/image_raw", "right/image:=right/image_raw"} <= set(line)
    given = parameters(line)
    assert (str(given["shaft_mm"]), given["max_skew_ms"], given["image_transport"]) == ("8.4", 10.0, "compressed")
    assert not [action for action in stereo(points="false") if isinstance(action, Node)]
    with pytest.raises(RuntimeError, match="max_skew_ms:=much is not a number of ms"):
        stereo(max_skew_ms="much")


@needs_launch
def test_the_stereo_node_takes_the_images_that_the_parameter_file_names(tmp_path: Path) -> None:
    from launch_ros.actions import Node

    own = tmp_path / "own.yaml"

    def transport(text: str, **arguments: str) -> str:
        own.write_text(text)
        (node,) = [action for action in stereo(params_file=str(own), **arguments) if isinstance(action, Node)]
        return parameters(command(node)).get("image_transport", "")

    said = "/**:\n  ros__parameters:\n    image_transport: {}\n"
    assert transport(said.format("compressed")) == "compressed"
    assert transport(said.format("compressed"), transport="raw") == "raw"
    assert (
        transport("davinci:\n  left:\n    " + said.format("raw").replace("/**", "n").replace("\n", "\n    ")) == "raw"
    )
    assert transport("/**:\n  ros__parameters:\n    threads: 1\n") == ""
    assert transport(said.format("ffmpeg")) == "ffmpeg"
    with pytest.raises(ParameterError, match="image_transport as compressed and raw; expected one for all nodes"):
        transport(said.format("raw") + said.format("compressed").replace("/**", "/davinci/**"))
    with pytest.raises(ParameterError, match="cannot be read as a ROS parameter file"):
        transport("a: [")


@needs_launch
def test_each_eye_has_a_fixed_frame_of_its_own() -> None:
    def frames(**arguments: str) -> list[str]:
        return [side["fixed_frame"] for side in stereo_includes(**arguments)]

    assert frames() == ["davinci_left_optical", "davinci_right_optical"]
    assert frames(rig="/or/psm") == ["or_psm_left_optical", "or_psm_right_optical"]  # as `clip-rl bag make` names them
    assert frames(fixed_frame="scope_{side}") == ["scope_left", "scope_right"]
    assert frames(fixed_frame="rig_base") == ["rig_base", "rig_base"]


@needs_launch
def test_each_node_of_a_pair_gets_half_of_the_cores_unless_told_otherwise(tmp_path: Path) -> None:
    from launch_ros.actions import LifecycleNode

    half = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert [side["threads"] for side in stereo_includes()] == [half, half]
    assert [side["threads"] for side in stereo_includes(threads="5")] == ["5", "5"]

    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters:\n    threads: 7\n")
    for threads, expected in ((half, int(half)), ("0", 0), ("", 7)):
        values = stereo_includes(threads=threads, params_file=str(own))[1]
        (node,) = [action for action in started(**values) if isinstance(action, LifecycleNode)]
        assert parameters(command(node))["threads"] == expected


def replay_actions(bag: Path, out: Path, **arguments: str) -> list:
    """What replay.launch.py starts."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction

    context = LaunchContext()
    context.launch_configurations.update({"bag": str(bag), "out": str(out), **arguments})
    actions: list = []
    for entity in load("replay").generate_launch_description().entities:
        if isinstance(entity, DeclareLaunchArgument | OpaqueFunction):
            actions += entity.execute(context) or []
    (group,) = [action for action in actions if isinstance(action, GroupAction)]
    return list(group.get_sub_entities())


def replay_commands(bag: Path, out: Path, **arguments: str) -> dict[str, list[str]]:
    """Command lines of what it starts beside the included perception.launch.py, by executable."""
    from launch_ros.actions import Node

    lines = [command(action) for action in replay_actions(bag, out, **arguments) if isinstance(action, Node)]
    return {Path(line[0]).name: line for line in lines}


def replay_node(bag: Path, out: Path, **arguments: str) -> dict[str, object]:
    """Parameters of the perception node of a replay."""
    from launch.actions import IncludeLaunchDescription
    from launch_ros.actions import LifecycleNode

    actions = replay_actions(bag, out, **arguments)
    (include,) = [action for action in actions if isinstance(action, IncludeLaunchDescription)]
    passed = {str(name): str(value) for name, value in include.launch_arguments}
    (node,) = [action for action in started(**passed) if isinstance(action, LifecycleNode)]
    return parameters(command(node))


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    import numpy as np
    from clip_rl_perception.bags.bag_writer import BagWriter

    with BagWriter(tmp_path / "operation") as writer:
        writer.write_image(np.zeros((24, 32, 3), np.uint8), 1_700_000_000_000_000_000)
    return tmp_path / "operation"


@needs_launch
def test_replay_starts_a_player_and_an_evaluator_on_the_topic_of_the_bag(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("old")
    lines = replay_commands(bag, out, rate="0.5", lockstep="true", labels="/masks")
    assert set(lines) == {"player_node", "evaluator_node"}
    player, evaluator = lines["player_node"], lines["evaluator_node"]
    assert player[player.index("--speed") + 1] == "0.5" and "--lockstep" in player and "--keep-stamps" in player
    assert evaluator[evaluator.index("--labels") + 1] == "/masks"
    for line in (player, evaluator):
        assert "image:=/endoscope/image_raw" in line  # and image/compressed follows
        assert line[line.index("--stamps") + 1] == str(out / "frames.jsonl")
    assert not (out / "report.html").exists(), "an old report must not pass for this run's"


@needs_launch
def test_replay_without_a_player(bag: Path, tmp_path: Path) -> None:
    lines = replay_commands(bag, tmp_path / "out", play="false")
    assert set(lines) == {"evaluator_node"}
    assert "--stamps" not in lines["evaluator_node"]


@needs_launch
def test_node_and_evaluator_of_a_replay_take_the_same_eye(bag: Path, tmp_path: Path) -> None:
    own, out = tmp_path / "own.yaml", tmp_path / "out"

    def eyes(**arguments: str) -> tuple[list[str], tuple[object, object]]:
        line = replay_commands(bag, out, **arguments)["evaluator_node"]
        node = replay_node(bag, out, **arguments)
        flags = [f"{flag} {line[line.index(flag) + 1]}" for flag in ("--stereo-layout", "--eye") if flag in line]
        return flags, (node.get("stereo_layout"), node.get("eye"))

    assert eyes() == ([], ("single", "left"))
    told = ["--stereo-layout side_by_side", "--eye right"]
    assert eyes(stereo_layout="side_by_side", eye="right") == (told, ("side_by_side", "right"))
    own.write_text("/**:\n  ros__parameters:\n    stereo_layout: side_by_side\n    eye: right\n")
    assert eyes(params_file=str(own)) == (told, ("side_by_side", "right"))
    told = ["--stereo-layout top_bottom", "--eye left"]
    assert eyes(params_file=str(own), stereo_layout="top_bottom", eye="left") == (told, ("top_bottom", "left"))
    assert eyes(params_file=str(own), stereo_layout="single")[0] == []
    own.write_text("/**:\n  ros__parameters:\n    stereo_layout: top_bottom\n")
    assert eyes(params_file=str(own)) == (told, ("top_bottom", None))


@needs_launch
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"bag": "/nowhere"}, "/nowhere"),
        ({"topic": "/other"}, "no images on topic /other"),
        ({"rate": "fast"}, "rate:=fast is not a finite number above 0"),
        ({"rate": "0"}, "rate:=0 is not a finite number above 0"),
        ({"rate": "nan"}, "rate:=nan is not a finite number above 0"),
        ({"rate": "inf"}, "rate:=inf is not a finite number above 0"),
    ],
)
def test_replay_names_what_cannot_be_played(bag: Path, tmp_path: Path, arguments: dict[str, str], reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        replay_commands(**{"bag": bag, "out": tmp_path / "out", **arguments})  # type: ignore[arg-type]
