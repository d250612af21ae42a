"""The user's own pictures: tissue without instruments, and instruments cut out of theirs with an alpha channel.

Few seeds suffice: Wang et al. 2022, "Rethinking Surgical Instrument Segmentation: A Background Image Can Be All You
Need" (arXiv 2206.11804) train on one background and a few instruments, augmented and blended.

    BACKGROUNDS/*.png, *.jpg              pictures of tissue
    CUTOUTS/bipolar-forceps/any.png       the folder names the class; or the file: bipolar-forceps_2.png
    CUTOUTS/classes.yaml                  or this: {any.png: bipolar-forceps, folder: suction-instrument}
    CUTOUTS/any.parts.png                 optional, same size, gray: 0 outside, 1 shaft, 2 wrist, 3 clasper

Classes are the seven of the label space endovis2018-type, or `instrument` where the type is not known.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import one_line
from clip_rl_perception.folder_files import IMAGE_SUFFIXES, below, image_files
from clip_rl_perception.labels import UNLABELLED
from clip_rl_perception.pictures.picture_files import PictureError, decode_rgb, decode_stored, read_picture
from clip_rl_perception.scene.content_area import estimate_content_area

from clip_rl_training.synthetic.drawing.rendered_frame import TYPE_NAMES, as_bytes
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError

_LARGEST = 1600
"""Longest side kept, px; larger pictures are scaled down once."""
_RIM = 0.012
"""Share of the longer side within which a cut-out counts as cut off by the picture's edge."""
_LEAST_ALPHA = 64
"""Opaque pixels that a cut-out must have."""

CLASSES: dict[str, int] = {name.replace(" ", "-"): i + 1 for i, name in enumerate(TYPE_NAMES)} | {
    "instrument": UNLABELLED
}
"""Type id by class name; an instrument of unknown type is unlabelled in label spaces of types, else an instrument."""


@dataclasses.dataclass(frozen=True)
class Cutout:
    """An instrument cut out of a picture. Coordinates are (x, y) in its own pixels."""

    name: str
    """File name, for messages."""
    rgb: ByteArray
    """(H, W, 3)."""
    alpha: ByteArray
    """(H, W), 255 where it is opaque."""
    type_id: int
    """Id of the label space endovis2018-type, or 255 for unknown."""
    parts: ByteArray | None
    """Part ids, (H, W), or None where they are not known."""
    entry: tuple[float, float] | None
    """Middle of the edge at which the picture cuts it off; None where it lies free."""
    tip: tuple[float, float]
    """Its pixel farthest from the entry."""
    width: float
    """Its width: across at the entry, or the shorter side of its box."""


@functools.lru_cache(maxsize=4)
def load_backgrounds(folder: str) -> tuple[ByteArray, ...]:
    """The pictures of a folder, RGB, sorted by name, without black surrounds; kept in memory.

    Raises:
        SynthError: no such folder, no picture in it, or one that cannot be read.
    """
    root = _folder(folder, "backgrounds")
    files = sorted(image_files(root))
    if not files:
        raise SynthError(
            f"{root} holds no pictures; expected {', '.join(IMAGE_SUFFIXES)} of tissue without instruments"
        )
    return tuple(_without_surround(_read(path, decode_rgb)) for path in files)


def _without_surround(rgb: ByteArray) -> ByteArray:
    """The part of a picture that is tissue all over: its content area, of a circle the rectangle inside."""
    content = estimate_content_area(rgb)
    if content is None:
        return rgb
    crop = content.crop
    left, top, right, bottom = crop.x, crop.y, crop.x + crop.width, crop.y + crop.height
    if content.circle is not None:
        x, y, radius = content.circle
        half = 0.7 * radius
        left, right = max(left, int(x - half)), min(right, int(x + half))
        top, bottom = max(top, int(y - half)), min(bottom, int(y + half))
    rim = 2 if (right - left, bottom - top) != (rgb.shape[1], rgb.shape[0]) else 0  # where the picture fades to black
    inner = rgb[top + rim : bottom - rim, left + rim : right - rim]
    return np.ascontiguousarray(inner) if min(inner.shape[:2]) >= 32 else rgb


