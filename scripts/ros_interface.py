"""Write the tables of docs/ros_interface.md from the code: topics, QoS, parameters, messages, diagnostics, launch.

    python scripts/ros_interface.py            # rewrite the file
    python scripts/ros_interface.py --check    # exit status 1 if it is not current

Tables stand between `<!-- table: NAME -->` and `<!-- end -->`; everything else is written by hand. Needs no ROS: what
only ROS could import is read from its source. What the code cannot know, such as what a control node should do, stands
in scripts/ros_interface_texts.yaml; a topic, status code or diagnostics key that has no text there, or a text without
one, is an error.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import re
import sys
import types
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ros_ws" / "src" / "clip_rl_perception" / "clip_rl_perception"
NODES = PACKAGE / "nodes"
MESSAGES = ROOT / "ros_ws" / "src" / "clip_rl_interfaces"
DOCUMENT = ROOT / "docs" / "ros_interface.md"
sys.path[:0] = [str(PACKAGE.parent), str(Path(__file__).parent)]

import ros_interface_sources as sources  # noqa: E402
from clip_rl_perception.labels import label_space_names, load_label_space  # noqa: E402
from clip_rl_perception.nodes.diagnostics import NodeState, check  # noqa: E402
from clip_rl_perception.nodes.health import Health  # noqa: E402
from clip_rl_perception.nodes.parameters import FIELDS  # noqa: E402
from clip_rl_perception.rig.rig_parameters import RigParameters  # noqa: E402
from clip_rl_perception.ros.parameter_fields import When, fields_of  # noqa: E402
from clip_rl_perception.scene.types import Validity  # noqa: E402
from clip_rl_perception.viewer.viewer_parameters import ViewerParameters  # noqa: E402

_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


texts = types.SimpleNamespace(**yaml.safe_load((ROOT / "scripts/ros_interface_texts.yaml").read_text("utf-8")))
"""What the code cannot know, by the names that the code uses."""


class DriftError(Exception):
    """Code and texts speak of different things."""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _described(kind: str, names: Iterable[str], described: dict[str, Any]) -> None:
    """Raise when the code has what the texts lack, or the other way round."""
    known = set(names)
    missing, extra = sorted(known - set(described)), sorted(set(described) - known)
    if missing or extra:
        raise DriftError(
            f"{kind}: without a text in scripts/ros_interface_texts.yaml: {missing}; texts of what is gone: {extra}"
        )


def inputs_table() -> str:
    """What the node subscribes to."""
    topics = sources.subscribed(
        *(NODES / f"{name}.py" for name in ("image_subscription", "camera_subscription", "bond_client"))
    )
    _described("inputs", (topic.name for topic in topics), texts.INPUTS)
    rows = [[f"`{topic.name}`", topic.type, topic.qos, texts.INPUTS[topic.name]] for topic in topics]
    return _table(("topic", "type", "QoS", "what"), rows)


def outputs_table(outputs: Path = NODES / "publishers.py") -> str:
    """What the node publishes."""
    topics = sources.published(outputs, NODES / "diagnostics_publisher.py", NODES / "bond_client.py")
    _described("outputs", (topic.name for topic in topics), texts.OUTPUTS)
    rows = [[f"`{topic.name}`", topic.type, topic.qos, *texts.OUTPUTS[topic.name]] for topic in topics]
    return _table(("topic", "type", "QoS", "when", "what"), rows)


def services_table() -> str:
    """The node's own services."""
    found = [entry for name in ("list_services.py", "perception_node.py") for entry in sources.services(NODES / name)]
    _described("services", (name for name, _ in found), texts.SERVICES)
    return _table(("service", "type", "what"), [[f"`{name}`", kind, texts.SERVICES[name]] for name, kind in found])


def status_table() -> str:
    """Status codes, from SceneStatus.msg, and what to do on each."""
    meanings = {
        name.split("=")[0]: (int(name.split("=")[1]), comment)
        for name, _, comment in sources.message_fields(MESSAGES / "msg" / "SceneStatus.msg")
        if "=" in name
    }
    if {name: value for name, (value, _) in meanings.items()} != {kind.name: kind.value for kind in Validity}:
        raise DriftError(f"SceneStatus.msg has {meanings}, scene/types.py {list(Validity)}")
    _described("status codes", meanings, texts.STATUS)
    rows = [[str(value), f"`{name}`", _sentence(text), texts.STATUS[name]] for name, (value, text) in meanings.items()]
    return _table(("value", "name", "meaning", "a control node"), rows)


def fields_table(message: str) -> str:
    """Fields of one of our messages, from its file."""
    rows = [
        [f"`{name}`", kind, _sentence(comment)]
        for name, kind, comment in sources.message_fields(MESSAGES / "msg" / f"{message}.msg")
        if "=" not in name
    ]
    return _table(("field", "type", "meaning"), rows)


