"""The import arrows of docs/architecture.md, read from the sources: also imports inside functions count."""

from __future__ import annotations

import ast
import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PERCEPTION = ROOT / "ros_ws" / "src" / "clip_rl_perception"
TRAINING = ROOT / "training"

# The floors from the ground up: a part may import those named before it, and those of its own floor that it names.
GROUND = (
    "errors",
    "resources",
    "arrays",
    "instance_channels",
    "typed_data",
    "options",
    "cli_types",
    "progress",
    "atomic_write",
    "picture_encoding",
    "folder_files",
    "yaml_files",
    "threads",
    "labels",
    "instrument_types",
)
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "resources": {"errors"},
    "arrays": set(),
    "instance_channels": set(),
    "typed_data": {"errors"},
    "options": {"errors"},
    "cli_types": {"options"},
    "progress": set(),
    "atomic_write": {"errors"},
    "picture_encoding": {"arrays", "errors"},
    "folder_files": set(),
    "yaml_files": set(),
    "threads": set(),
    "labels": {"errors", "yaml_files"},
    "instrument_types": {"errors", "labels"},
    "kernels": {"arrays"},
    "scene": {*GROUND, "kernels"},
    "model": set(GROUND),
    "engine": {*GROUND, "kernels", "model"},
    "looks": {*GROUND, "kernels", "scene", "engine"},
    "naming": {*GROUND, "scene", "engine"},
    "pipeline_config": {*GROUND, "scene", "looks", "naming"},
    "tagging": {*GROUND, "pipeline_config", "scene", "engine", "looks", "naming"},
    "pipeline": {*GROUND, "pipeline_config", "tagging", "kernels", "scene", "model", "engine", "looks", "naming"},
    "pictures": set(GROUND),
    "stereo": {*GROUND, "kernels", "scene"},
    "messages": {*GROUND, "scene", "runs", "stereo"},
    "metrics": set(GROUND),
    "sources": {*GROUND, "scene", "pictures", "messages", "metrics"},
    "stream_options": {*GROUND, "scene", "looks", "naming", "pipeline"},
    "stream": {*GROUND, "kernels", "scene", "model", "engine", "naming", "pipeline", "sources", "stream_options"},
    "bags": {*GROUND, "scene", "pictures", "messages", "metrics", "sources"},
    "runs": {*GROUND, "scene", "metrics"},
    "report": {*GROUND, "scene", "metrics", "runs"},
}
LIBRARY = {*BELOW}
BELOW["replay"] = LIBRARY
BELOW["viewer"] = {*GROUND, "scene", "stereo", "pictures", "sources", "messages", "runs", "ros", "replay"}
BELOW["ros"] = {*GROUND, "messages"}
BELOW["nodes"] = {*LIBRARY, "ros"}
BELOW["rig"] = {*LIBRARY, "ros", "nodes"}
BELOW["predict"] = LIBRARY
BELOW["harness"] = {*LIBRARY, "replay", "ros"}
BELOW["demo"] = {*LIBRARY, "replay"}
BELOW["bench"] = {*LIBRARY, "replay", "demo"}
BELOW["stress"] = {*LIBRARY, "replay"}
BELOW["commands"] = {*LIBRARY, "predict", "replay", "viewer", "demo", "bench", "stress"}
BELOW["cli"] = {"errors", "options"}
TRAINING_FLOORS = (
    ("typed_config", "curriculum"),
    ("shipped_configs",),
    ("corruptions", "synthetic", "datasets"),
    ("data",),
    ("losses",),
    ("naming", "validity"),
    ("loop",),
    ("evaluating", "fuzzing", "looking", "instances", "searching", "adapting"),
    ("comparing",),
    ("commands",),
)
"""The training package from the ground up: nothing of it imports its own floor; all of it may import the library."""
for level, floor in enumerate(TRAINING_FLOORS):
    lower = {f"training.{part}" for below in TRAINING_FLOORS[:level] for part in below}
    BELOW |= {f"training.{part}": {*LIBRARY, "replay", *lower} for part in floor}
BELOW["training.fuzzing"] |= {"stress"}
NODE_FOLDERS = {"nodes", "rig", "harness", "ros", "viewer"}
"""Where rclpy may be imported; in `viewer` by the node alone."""