@functools.lru_cache(maxsize=4)
def load_cutouts(folder: str) -> tuple[Cutout, ...]:
    """The cut-outs of a folder and its subfolders, sorted by name; kept in memory.

    Raises:
        SynthError: no such folder, no PNG in it, one without alpha, empty, of unknown class, or with parts that do not
            fit; names the file and what was expected.
    """
    root = _folder(folder, "cut-outs")
    named = _named_classes(root)
    files = [path for path in _pngs(root) if not path.name.lower().endswith(".parts.png")]
    if not files:
        raise SynthError(f"{root} holds no cut-outs; expected PNG files with an alpha channel")
    return tuple(_cutout(path, root, named) for path in files)


def pictures_digests(backgrounds: str, cutouts: str) -> dict[str, str]:
    """Tells the pictures of the user's folders from others, those folders that there are ("": none).

    Raises:
        SynthError: no such folder, or a file that cannot be read.
    """
    found = {}
    if backgrounds:
        root = _folder(backgrounds, "backgrounds")
        found["backgrounds"] = files_digest(root, sorted(image_files(root)))
    if cutouts:
        root = _folder(cutouts, "cut-outs")
        named = [path for path in (root / "classes.yaml",) if path.is_file()]
        found["cutouts"] = files_digest(root, [*_pngs(root), *named])
    return found


def files_digest(root: Path, files: Iterable[Path]) -> str:
    """Tells files below `root` from others, by what they are called and what is in them. Raises `SynthError`."""
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(
                f"{path.relative_to(root).as_posix()}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
            )
        except OSError as error:
            raise SynthError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:12]


def _pngs(root: Path) -> list[Path]:
    return [path for path in below(root, "**/*") if path.suffix.lower() == ".png"]


def _folder(folder: str, what: str) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise SynthError(f"no folder of {what} at {root}")
    return root


def _read(path: Path, decode: Callable[[bytes], npt.NDArray[Any]]) -> ByteArray:
    try:
        image = decode(read_picture(path))
    except PictureError as error:
        raise SynthError(f"{path} cannot be read; it {error}; replace or remove it") from error
    factor = _LARGEST / max(image.shape[:2])
    if factor < 1:
        nearest = image.ndim == 2
        image = cv2.resize(
            image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
        )
    return as_bytes(image)


def _named_classes(root: Path) -> dict[str, str]:
    path = root / "classes.yaml"
    if not path.is_file():
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SynthError(f"{path} is not YAML: {one_line(error, 120)}") from error
    if not isinstance(data, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in data.items()):
        raise SynthError(f"{path}: expected a mapping of file or folder names to class names")
    for key in data:
        if not (root / key).exists():
            raise SynthError(f"{path} names '{key}', which is not in {root}")
    return dict(data)


def class_of(path: Path, root: Path, named: dict[str, str]) -> int:
    """Type id of a cut-out: what classes.yaml says of the file or a folder above it, else its folder's or own name.

    A name that tells the type counts before one that says `instrument`.

    Raises:
        SynthError: no known class in any of them; lists the classes.
    """
    relative = path.relative_to(root)
    above = [str(parent) for parent in relative.parents if str(parent) != "."]
    for key in (str(relative), *above):
        if key in named:
            wanted = _spelled(named[key])
            if wanted not in CLASSES:
                raise SynthError(f"{root / 'classes.yaml'}: '{named[key]}' is no class; known are {', '.join(CLASSES)}")
            return CLASSES[wanted]
    texts = [_spelled(text) for text in (path.stem, *(Path(name).name for name in above))]
    fitting = [name for text in texts for name in CLASSES if text.startswith(name)]
    if fitting:
        return CLASSES[next((name for name in fitting if CLASSES[name] != UNLABELLED), fitting[0])]
    raise SynthError(
        f"{path}: neither its name nor its folder's begins with a class, and classes.yaml does not name it; "
        f"classes are {', '.join(CLASSES)}"
    )


def _spelled(text: str) -> str:
    return text.strip().lower().replace("_", "-").replace(" ", "-")


