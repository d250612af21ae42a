"""Cut-outs of mesh instruments: rays through every pixel (Embree by trimesh), lit as drawn instruments are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from clip_rl_perception.atomic_write import make_folder, write_bytes, write_text
from scipy.spatial.transform import Rotation

from clip_rl_training.synthetic.drawing.banks import texture_bank
from clip_rl_training.synthetic.drawing.rendered_frame import PART_SHAFT, as_bytes, as_floats
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.instruments.finishes import Finish, response_table, sample_shaft_finish, sample_steel
from clip_rl_training.synthetic.meshes.mesh_instrument import MeshInstrument, frame

if TYPE_CHECKING:
    import trimesh

_NOTE = "meshes.txt"
"""Beside the cut-outs: which meshes they show."""
_FINER = 2
"""Rays per pixel and side."""


@dataclasses.dataclass(frozen=True)
class MeshView:
    """How an instrument is looked at. The camera is far away: parallel lines stay parallel."""

    width: int = 480
    """Width of the cut-out, px; the shaft comes in at its left edge."""
    shaft: tuple[float, float] = (4.0, 14.0)
    """Length of shaft that is shown, in its diameters."""
    lean: float = 0.7
    """Largest angle between the shaft and the picture's plane, rad."""


def render_mesh(
    instrument: MeshInstrument, rng: np.random.Generator, view: MeshView | None = None
) -> tuple[ByteArray, ByteArray]:
    """A random pose, light and material of an instrument.

    Returns:
        RGBA uint8 (H, W, 4), tip to the right, cut off by the left edge; and part ids uint8 (H, W), 0 outside.
    """
    import trimesh

    view = view or MeshView()
    places = instrument.posed({name: rng.uniform(*span) for name, span in instrument.joints.items()})
    radius = float(np.abs(instrument.links[0].mesh.bounds[:, :2]).max())
    turned = _turned(rng, view)
    meshes = [
        link.mesh.copy().apply_transform(turned @ place) for link, place in zip(instrument.links, places, strict=True)
    ]
    far = max(float(mesh.bounds[1, 0]) for mesh in meshes)
    near = -2 * radius * rng.uniform(*view.shaft) * float(np.cos(np.arcsin(turned[2, 2])))
    top = max(float(np.abs(mesh.bounds[:, 1]).max()) for mesh in meshes) + 0.5 * radius
    step = (far + 0.5 * radius - near) / (view.width * _FINER)
    columns = near + (np.arange(view.width * _FINER) + 0.5) * step
    rows = np.arange(-top, top, step)
    rows = rows[: len(rows) // _FINER * _FINER]
    whole: trimesh.Trimesh = trimesh.util.concatenate(meshes)  # type: ignore[assignment]
    link_of = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
    x, y = np.meshgrid(columns, rows)
    origins = np.stack([x.ravel(), y.ravel(), np.full(x.size, whole.bounds[1, 2] + radius)], axis=1)
    hit = whole.ray.intersects_first(origins, np.tile([0.0, 0.0, -1.0], (len(origins), 1))).reshape(x.shape)
    return _shaded(instrument, rng, whole, link_of, hit, step / radius)


def _turned(rng: np.random.Generator, view: MeshView) -> DoubleArray:
    """Shaft's frame to the camera's, (4, 4): x to the right, y down, z towards the camera; shaft along x, leaning."""
    angles = (rng.uniform(0, 2 * np.pi), np.pi / 2 + rng.uniform(-view.lean, view.lean))
    return frame(Rotation.from_euler("zy", angles))


def _shaded(
    instrument: MeshInstrument,
    rng: np.random.Generator,
    whole: trimesh.Trimesh,
    link_of: npt.NDArray[np.intp],
    hit: npt.NDArray[np.intp],
    step: float,
) -> tuple[ByteArray, ByteArray]:
    shown = hit >= 0
    normals = as_floats(whole.face_normals[hit])
    normals[normals[..., 2] < 0] *= -1.0  # what is seen faces the camera, however the file's faces are wound
    lean = rng.normal(0, 0.4, 2)
    bank = texture_bank(0)
    grain = bank.crop(rng, "rough", (shown.shape[0], shown.shape[1]))
    rgb = np.zeros((*shown.shape, 3), np.float32)
    parts = np.zeros(shown.shape, np.uint8)
    ambient = (rng.uniform(0.4, 0.7), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5))
    steel, shaft = sample_steel(rng), sample_shaft_finish(rng, 0.05)
    for number, link in enumerate(instrument.links):
        here = shown & (link_of[hit] == number)
        if not here.any():
            continue
        facing = _smoothed(normals, here, max(0.8, 0.08 / step))
        slope = (facing[:, 1] - lean[1]) + 0.5 * (facing[:, 0] - lean[0])
        index = np.clip(128 + 63.5 * slope, 0, 255).astype(np.uint8)
        finish: Finish = shaft if link.part == PART_SHAFT else steel
        table = response_table(rng, finish, ambient)
        tone = 1.0 + grain[here] * np.float32(0.25 * finish.speckle + 0.05)
        rgb[here] = table[index] * np.clip(tone, 0.2, 2.0)[:, None]
        parts[here] = link.part
    return _averaged(rgb, shown, parts)


