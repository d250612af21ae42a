"""An instrument of meshes: its links, how they hang together, how far its joints go; read from a small YAML file.

    name: large-needle-driver       # one of the types of cut-outs, or instrument
    joints: {pitch: [-1.2, 1.2], yaw: [-1.2, 1.2], jaw: [0.0, 1.0]}            # rad
    links:
      - {name: shaft, cylinder: {radius: 0.0042, length: 0.3}, part: shaft}    # from z = -length to z = 0
      - {name: wrist, parent: shaft, file: wrist.dae, part: wrist, rpy: [-1.571, -1.571, 0], joint: pitch,
         mesh: {xyz: [0.0051, 0.0032, 0], rpy: [1.571, 3.142, 0]}}
      - {name: upper, parent: wrist, file: tip.dae, part: clasper, xyz: [0.0091, 0, 0], joint: jaw, factor: 0.5}

Frames are those of URDF: `xyz` (unit of the files) and `rpy` (rad) place a link in its parent's, its joint turns about
`axis` (z), `mesh` places the file in the link. The first link is the shaft: it points along z, entry below, tip above.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.errors import one_line
from scipy.spatial.transform import Rotation

from clip_rl_training.synthetic.drawing.rendered_frame import PART_CLASPER, PART_SHAFT, PART_WRIST
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import CLASSES, files_digest

if TYPE_CHECKING:
    import trimesh

PARTS = {"shaft": PART_SHAFT, "wrist": PART_WRIST, "clasper": PART_CLASPER}
_KEYS = {"name", "parent", "file", "cylinder", "part", "xyz", "rpy", "joint", "axis", "factor", "mesh"}


@dataclasses.dataclass(frozen=True)
class Link:
    """A rigid piece."""

    name: str
    parent: int
    """Number of the link that it hangs on; -1: it is the first."""
    mesh: trimesh.Trimesh
    """In the link's frame."""
    part: int
    """Id of the label space endovis2017-parts."""
    place: DoubleArray
    """In its parent's frame where its joint stands at 0, (4, 4)."""
    joint: str
    """Name of its joint; empty: it is fixed."""
    axis: DoubleArray
    """What the joint turns about, unit vector (3,)."""
    factor: float
    """Its angle over that of the joint: one joint opens both jaws."""


@dataclasses.dataclass(frozen=True)
class MeshInstrument:
    """An instrument that can be posed."""

    name: str
    """Class of cut-outs."""
    links: tuple[Link, ...]
    joints: Mapping[str, tuple[float, float]]
    """Range of each, rad."""
    digest: str = ""
    """Of the files that it was read from."""

    def posed(self, angles: Mapping[str, float]) -> list[DoubleArray]:
        """Where each link lies in the shaft's frame, (4, 4) each, at these angles of the joints, rad."""
        found: list[DoubleArray] = []
        for link in self.links:
            place = link.place
            if link.joint:
                place = place @ frame(Rotation.from_rotvec(link.factor * angles[link.joint] * link.axis))
            found.append(place if link.parent < 0 else found[link.parent] @ place)
        return found


def load_mesh_instruments(folder: Path) -> tuple[MeshInstrument, ...]:
    """The instruments that the YAML files of a folder describe, by name of file.

    Raises:
        SynthError: a package is missing, or the folder, a file, a mesh or an entry is not as expected; says which.
    """
    try:
        import trimesh  # noqa: F401
    except ImportError as error:
        raise SynthError("meshes need more packages: pip install 'clip-rl[meshes]'") from error
    if not folder.is_dir():
        raise SynthError(f"no folder of meshes at {folder}")
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if not files:
        raise SynthError(f"{folder} holds no YAML file that says how meshes hang together; docs/synthetic.md shows one")
    return tuple(_instrument(path) for path in files)


def _instrument(path: Path) -> MeshInstrument:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SynthError(f"{path} is not YAML: {one_line(error, 120)}") from error
    if not isinstance(data, dict) or not isinstance(data.get("links"), list) or not data["links"]:
        raise SynthError(f"{path}: expected `name`, `joints` and a list `links`")
    name = data.get("name")
    if name not in CLASSES:
        raise SynthError(f"{path}: name '{name}' is no class; known are {', '.join(CLASSES)}")
    joints = {}
    for joint, span in (data.get("joints") or {}).items():
        low, high = _numbers(span, 2, f"{path}: joint '{joint}'")
        if low > high:
            raise SynthError(f"{path}: joint '{joint}': {low} to {high} is no range")
        joints[str(joint)] = (low, high)
    links: list[Link] = []
    for entry in data["links"]:
        links.append(_link(entry, links, joints, path))
    if links[0].part != PART_SHAFT:
        raise SynthError(f"{path}: the first link must be a part `shaft`: it is where the instrument enters")
    meshes = sorted({path.parent / str(entry["file"]) for entry in data["links"] if "file" in entry})
    return MeshInstrument(name, tuple(links), joints, files_digest(path.parent, [path, *meshes]))


