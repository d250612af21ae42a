"""The set-up holds together: pins, package manifests, entry points, the Fast DDS profile, refusals of setup.sh."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import clip_rl_perception
import pytest
from clip_rl_perception.options import parser_for
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ROOT / "training"
PERCEPTION = ROOT / "ros_ws" / "src" / "clip_rl_perception"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
COMMANDS = PROJECT["entry-points"]["clip_rl.commands"]


def requirements_in(name: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith(("#", "-r"))]


def environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }


def pins(name: str, python: str) -> dict[str, str]:
    """Package -> version that `name` fixes on one Python; fails where a package has two."""
    found: dict[str, str] = {}
    for requirement in requirements_in(name):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is not pinned"
        assert "*" not in specifier.version, f"{requirement} is not pinned"
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            package = canonicalize_name(requirement.name)
            assert package not in found, f"{package} is pinned twice for Python {python}"
            found[package] = specifier.version
    return found


def wanted(extras: tuple[str, ...], python: str) -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    all_of_them = [Requirement(line) for line in lines]
    return [entry for entry in all_of_them if entry.marker is None or entry.marker.evaluate(environment(python))]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("constraints", "extras"),
    [("constraints.txt", tuple(EXTRAS)), ("constraints-apt.txt", ("cpu", "training", "peers", "dev"))],
)
def test_every_dependency_is_pinned_within_its_bounds(constraints: str, extras: tuple[str, ...], python: str) -> None:
    fixed = pins(constraints, python)
    for requirement in wanted(extras, python):
        version = fixed.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no pin for Python {python}: run scripts/lock.sh"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} excludes the pin {version}"


def test_torch_is_pinned_without_a_build() -> None:
    # scripts/setup.sh adds +cpu; a build in the pin would shut out the other one.
    for python in PYTHONS:
        assert pins("constraints.txt", python)["torch"].replace(".", "").isdigit()


def test_apt_pins_keep_the_distribution_numpy() -> None:
    assert pins("constraints-apt.txt", "3.12")["numpy"].startswith("1.26.")


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("distro", ["jazzy", "kilted"])
def test_ros_pins_hold_every_root_and_agree_with_the_rest(distro: str, python: str) -> None:
    fixed = pins(f"ros-{distro}.txt", python)
    roots = {canonicalize_name(entry.name) for entry in requirements_in(f"ros-{distro}.in")}
    assert f"ros-{distro}-rclpy" in roots
    assert roots <= set(fixed)
    for package, version in pins("constraints.txt", python).items():
        assert fixed.get(package, version) == version, f"{package} differs between ros-{distro}.txt and constraints.txt"


@pytest.mark.parametrize("package", ["clip_rl_interfaces", "clip_rl_perception"])
def test_package_manifests(package: str) -> None:
    root = ET.parse(ROOT / "ros_ws" / "src" / package / "package.xml").getroot()
    assert (root.tag, root.get("format"), root.findtext("name")) == ("package", "3", package)
    assert root.findtext("version") == clip_rl_perception.__version__
    assert root.findtext("license") == PROJECT["license"]["text"]
    depends = [entry.text for entry in root if entry.tag.endswith("depend")]
    assert len(depends) == len(set(depends))


@pytest.mark.parametrize(("package", "folder"), [("clip_rl_perception", PERCEPTION), ("clip_rl_training", TRAINING)])
def test_files_beside_the_code_are_installed(package: str, folder: Path) -> None:
    root, patterns = folder / package, PYPROJECT["tool"]["setuptools"]["package-data"][package]
    installed = {path for pattern in patterns for path in root.glob(pattern)}
    beside = {path for path in root.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in beside - installed if path.suffix not in (".py", ".typed")} == set()
    if package == "clip_rl_perception":
        by_colcon = (folder / "setup.py").read_text(encoding="utf-8")
        assert [pattern for pattern in patterns if f'"{pattern}"' not in by_colcon] == []


def test_ros_imports_are_declared() -> None:
    root = ET.parse(PERCEPTION / "package.xml").getroot()
    declared = {entry.text for entry in root.iter("exec_depend")}
    # Used where they are installed, done without elsewhere.
    optional = {"vision_msgs", "cv_bridge"}
    ros_names = {name for name in declared if name and not name.startswith("python3-")} | optional
    used = set()
    for path in [*(PERCEPTION / "clip_rl_perception" / "nodes").glob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                used.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
    messages = {name for name in used if name.endswith(("_msgs", "_interfaces"))}
    used_of_ros = messages | (used & {"rclpy", "launch", "launch_ros"})
    assert "rclpy" in used_of_ros
    assert used_of_ros <= ros_names


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_import_and_their_options_make_a_parser(name: str) -> None:
    module = importlib.import_module(COMMANDS[name])
    assert f"clip-rl {name}" in parser_for(module, f"clip-rl {name}").format_usage()
    assert callable(module.run)


def setup_py_entry_points() -> dict[str, list[str]]:
    """The entry points in the ROS package's setup.py, with PACKAGE filled in."""
    tree = ast.parse((PERCEPTION / "setup.py").read_text(encoding="utf-8"))
    (points,) = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "entry_points"]
    return dict(eval(compile(ast.Expression(points), "setup.py", "eval"), {"PACKAGE": "clip_rl_perception"}))


def test_ros_package_installs_the_robots_commands() -> None:
    found = dict(entry.split(" = ") for entry in setup_py_entry_points()["clip_rl.commands"])
    assert found == {name: module for name, module in COMMANDS.items() if module.startswith("clip_rl_perception.")}


