"""Instruments of the user's own meshes: read, posed, rendered as cut-outs, used in scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
import yaml
from clip_rl_perception.errors import ClipRlError
from clip_rl_training.commands.synth import Frames
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import load_cutouts
from clip_rl_training.synthetic.meshes.mesh_instrument import load_mesh_instruments
from clip_rl_training.synthetic.meshes.mesh_rendering import MeshView, render_mesh, write_mesh_cutouts

LINKS = [
    {"name": "shaft", "cylinder": {"radius": 0.004, "length": 0.3}, "part": "shaft"},
    {"name": "wrist", "parent": "shaft", "file": "wrist.stl", "part": "wrist", "joint": "bend", "axis": [0, 1, 0]},
    {"name": "upper", "parent": "wrist", "file": "jaw.stl", "part": "clasper", "xyz": [0, 0, 0.01], "joint": "jaw",
     "axis": [0, 1, 0], "factor": 0.5},
    {"name": "lower", "parent": "wrist", "file": "jaw.stl", "part": "clasper", "xyz": [0, 0, 0.01], "joint": "jaw",
     "axis": [0, 1, 0], "factor": -0.5},
]  # fmt: skip
PLAIN = {"name": "prograsp-forceps", "joints": {"bend": [-1.0, 1.0], "jaw": [0.0, 0.8]}, "links": LINKS}


def box(width: float, length: float) -> trimesh.Trimesh:
    mesh = trimesh.creation.box((width, width, length))
    mesh.apply_translation((0, 0, length / 2))
    return mesh


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    folder = tmp_path / "meshes"
    folder.mkdir()
    box(0.005, 0.01).export(folder / "wrist.stl")
    box(0.0015, 0.02).export(folder / "jaw.stl")
    (folder / "tool.yaml").write_text(yaml.safe_dump(PLAIN))
    return folder


def test_joints_move_what_hangs_on_them(meshes: Path) -> None:
    (tool,) = load_mesh_instruments(meshes)
    still = tool.posed({"bend": 0.0, "jaw": 0.0})
    np.testing.assert_allclose(still[2][:3, 3], (0, 0, 0.01), atol=1e-12)
    bent = tool.posed({"bend": np.pi / 2, "jaw": 0.6})
    np.testing.assert_allclose(bent[2][:3, 3], (0.01, 0, 0), atol=1e-12)  # z turned about y is x
    tips = [bent[number] @ np.array([0, 0, 0.02, 1.0]) for number in (2, 3)]
    np.testing.assert_allclose([tip[0] for tip in tips], 0.01 + 0.02 * np.cos(0.3))
    assert tips[0][2] == pytest.approx(-tips[1][2]) == pytest.approx(-0.02 * np.sin(0.3))


def test_a_cutout_has_parts_in_order_and_is_cut_off_at_the_left(meshes: Path) -> None:
    (tool,) = load_mesh_instruments(meshes)
    straight = dataclasses.replace(tool, joints={"bend": (0.0, 0.0), "jaw": (0.4, 0.4)})
    rgba, parts = render_mesh(straight, np.random.default_rng(1), MeshView(width=240, lean=0.0))
    assert rgba.dtype == parts.dtype == np.uint8 and rgba.shape == (*parts.shape, 4) and rgba.shape[1] == 240
    opaque = rgba[..., 3] > 127
    assert opaque[:, 0].any() and not opaque[0].any() and not opaque[-1].any() and not opaque[:, -1].any()
    np.testing.assert_array_equal(parts > 0, rgba[..., 3] > 0)
    columns = [np.nonzero((parts == part).any(axis=0))[0] for part in (1, 2, 3)]
    assert columns[0].mean() < columns[1].mean() < columns[2].mean()
    shaft = (parts[:, 5] == 1).sum()
    wrist = (parts[:, int(columns[1].mean())] == 2).sum()
    assert 0.58 < wrist / shaft < 0.95  # a box of 5 mm on a shaft of 8: as wide as its side, its diagonal, or between


def test_meshes_whose_faces_are_wound_inwards_are_lit_alike(meshes: Path) -> None:
    (tool,) = load_mesh_instruments(meshes)
    inwards = [dataclasses.replace(link, mesh=link.mesh.copy()) for link in tool.links]
    for link in inwards:
        link.mesh.invert()
    pictures = [
        render_mesh(each, np.random.default_rng(1), MeshView(width=160))[0]
        for each in (tool, dataclasses.replace(tool, links=tuple(inwards)))
    ]
    np.testing.assert_array_equal(*pictures)


def test_cutouts_are_read_back_and_used_in_scenes(meshes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    tools = load_mesh_instruments(meshes)
    assert list(write_mesh_cutouts(tools, folder, count=3, seed=2)) == [(1, 3), (2, 3), (3, 3)]
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    next(iter(folder.glob("*_00001.png"))).unlink()  # as if it had been interrupted
    list(write_mesh_cutouts(tools, folder, count=3, seed=2))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    for cutout in load_cutouts(str(folder)):
        assert cutout.type_id == 2 and cutout.entry is not None and cutout.entry[0] < 8
        assert cutout.parts is not None and {1, 2, 3} <= set(np.unique(cutout.parts).tolist())
    with pytest.raises(SynthError, match="another seed or count"):
        list(write_mesh_cutouts(tools, folder, count=2, seed=2))


def test_cutouts_of_meshes_that_have_changed_are_refused(meshes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    list(write_mesh_cutouts(load_mesh_instruments(meshes), folder, count=1, seed=2))
    box(0.003, 0.02).export(meshes / "jaw.stl")
    changed = load_mesh_instruments(meshes)
    with pytest.raises(SynthError, match="holds cut-outs of meshes that have changed since"):
        list(write_mesh_cutouts(changed, folder, count=2, seed=2))
    (folder / "meshes.txt").unlink()
    assert list(write_mesh_cutouts(changed, folder, count=1, seed=2)) == [(1, 1)], "made before that was noted"
    assert not (folder / "meshes.txt").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ClipRlError, match="it is a file; expected a folder"):
        list(write_mesh_cutouts(changed, tmp_path / "file", count=1, seed=2))


def test_synth_frames_takes_meshes(meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_rl_training.commands.synth._CUTOUTS", 2)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    options = Frames(out=Path(), size=(160, 128), sequences=3, frames=1, workers=1, meshes=meshes)
    assert list(options.write())[-1] == (3, 3)
    assert len(list((tmp_path / "out-cutouts").glob("*.parts.png"))) == 2
    types = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / "out").glob("seq_*/types/*.png")]
    assert set(np.unique(types)) == {0, 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "hammer"}, "name 'hammer' is no class"),
        ({"links": []}, "a list `links`"),
        ({"joints": {"bend": [1.0, -1.0], "jaw": [0, 1]}}, "1.0 to -1.0 is no range"),
        ({"joints": {"jaw": [0, 1]}}, "joint 'bend' is not among `joints`"),
        ({"links": [{**LINKS[0], "part": "handle"}]}, "part 'handle'; expected shaft, wrist, clasper"),
        ({"links": [{**LINKS[0], "part": "wrist"}]}, "first link must be a part `shaft`"),
        ({"links": [LINKS[0], {**LINKS[1], "parent": "elbow"}]}, "parent 'elbow'"),
        ({"links": [LINKS[0], {**LINKS[1], "file": "gone.stl"}]}, "no mesh at"),
        ({"links": [LINKS[0], {**LINKS[1], "file": "tool.yaml"}]}, "cannot be read as a mesh"),
        ({"links": [LINKS[0], {**LINKS[1], "axis": [0, 0, 0]}]}, "has no direction"),
        ({"links": [LINKS[0], {**LINKS[1], "xyz": [0, 0]}]}, "expected 3 numbers"),
        ({"links": [LINKS[0], {**LINKS[1], "colour": "red"}]}, "unknown key 'colour'"),
        ({"links": [{**LINKS[0], "cylinder": {"radius": 0, "length": 1}}]}, "a cylinder of radius 0.0"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(meshes: Path, change: dict[str, object], told: str) -> None:
    (meshes / "tool.yaml").write_text(yaml.safe_dump({**PLAIN, **change}))
    with pytest.raises(SynthError) as raised:
        load_mesh_instruments(meshes)
    assert told in str(raised.value) and "tool.yaml" in str(raised.value) and "\n" not in str(raised.value)


def test_folders_without_an_instrument_are_told(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="no folder of meshes"):
        load_mesh_instruments(tmp_path / "none")
    with pytest.raises(SynthError, match="no YAML file"):
        load_mesh_instruments(tmp_path)