def parameters_table(when: When) -> str:
    """The node's parameters that may change at this time."""
    return _parameters({name: field for name, field in FIELDS.items() if field.metadata["when"] is when})


def viewer_table() -> str:
    """Parameters of the viewer node."""
    return _parameters(fields_of(ViewerParameters))


def rig_table() -> str:
    """Parameters of the stereo node."""
    return _parameters(fields_of(RigParameters))


def constants_table(message: str) -> str:
    """Constants of one of our messages, from its file."""
    rows = [
        [name.split("=")[1], f"`{name.split('=')[0]}`", _sentence(comment)]
        for name, _, comment in sources.message_fields(MESSAGES / "msg" / f"{message}.msg")
        if "=" in name
    ]
    return _table(("value", "name", "meaning"), rows)


def _parameters(fields: dict[str, dataclasses.Field[Any]]) -> str:
    rows = []
    for name, field in fields.items():
        low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
        limits = "" if low is None else f"{_number(low)} to {_number(high)}"
        bounds = ", ".join(f"`{choice}`" for choice in choices) if choices else limits
        default = json.dumps(field.default)
        kind = {"str": "string", "int": "integer", "float": "double", "bool": "bool"}[type(field.default).__name__]
        rows.append([f"`{name}`", kind, f"`{default}`", bounds, field.metadata["meaning"]])
    return _table(("parameter", "type", "default", "possible", "meaning"), rows)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def lifecycle_table() -> str:
    """What the node does in its transitions."""
    _described("transitions", sources.transitions(NODES / "perception_node.py"), texts.TRANSITIONS)
    return _table(("transition", "from, to", "what"), [[f"`{n}`", *row] for n, row in texts.TRANSITIONS.items()])


def diagnostics_table() -> str:
    """Keys of both diagnostic statuses."""
    state = NodeState(lifecycle="active", summary=Health().summary(1.0), events={"/image": "text"})
    rows, seen = [], []
    for report in check(state):
        for key in report.values:
            general = re.sub(r"^frames [A-Z_]+$", "frames CODE", re.sub(r"^event: .*$", "event: TOPIC", key))
            general = re.sub(r" (p50|p95|p99|max) \(ms\)$", " p50, p95, p99, max (ms)", general)
            if (report.component, general) not in seen:
                seen.append((report.component, general))
    _described("diagnostics", (f"{component}: {key}" for component, key in seen), texts.DIAGNOSTICS)
    for component, key in seen:
        rows.append([component, f"`{key}`", texts.DIAGNOSTICS[f"{component}: {key}"]])
    return _table(("status", "key", "value"), rows)


def launch_table(name: str) -> str:
    """Arguments of a launch file."""
    rows = sources.launch_arguments(ROOT / "launch" / f"{name}.launch.py")
    return _table(("argument", "default", "what"), [[f"`{argument}`", *rest] for argument, *rest in rows])


def labels_table() -> str:
    """The shipped label spaces: ids, names, which are instruments."""
    rows = []
    for name in label_space_names():
        space = load_label_space(name)
        shown = (f"{c.id} **{c.name}**" if c.instrument else f"{c.id} {c.name}" for c in space.classes)
        rows.append([f"`{space.name}`", ", ".join(shown)])
    return _table(("label space", "ids and names (bold: instrument or part of one, gets tags)"), rows)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


TABLES: dict[str, Callable[[], str]] = {
    "inputs": inputs_table,
    "outputs": outputs_table,
    "status": status_table,
    "services": services_table,
    "lifecycle": lifecycle_table,
    "diagnostics": diagnostics_table,
    "viewer": viewer_table,
    "rig": rig_table,
    "rig-validity": partial(constants_table, "Instrument3DArray"),
    "rig-source": partial(constants_table, "Keypoint3D"),
    "labels": labels_table,
    **{name: partial(fields_table, name) for name in ("SceneStatus", "InstrumentTag", "Keypoint", "ClassList")},
    **{name: partial(fields_table, name) for name in ("Instrument3DArray", "Instrument3D", "Keypoint3D")},
    **{f"parameters-{when.name.lower()}": partial(parameters_table, when) for when in When},
    **{f"launch-{name}": partial(launch_table, name) for name in ("perception", "stereo", "replay")},
}


def render(text: str) -> str:
    """The document with every table as the code has it now.

    Raises:
        DriftError: a table has no place in the document, a place no table, or code and texts differ.
    """
    _described("tables of the document", (match[2] for match in _BLOCK.finditer(text)), dict(TABLES))
    return _BLOCK.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}{match[3]}", text)


def main() -> int:
    """Rewrite or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if the file is not current")
    arguments = parser.parse_args()
    before = DOCUMENT.read_text(encoding="utf-8")
    try:
        after = render(before)
    except DriftError as error:
        print(f"ros_interface: {error}", file=sys.stderr)
        return 1
    if before == after:
        return 0
    if arguments.check:
        sys.stderr.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), "file", "code"))
        return 1
    DOCUMENT.write_text(after, encoding="utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