def test_node_scripts_name_existing_functions() -> None:
    for entry in setup_py_entry_points()["console_scripts"]:
        module, _, function = entry.split(" = ")[1].partition(":")
        path = PERCEPTION.joinpath(*module.split(".")).with_suffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, entry


@pytest.mark.parametrize("page", ["setup.md", "first_day.md"])
def test_pages_say_how_a_node_is_started_without_ros2(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    files = set(re.findall(r"ros_ws/install/lib/clip_rl_perception/(\w+) --ros-args", text))
    assert files and files <= {entry.split(" = ")[0] for entry in setup_py_entry_points()["console_scripts"]}


def test_fast_dds_profile_has_room_for_images_and_keeps_udp() -> None:
    root = ET.parse(PERCEPTION / "config" / "fastdds_shm.xml").getroot()
    space = {"dds": root.tag[1 : root.tag.index("}")]}
    transports = {}
    for entry in root.iterfind(".//dds:transport_descriptor", space):
        transports[entry.findtext("dds:type", namespaces=space)] = entry
    assert set(transports) == {"SHM", "UDPv4"}
    frame = 1280 * 1024 * 3
    assert int(transports["SHM"].findtext("dds:maxMessageSize", "0", space)) > frame
    assert int(transports["SHM"].findtext("dds:segment_size", "0", space)) >= 16 * frame
    (participant,) = root.iterfind(".//dds:participant", space)
    assert participant.get("is_default_profile") == "true"
    used = {entry.text for entry in participant.iterfind(".//dds:userTransports/dds:transport_id", space)}
    assert used == {entry.findtext("dds:transport_id", namespaces=space) for entry in transports.values()}


def test_wheel_repair_rewrites_both_include_folders_and_nothing_else() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        fix_ros_wheels = importlib.import_module("fix_ros_wheels")
    finally:
        sys.path.pop(0)
    before = (
        'INTERFACE_INCLUDE_DIRECTORIES "${_IMPORT_PREFIX}/include/x;/opt/python/cp312-cp312/include/python3.12;'
        '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include"\nset(y /opt/ros/include)\n'
    )
    after = fix_ros_wheels.repair(before, "/usr/include/python3.12", "/venv/numpy/include")
    assert after == (
        'INTERFACE_INCLUDE_DIRECTORIES "${_IMPORT_PREFIX}/include/x;/usr/include/python3.12;/venv/numpy/include"\n'
        "set(y /opt/ros/include)\n"
    )
    assert fix_ros_wheels.repair(after, "/other", "/other") == after


def bash(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {
        key: value for key, value in os.environ.items() if key not in ("PYTHON", "TORCH", "ROS", "AMENT_PREFIX_PATH")
    }
    return subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=clean | variables, capture_output=True, text=True, check=False, timeout=60
    )


def old_python(tmp_path: Path) -> str:
    """An interpreter that says it is Python 3.9: this one, with `sys.version_info` set before the given code runs."""
    path = tmp_path / "python3.9"
    code = f'exec "{sys.executable}" -c "import sys; sys.version_info = (3, 9, 18); $2"'
    path.write_text(f"#!/bin/sh\n{code}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PYTHON": "no-such-python"}, "no 'no-such-python' on the PATH"),
        ({"TORCH": "gpu"}, "TORCH=gpu; it is cpu or cuda"),
        ({"ROS": "humble"}, "ROS=humble; it is auto, jazzy, kilted or none"),
    ],
)
def test_setup_refuses_with_one_line(variables: dict[str, str], message: str) -> None:
    done = bash("scripts/setup.sh", **{"PYTHON": sys.executable, **variables})
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_setup_refuses_other_pythons(tmp_path: Path) -> None:
    done = bash(". scripts/setup.sh; choose_python", PYTHON=old_python(tmp_path))
    assert done.returncode == 1
    assert "3.10 to 3.13 are supported" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_setup_refuses_to_mix_wheels_with_a_sourced_ros(tmp_path: Path) -> None:
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "rclpy"
    marker.parent.mkdir(parents=True)
    marker.touch()
    done = bash("scripts/setup.sh", PYTHON=sys.executable, ROS="jazzy", AMENT_PREFIX_PATH=f"/nowhere:{tmp_path}")
    assert done.returncode == 1
    assert f"but {tmp_path} is sourced in this shell" in done.stderr


def test_only_a_foreign_prefix_with_rclpy_is_a_sourced_ros(tmp_path: Path) -> None:
    ours = f"{ROOT}/.venv:{ROOT}/ros_ws/install:{tmp_path}"
    done = bash(". scripts/common.sh; clip_rl_sourced_ros", AMENT_PREFIX_PATH=ours, ROS_DISTRO="jazzy")
    assert (done.returncode, done.stdout) == (0, "")


def test_scripts_find_their_place_whatever_the_shell_searches(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for cdpath in (str(tmp_path), ".", f"{tmp_path}:"):
        done = bash('. scripts/common.sh; echo "$clip_rl_root"', CDPATH=cdpath)
        assert (done.returncode, done.stdout.splitlines()) == (0, [str(ROOT)])
    for script in [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci/run"]:
        relative = re.findall(
            r"^.*\bcd (?!-- |\./|\"\$clip_rl_root\").*", script.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert [line for line in relative if not line.lstrip().startswith("#")] == [], script