def _link(entry: Any, before: list[Link], joints: Mapping[str, tuple[float, float]], path: Path) -> Link:
    if not isinstance(entry, dict) or not entry.get("name"):
        raise SynthError(f"{path}: a link is no mapping with a `name`: {str(entry)[:80]!r}")
    where = f"{path}: link '{entry['name']}'"
    if unknown := sorted(set(entry) - _KEYS):
        raise SynthError(f"{where}: unknown key '{unknown[0]}'; known are {', '.join(sorted(_KEYS))}")
    if entry.get("part") not in PARTS:
        raise SynthError(f"{where}: part '{entry.get('part')}'; expected {', '.join(PARTS)}")
    names = [link.name for link in before]
    parent = entry.get("parent")
    if before and parent not in names:
        raise SynthError(f"{where}: parent '{parent}' is none of the links before it: {', '.join(names)}")
    joint = str(entry.get("joint", ""))
    if joint and joint not in joints:
        raise SynthError(f"{where}: joint '{joint}' is not among `joints`: {', '.join(joints) or 'none'}")
    axis = np.array(_numbers(entry.get("axis", (0, 0, 1)), 3, f"{where}: axis"))
    if not np.linalg.norm(axis) > 0:
        raise SynthError(f"{where}: axis {axis.tolist()} has no direction")
    mesh = _mesh(entry, path, where)
    placed = entry.get("mesh") or {}
    mesh.apply_transform(_placed(placed, f"{where}: mesh"))
    return Link(
        name=str(entry["name"]),
        parent=names.index(str(parent)) if before else -1,
        mesh=mesh,
        part=PARTS[entry["part"]],
        place=_placed(entry, where),
        joint=joint,
        axis=axis / np.linalg.norm(axis),
        factor=_numbers([entry.get("factor", 1.0)], 1, f"{where}: factor")[0],
    )


def _mesh(entry: Mapping[str, Any], path: Path, where: str) -> trimesh.Trimesh:
    import trimesh

    if ("file" in entry) == ("cylinder" in entry):
        raise SynthError(f"{where}: expected either `file` or `cylinder`")
    if "cylinder" in entry:
        size = entry["cylinder"]
        if not isinstance(size, dict) or set(size) != {"radius", "length"}:
            raise SynthError(f"{where}: expected cylinder: {{radius: ..., length: ...}}")
        radius, length = _numbers([size["radius"], size["length"]], 2, f"{where}: cylinder")
        if min(radius, length) <= 0:
            raise SynthError(f"{where}: a cylinder of radius {radius} and length {length}")
        ends = np.array([[0.0, 0.0, -length], [0.0, 0.0, 0.0]])
        cylinder: trimesh.Trimesh = trimesh.creation.cylinder(radius, segment=ends, sections=48)
        return cylinder
    file = path.parent / str(entry["file"])
    if not file.is_file():
        raise SynthError(f"{where}: no mesh at {file}")
    try:
        mesh = trimesh.load_mesh(file)
    except Exception as error:  # a reader per format, each with errors of its own
        raise SynthError(f"{where}: {file} cannot be read as a mesh: {one_line(error, 120)}") from error
    if not len(getattr(mesh, "faces", ())):
        raise SynthError(f"{where}: {file} holds no faces")
    return mesh


def _placed(entry: Any, where: str) -> DoubleArray:
    """Of URDF's `xyz` and `rpy`, (4, 4)."""
    if not isinstance(entry, dict):
        raise SynthError(f"{where}: expected {{xyz: [x, y, z], rpy: [roll, pitch, yaw]}}")
    turn = Rotation.from_euler("xyz", _numbers(entry.get("rpy", (0, 0, 0)), 3, f"{where}: rpy"))
    return frame(turn, _numbers(entry.get("xyz", (0, 0, 0)), 3, f"{where}: xyz"))


def frame(turn: Rotation, at: Sequence[float] = (0.0, 0.0, 0.0)) -> DoubleArray:
    """A rotation, and a shift after it, as a matrix (4, 4)."""
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = turn.as_matrix(), at
    return found


def _numbers(value: Any, count: int, where: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != count:
        raise SynthError(f"{where}: {str(value)[:60]!r}; expected {count} number{'s' * (count > 1)}")
    try:
        numbers = tuple(float(entry) for entry in value)
    except (TypeError, ValueError) as error:
        raise SynthError(f"{where}: {str(value)[:60]!r}; expected {count} number{'s' * (count > 1)}") from error
    if not np.isfinite(numbers).all():
        raise SynthError(f"{where}: {str(value)[:60]!r}; expected finite numbers")
    return numbers
