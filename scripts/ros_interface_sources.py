"""What only ROS could import, read from its source: topics, services, messages, arguments of launch files."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

from clip_rl_perception.messages import transports

_QOS = {
    "reliable": "reliable, volatile, depth {}",
    "best_effort": "best effort, volatile, depth {}",
    "latched": "reliable, transient local, depth 1",
}
"""Functions of ros/qos.py, in words."""


@dataclasses.dataclass(frozen=True)
class Topic:
    """A topic as its source declares it."""

    name: str
    type: str
    qos: str


def _imports(tree: ast.AST) -> dict[str, str]:
    """Imported message and service classes -> "package/Name"."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.endswith((".msg", ".srv")):
            found.update({alias.name: f"{node.module.split('.')[0]}/{alias.name}" for alias in node.names})
    return found


def _profiles(tree: ast.AST) -> dict[str, str]:
    """Constants that are made by ros/qos.py -> words."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _name(node.value.func) in _QOS:
            depth = [ast.unparse(argument) for argument in node.value.args]
            found[_name(node.targets[0])] = _QOS[_name(node.value.func)].format(*depth)
    return found


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _calls(tree: ast.AST, function: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node.func) == function]


def parse(path: Path) -> ast.Module:
    """A source file's tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def published(outputs: Path, *nodes: Path) -> list[Topic]:
    """Topics that Outputs and others publish, these with a plain depth or a profile."""
    tree = parse(outputs)
    kinds, profiles = _imports(tree), _profiles(tree)
    found = []
    for call in _calls(tree, "_publisher"):
        kind, topic, profile = call.args
        found.append(Topic(ast.literal_eval(topic), kinds[_name(kind)], profiles[_name(profile)]))
    for tree in map(parse, nodes):
        for call in _calls(tree, "create_publisher"):
            kind, topic, depth = call.args
            qos = _profiles(tree).get(_name(depth)) or f"reliable, volatile, depth {ast.literal_eval(depth)}"
            found.append(Topic(ast.literal_eval(topic), _imports(tree)[_name(kind)], qos))
    return found


def subscribed(inputs: Path, camera_info: Path, bond: Path) -> list[Topic]:
    """Topics that the node subscribes to."""
    tree = parse(inputs)
    profiles = _profiles(tree)
    found = []
    for transport, known in transports.TRANSPORTS.items():
        profile = profiles["PACKET_QOS" if transport == transports.FFMPEG else "IMAGE_QOS"]
        found.append(Topic(transports.topic_of("image", transport), known.replace("/msg/", "/"), profile))
    tree = parse(camera_info)
    (call,) = _calls(tree, "create_subscription")
    (profile,) = _profiles(tree).values()
    beside = call.args[1]
    assert isinstance(beside, ast.Call)
    found.append(Topic(ast.literal_eval(beside.args[-1]), _imports(tree)[_name(call.args[0])], profile))
    tree = parse(bond)
    (call,) = _calls(tree, "create_subscription")
    kind, topic, _, quality = call.args
    return [*found, Topic(ast.literal_eval(topic), _imports(tree)[_name(kind)], _profiles(tree)[_name(quality)])]


def services(node: Path) -> list[tuple[str, str]]:
    """(name, type) of the node's own services."""
    tree = parse(node)
    kinds = _imports(tree)
    return [(ast.literal_eval(call.args[1]), kinds[_name(call.args[0])]) for call in _calls(tree, "create_service")]


def transitions(node: Path) -> list[str]:
    """Lifecycle transitions that the node defines."""
    defined = (item.name for item in ast.walk(parse(node)) if isinstance(item, ast.FunctionDef))
    return [name.removeprefix("on_") for name in defined if name.startswith("on_")]


def message_fields(path: Path) -> list[tuple[str, str, str]]:
    """(name, type, comment) of the fields and constants of a .msg file."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        declaration, _, comment = line.partition("#")
        words = declaration.split(None, 1)
        if len(words) == 2:
            found.append((words[1].strip(), words[0], comment.strip()))
    return found


def launch_arguments(path: Path) -> list[tuple[str, str, str]]:
    """(name, default, description) of a launch file."""
    found = []
    for call in _calls(parse(path), "DeclareLaunchArgument"):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        default = given.get("default_value")
        if default is None:
            shown = "*required*"
        elif isinstance(default, ast.Constant):
            shown = f"`{default.value}`" if default.value else ""
        else:
            source = ast.unparse(default)
            known = {"perception.yaml": "`config/perception.yaml`", "CORES": "half of the cores"}
            shown = next((text for part, text in known.items() if part in source), "?")
        choices = given.get("choices")
        text = ast.literal_eval(given["description"])
        if isinstance(choices, ast.List):
            text += f" One of: {', '.join(filter(None, ast.literal_eval(choices)))}."
        found.append((ast.literal_eval(call.args[0]), shown, text))
    return found