ROS = {
    "rclpy", "rcl_interfaces", "sensor_msgs", "std_msgs", "std_srvs", "geometry_msgs", "diagnostic_msgs",
    "visualization_msgs", "vision_msgs", "bond", "lifecycle_msgs", "builtin_interfaces", "rosgraph_msgs",
    "clip_rl_interfaces", "cv_bridge", "launch", "launch_ros", "ament_index_python",
}  # fmt: skip
NETWORK = {"torch", "torchvision", "open_clip", "timm"}
FORBIDDEN: dict[str, set[str]] = dict.fromkeys(set(BELOW) - NODE_FOLDERS, ROS)
FORBIDDEN["scene"] = FORBIDDEN["kernels"] = FORBIDDEN["stereo"] = ROS | NETWORK
FORBIDDEN["labels"] = ROS | NETWORK | {"cv2"}
FORBIDDEN["model"] = ROS | {"cv2"}
FORBIDDEN["viewer"] = NETWORK
MOST_MODULES = 25
MOST_LINES = 350


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


def part_of(name: str) -> str:
    """The part of the architecture that a module of ours belongs to: its folder, or its own name below the package."""
    top, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    return f"training.{part}" if top == "clip_rl_training" else part


def folder_of(name: str, modules: dict[str, Path]) -> str:
    """The folder of a module as a dotted name; a module that lies beside the folders stands for itself."""
    if modules[name].name == "__init__.py":
        return name
    folder = name.rpartition(".")[0]
    return name if "." not in folder else folder


def faults_in(modules: dict[str, Path]) -> list[str]:
    """Every import that goes against the arrows, as `module:line imports what`."""
    faults = []
    for name, path in modules.items():
        if name in ("clip_rl_perception", "clip_rl_training"):
            faults += [
                f"{name}:{found.line} must import nothing"
                for found in imports_of(name, path, modules)
                if found.imported not in ("__future__", "importlib", "typing")  # what is lazy is test_image_model's
            ]
            continue
        part = part_of(name)
        if part not in BELOW:
            faults.append(f"{name} belongs to no floor: name it in docs/architecture.md and in this test")
            continue
        for found in imports_of(name, path, modules):
            top = found.imported.partition(".")[0]
            if top in ("clip_rl_perception", "clip_rl_training"):
                target = part_of(found.imported)
                if target and target != part and target not in BELOW[part]:
                    faults.append(
                        f"{name}:{found.line} imports {found.imported}: {part} stands below or beside {target}"
                    )
            elif top in FORBIDDEN.get(part, set()) or (part == "viewer" and top in ROS and not name.endswith("_node")):
                faults.append(f"{name}:{found.line} imports {found.imported}, which {part} must not know")
    return faults


def module_imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Modules of ours by the module that imports them."""
    return {
        name: {found.imported for found in imports_of(name, path, modules)} & set(modules) - {name}
        for name, path in modules.items()
    }


def folder_imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Folders by the folder that imports them; what a folder's ``__init__`` offers of its own does not count."""
    graph: dict[str, set[str]] = {}
    for name, imported in module_imports(modules).items():
        if modules[name].name == "__init__.py":
            continue
        folder = folder_of(name, modules)
        graph.setdefault(folder, set()).update(folder_of(target, modules) for target in imported)
        graph[folder].discard(folder)
    return graph


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """One import cycle as a list of names that ends where it begins; empty when there is none."""
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in finished:
            return []
        for following in sorted(graph.get(name, ())):
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


def test_no_module_imports_itself_by_a_detour(modules: dict[str, Path]) -> None:
    assert cycle_in(module_imports(modules)) == []


def test_no_folder_imports_itself_by_a_detour(modules: dict[str, Path]) -> None:
    assert cycle_in(folder_imports(modules)) == []