def _cutout(path: Path, root: Path, named: dict[str, str]) -> Cutout:
    type_id = class_of(path, root, named)
    image = _read(path, decode_stored)
    if image.ndim != 3 or image.shape[2] != 4:
        raise SynthError(f"{path} has no alpha channel; expected an RGBA PNG that is transparent round the instrument")
    alpha = np.ascontiguousarray(image[..., 3])
    opaque = alpha > 127
    if opaque.sum() < _LEAST_ALPHA or opaque.all():
        raise SynthError(
            f"{path} is {'wholly' if opaque.all() else 'hardly anywhere'} opaque; expected an instrument cut out"
        )
    parts = _parts(path, alpha)
    # Trimmed with care: an edge that cuts the instrument off must stay the picture's edge.
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    # Hand-drawn masks often end a little before the edge.
    rim = 1 + round(_RIM * max(opaque.shape))
    at_edge = opaque.copy()
    at_edge[rim:-rim, rim:-rim] = False
    entry, width = _entry(at_edge)
    points = np.argwhere(opaque)[:, ::-1].astype(np.float64)
    origin = np.array(entry) if entry is not None else points[np.argmin(points[:, 0])]
    tip = points[np.argmax(((points - origin) ** 2).sum(axis=1))]
    if entry is None:
        width = float(min(bottom - top, right - left))
    window = (slice(top, bottom), slice(left, right))
    return Cutout(
        name=path.name,
        rgb=_bled(np.ascontiguousarray(image[window][..., :3]), alpha[window]),
        alpha=np.ascontiguousarray(alpha[window]),
        type_id=type_id,
        parts=None if parts is None else np.ascontiguousarray(parts[window]),
        entry=None if entry is None else (entry[0] - float(left), entry[1] - float(top)),
        tip=(float(tip[0] - left), float(tip[1] - top)),
        width=max(width, 2.0),
    )


def _bled(rgb: ByteArray, alpha: ByteArray) -> ByteArray:
    """The colours carried outwards over the rim: what lies under transparent pixels must not shine through."""
    weight = (alpha > 200).astype(np.float32)
    spread = cv2.GaussianBlur(weight, (0, 0), 3.0)[..., None]
    near = cv2.GaussianBlur(rgb.astype(np.float32) * weight[..., None], (0, 0), 3.0) / np.maximum(spread, 1e-4)
    inside = weight[..., None] > 0
    return as_bytes(np.where(inside, rgb, np.clip(near, 0, 255)).astype(np.uint8))


def _entry(at_edge: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[tuple[float, float] | None, float]:
    """Middle and length of the largest opaque stretch along the edge; None and 0 if there is none."""
    count, _, stats, centroids = cv2.connectedComponentsWithStats(at_edge.astype(np.uint8), connectivity=8)
    if count < 2:
        return None, 0.0
    longest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    middle = centroids[longest]
    length = float(np.hypot(stats[longest, cv2.CC_STAT_WIDTH], stats[longest, cv2.CC_STAT_HEIGHT]))
    return (float(middle[0]), float(middle[1])), length


def _parts(path: Path, alpha: ByteArray) -> ByteArray | None:
    beside = [path.with_name(f"{path.stem}{ending}") for ending in (".parts.png", ".parts.PNG", ".PARTS.PNG")]
    file = next((each for each in beside if each.is_file()), None)
    if file is None:
        return None
    parts = _read(file, lambda content: cv2.cvtColor(decode_rgb(content), cv2.COLOR_RGB2GRAY))
    if parts.shape != alpha.shape:
        raise SynthError(f"{file} is {parts.shape}, its cut-out {alpha.shape}; both must have the same size")
    if parts.max() > 3 or ((parts == 0) & (alpha > 127)).any():
        raise SynthError(
            f"{file}: expected 1 shaft, 2 wrist or 3 clasper wherever the cut-out is opaque, 0 outside; "
            f"it holds {np.unique(parts).tolist()[:8]}"
        )
    # Carried outwards: where edges are blended the nearest part counts.
    _, labels = cv2.distanceTransformWithLabels(
        (parts == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(labels.max()) + 1, np.uint8)
    nearest[labels[parts > 0]] = parts[parts > 0]
    return as_bytes(nearest[labels])