def _smoothed(normals: FloatArray, here: BoolArray, sigma: float) -> FloatArray:
    """Slopes x and y of a link's surface where it is seen, (n, 2): what is faceted is round."""
    weight = as_floats(here.astype(np.float32))
    soft = as_floats(cv2.GaussianBlur(normals * weight[..., None], (0, 0), sigma)[here])
    return as_floats(soft[:, :2] / np.maximum(soft[:, 2:], 0.05 * np.maximum(np.abs(soft).max(axis=1), 1e-6)[:, None]))


def _averaged(rgb: FloatArray, shown: BoolArray, parts: ByteArray) -> tuple[ByteArray, ByteArray]:
    """Rays to pixels."""
    height, width = shown.shape[0] // _FINER, shown.shape[1] // _FINER
    weight = as_floats(cv2.resize(shown.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA))
    color = as_floats(cv2.resize(rgb * shown[..., None], (width, height), interpolation=cv2.INTER_AREA))
    color /= np.maximum(weight, 1e-3)[..., None]
    alpha = as_bytes(np.round(weight * 255).astype(np.uint8))
    most = as_bytes(
        np.stack([parts[row::_FINER, column::_FINER] for row in range(_FINER) for column in range(_FINER)]).max(axis=0)
    )
    most[alpha == 0] = 0
    return np.dstack([np.clip(color, 0, 255).astype(np.uint8), alpha]), most


def write_mesh_cutouts(
    instruments: tuple[MeshInstrument, ...], folder: Path, *, count: int, seed: int
) -> Iterator[tuple[int, int]]:
    """Write `count` cut-outs as `drawing.user_images` reads them, those that are not there yet; yields (done, count).

    Raises:
        SynthError: the folder holds other cut-outs than these, also of the same meshes as they were.
        ClipRlError: the folder is a file, or cannot be made.
    """
    make_folder(folder)
    names = [f"{instruments[index % len(instruments)].name}_{seed}_{index:05d}" for index in range(count)]
    wanted = {f"{name}{ending}" for name in names for ending in (".png", ".parts.png")}
    if other := sorted(path.name for path in folder.glob("*.png") if path.name not in wanted):
        raise SynthError(
            f"{folder} holds cut-outs of another seed or count ({other[0]}); choose another folder or delete it"
        )
    note, digest = folder / _NOTE, " ".join(each.digest for each in instruments)
    if not any(folder.glob("*.png")):
        write_text(note, digest + "\n")
    elif note.is_file() and note.read_text(encoding="utf-8", errors="replace").strip() != digest:
        # Without the note they were made before there was one, and are taken.
        raise SynthError(
            f"{folder} holds cut-outs of meshes that have changed since; choose another folder or delete it"
        )
    for index, name in enumerate(names):
        if not (folder / f"{name}.png").is_file():
            rng = np.random.default_rng([seed, index])
            rgba, parts = render_mesh(instruments[index % len(instruments)], rng)
            stored = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
            write_bytes(folder / f"{name}.parts.png", cv2.imencode(".png", parts)[1].tobytes())
            write_bytes(folder / f"{name}.png", cv2.imencode(".png", stored)[1].tobytes())  # last: both are there
        yield index + 1, count