def test_every_folder_can_be_read(modules: dict[str, Path]) -> None:
    counts = collections.Counter(path.parent for path in modules.values() if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_every_file_can_be_read(modules: dict[str, Path]) -> None:
    files = [*modules.values(), *(ROOT / "scripts").glob("*.py"), *(ROOT / "launch").glob("*.py")]
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_every_file_name_has_one_meaning(modules: dict[str, Path]) -> None:
    names = collections.Counter(path.name for path in modules.values() if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


# The checker itself, on small trees with one fault each.


def tree(root: Path, files: dict[str, str], package: str = "clip_rl_perception") -> dict[str, Path]:
    for name, text in files.items():
        path = root / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return modules_under(root, (package,))


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"scene/a.py": "def f():\n    import torch\n"}, "scene.a:2 imports torch, which scene must not"),
        ({"model/a.py": "import cv2\n"}, "which model must not know"),
        ({"sources/a.py": "from rclpy.node import Node\n"}, "which sources must not know"),
        ({"viewer/page.py": "from rclpy.node import Node\n"}, "which viewer must not know"),
        ({"model/a.py": "from ..scene import letterbox\n", "scene/letterbox.py": ""}, "model stands below"),
        ({"engine/a.py": "from clip_rl_perception import pipeline\n", "pipeline.py": ""}, "engine stands below"),
        ({"demo/a.py": "import clip_rl_perception.nodes.run\n", "nodes/run.py": ""}, "demo stands below"),
        ({"report/a.py": "from clip_rl_perception.replay import b\n", "replay/b.py": ""}, "report stands below"),
        ({"nodes/a.py": "if True:\n    from clip_rl_training import train\n"}, "nodes stands below"),
        ({"__init__.py": "def load():\n    from .predict import a\n"}, "clip_rl_perception:2 must import nothing"),
        ({"__init__.py": "import numpy\n"}, "clip_rl_perception:1 must import nothing"),
        ({"helpers.py": ""}, "clip_rl_perception.helpers belongs to no floor"),
    ],
)  # fmt: skip
def test_checker_sees_faults(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    found = faults_in(tree(tmp_path, files))
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"data/a.py": "from ..loop import b\n", "loop/b.py": ""}, "training.data stands below"),
        ({"loop/a.py": "from ..commands import b\n", "commands/b.py": ""}, "beside training.commands"),
        ({"datasets/a.py": "from ..synthetic import b\n", "synthetic/b.py": ""}, "beside training.synthetic"),
        ({"data/a.py": "import clip_rl_perception.nodes.run\n"}, "training.data stands below or beside nodes"),
        ({"losses/a.py": "import rclpy\n"}, "which training.losses must not know"),
        ({"helpers.py": ""}, "clip_rl_training.helpers belongs to no floor"),
    ],
)  # fmt: skip
def test_checker_sees_faults_in_training(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    found = faults_in(tree(tmp_path, files, "clip_rl_training"))
    assert len(found) == 1
    assert fault in found[0]


def test_checker_lets_the_arrows_pass(tmp_path: Path) -> None:
    good = {
        "nodes/a.py": "import rclpy\nfrom clip_rl_perception.pipeline import run\nfrom .b import c\n",
        "nodes/b.py": "",
        "pipeline.py": "from clip_rl_perception.scene import letterbox\nimport torch\n",
        "scene/letterbox.py": "import cv2\nimport numpy as np\n",
    }
    assert faults_in(tree(tmp_path, good)) == []


def test_checker_sees_cycles(tmp_path: Path) -> None:
    ring = {
        "scene/a.py": "from .b import x\n",
        "scene/b.py": "def f():\n    from . import c\n",
        "scene/c.py": "from .a import y\n",
    }
    prefix = "clip_rl_perception.scene"
    assert cycle_in(module_imports(tree(tmp_path, ring))) == [
        f"{prefix}.a",
        f"{prefix}.b",
        f"{prefix}.c",
        f"{prefix}.a",
    ]


def test_checker_sees_folders_that_import_each_other(tmp_path: Path) -> None:
    ring = {
        "scene/a.py": "from ..model import b\n",
        "model/b.py": "",
        "model/c.py": "from ..scene import d\n",
        "scene/d.py": "",
    }
    modules = tree(tmp_path, ring)
    assert cycle_in(module_imports(modules)) == []
    assert cycle_in(folder_imports(modules)) == [f"clip_rl_perception.{name}" for name in ("model", "scene", "model")]
