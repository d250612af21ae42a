"""The import arrows of docs/architecture.md, read from the sources: also imports inside functions count."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PERCEPTION = ROOT / "ros_ws" / "src" / "clip_rl_perception"
TRAINING = ROOT / "training"

GROUND = {"errors", "resources", "argument_types", "whole_file"}
# What each part may import of ours, beside itself. Commands (modules with `run` and `add_arguments`) are shells.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "resources": {"errors"},
    "argument_types": set(),
    "whole_file": {"errors"},
    "labels": {"errors"},
    "scene": {*GROUND, "labels"},
    "model": {*GROUND, "labels"},
    "engine": {*GROUND, "labels", "scene", "model"},
    "pipeline": {*GROUND, "labels", "scene", "model", "engine"},
    "evaluation": {*GROUND, "labels", "scene", "model", "engine", "pipeline"},
}
BELOW["viewer"] = {*GROUND, "labels", "scene", "evaluation"}
SHELL = {*GROUND, "labels", "scene", "model", "engine", "pipeline", "evaluation", "viewer"}
BELOW |= dict.fromkeys(("nodes", "session", "cli", "training"), SHELL)
STARTS_NODES = {*SHELL, "session"}
BELOW |= dict.fromkeys(("demo", "command"), STARTS_NODES)
BELOW["bench"] = {*STARTS_NODES, "demo"}

ROS = {
    "rclpy", "rcl_interfaces", "sensor_msgs", "std_msgs", "std_srvs", "geometry_msgs", "diagnostic_msgs",
    "visualization_msgs", "vision_msgs", "lifecycle_msgs", "builtin_interfaces", "rosgraph_msgs",
    "clip_rl_interfaces", "cv_bridge", "launch", "launch_ros", "ament_index_python",
}  # fmt: skip
NETWORK = {"torch", "torchvision", "open_clip", "timm"}
FORBIDDEN: dict[str, set[str]] = dict.fromkeys(set(BELOW) - {"nodes"}, ROS)
FORBIDDEN["scene"] = ROS | NETWORK
FORBIDDEN["labels"] = ROS | NETWORK | {"cv2"}
FORBIDDEN["model"] = ROS | {"cv2"}
FORBIDDEN["viewer"] = ROS | NETWORK


@dataclasses.dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int


def modules_under(root: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """Dotted name -> file, of every module of `packages` under `root`."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """Every import in the file at any depth; `from package import module` names the module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(name, full if full in modules else base, node.lineno)


def is_command(path: Path) -> bool:
    functions = {
        node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    }
    return {"add_arguments", "run"} <= functions


def part_of(name: str, modules: dict[str, Path]) -> str:
    """The part of the architecture that a module of ours belongs to."""
    top, _, rest = name.partition(".")
    if top == "clip_rl_training":
        return "training"
    part = rest.partition(".")[0]
    if part not in BELOW and name in modules and is_command(modules[name]):
        return "command"
    return part


def faults_in(modules: dict[str, Path]) -> list[str]:
    """Every import that goes against the arrows, as `module:line imports what`."""
    faults = []
    for name, path in modules.items():
        if name == "clip_rl_perception":
            faults += [
                f"{name}:{found.line} must import nothing"
                for found in imports_of(name, path, modules)
                if found.imported != "__future__"
            ]
            continue
        part = part_of(name, modules)
        if part not in BELOW:
            faults.append(f"{name} belongs to no floor: name it in docs/architecture.md and in this test")
            continue
        for found in imports_of(name, path, modules):
            top = found.imported.partition(".")[0]
            if top in ("clip_rl_perception", "clip_rl_training"):
                target = part_of(found.imported, modules)
                if target and target != part and target not in BELOW[part]:
                    faults.append(
                        f"{name}:{found.line} imports {found.imported}: {part} stands below or beside {target}"
                    )
            elif top in FORBIDDEN.get(part, set()):
                faults.append(f"{name}:{found.line} imports {found.imported}, which {part} must not know")
    return faults


def cycle_in(modules: dict[str, Path]) -> list[str]:
    """One import cycle as a list of module names that ends where it begins; empty when there is none."""
    graph = {
        name: sorted({found.imported for found in imports_of(name, path, modules)} & set(modules) - {name})
        for name, path in modules.items()
    }
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in finished:
            return []
        for following in graph[name]:
            if cycle := visit(following, [*trail, name]):
                return cycle
        finished.add(name)
        return []

    for name in graph:
        if cycle := visit(name, []):
            return cycle
    return []


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    found = modules_under(PERCEPTION, ("clip_rl_perception",)) | modules_under(TRAINING, ("clip_rl_training",))
    assert {"clip_rl_perception.labels", "clip_rl_perception.engine.protocol", "clip_rl_training"} <= set(found)
    return found


def test_imports_follow_the_arrows(modules: dict[str, Path]) -> None:
    assert faults_in(modules) == []


def test_no_import_cycles(modules: dict[str, Path]) -> None:
    assert cycle_in(modules) == []


# The checker itself, on small trees with one fault each.


def tree(root: Path, files: dict[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        path = root / "clip_rl_perception" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return modules_under(root, ("clip_rl_perception",))


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"scene/a.py": "def f():\n    import torch\n"}, "scene.a:2 imports torch, which scene must not"),
        ({"model/a.py": "import cv2\n"}, "which model must not know"),
        ({"evaluation/a.py": "from rclpy.node import Node\n"}, "which evaluation must not know"),
        ({"model/a.py": "from ..scene import view\n", "scene/view.py": ""}, "model stands below"),
        ({"engine/a.py": "from clip_rl_perception import pipeline\n", "pipeline.py": ""}, "engine stands below"),
        ({"demo/a.py": "import clip_rl_perception.nodes.run\n", "nodes/run.py": ""}, "demo stands below"),
        ({"nodes/a.py": "if True:\n    from clip_rl_training import train\n"}, "nodes stands below"),
        ({"measure.py": "def add_arguments(p): ...\ndef run(a): ...\nfrom . import demo\n", "demo.py": ""}, "command"),
        ({"helpers.py": ""}, "clip_rl_perception.helpers belongs to no floor"),
    ],
)  # fmt: skip
def test_checker_sees_faults(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    found = faults_in(tree(tmp_path, files))
    assert len(found) == 1
    assert fault in found[0]


def test_checker_lets_the_arrows_pass(tmp_path: Path) -> None:
    good = {
        "nodes/a.py": "import rclpy\nfrom clip_rl_perception.pipeline import run\nfrom .b import c\n",
        "nodes/b.py": "",
        "pipeline.py": "from clip_rl_perception.scene import view\nimport torch\n",
        "scene/view.py": "import cv2\nimport numpy as np\n",
    }
    assert faults_in(tree(tmp_path, good)) == []


def test_checker_sees_cycles(tmp_path: Path) -> None:
    ring = {
        "scene/a.py": "from .b import x\n",
        "scene/b.py": "def f():\n    from . import c\n",
        "scene/c.py": "from .a import y\n",
    }
    prefix = "clip_rl_perception.scene"
    assert cycle_in(tree(tmp_path, ring)) == [f"{prefix}.a", f"{prefix}.b", f"{prefix}.c", f"{prefix}.a"]
