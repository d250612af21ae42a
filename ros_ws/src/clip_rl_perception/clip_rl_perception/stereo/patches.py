"""Small rectified parts of an eye's picture, in gray and with the instrument's pixels marked.

The map from a part to pixels of the image is smooth: it is computed at nine nodes and interpolated between them by
parabolas, which for parts of a hundred pixels is right to hundredths of a pixel. Only what a part covers is read.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from clip_rl_perception.arrays import ByteArray, CountArray, DoubleArray, FloatArray
from clip_rl_perception.kernels import patch_kernels
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.eye_view import EyeView, Words
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

NODES = np.array([(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])
"""(9, 2): where a part's map is computed, as parts of its half width and height from its middle."""


@dataclasses.dataclass(frozen=True)
class Patches:
    """Parts of one eye's picture, float32 (n, height, width) each."""

    gray: FloatArray
    """0 to 255; 0 outside the picture and what was asked for."""
    own: FloatArray
    """1 where the instrument is, else 0."""
    free: FloatArray
    """0 where a sample lies outside the picture or on another instrument, else 1."""


def take_patches(
    geometry: StereoGeometry,
    eye: EyeGeometry,
    view: EyeView,
    centres: DoubleArray,
    steps: DoubleArray,
    numbers: list[int],
    reaches: CountArray,
    shape: tuple[int, int],
) -> Patches:
    """Parts around places of the virtual camera.

    Args:
        geometry: of the pair.
        eye: the eye's own.
        view: its frame.
        centres: (n, 2), px of the virtual camera.
        steps: (n,), px between samples.
        numbers: of the instrument of each part in `instances`; 0: none, nothing is its own.
        reaches: (n,), how many columns on either side of a part's middle are wanted in gray: reading takes time.
        shape: (height, width) of a part, samples, both odd.
    """
    height, width = shape
    count = len(centres)
    gray, own, free = (np.zeros((count, height, width), np.float32) for _ in range(3))
    if not count:
        return Patches(gray, own, free)
    nodes = nodes_of(geometry, eye, centres, steps, shape)
    # Blocks of pixels about as large as a step, even where every other pixel of them is read.
    shrinks = np.maximum(np.rint(steps * 0.75), 1).astype(np.int64)
    shrinks -= shrinks % 2 * (shrinks >= patch_kernels.THINNED)
    patch_kernels.read_parts(
        *_bytes(view.image), np.array(view.size), _owners(view.instances), nodes, parabolas(height), parabolas(width),
        shrinks, np.array(numbers, np.int64), reaches, gray, own, free,
    )  # fmt: skip
    return Patches(gray, own, free)


def nodes_of(
    geometry: StereoGeometry, eye: EyeGeometry, centres: DoubleArray, steps: DoubleArray, shape: tuple[int, int]
) -> DoubleArray:
    """Where parts have their nodes, (n, 2, 3, 3): x and y, px of the image, by row and column; NaN where nowhere.

    `parabolas` times these times `parabolas` transposed is where all samples are. Arguments as of `take_patches`.
    """
    height, width = shape
    reach = np.array([(width - 1) / 2, (height - 1) / 2])
    nodes = geometry.original(eye, (centres[:, None] + steps[:, None, None] * NODES * reach).reshape(-1, 2))
    return np.ascontiguousarray(nodes.reshape(len(centres), 3, 3, 2).transpose(0, 3, 1, 2))


@functools.lru_cache(maxsize=16)
def parabolas(count: int) -> DoubleArray:
    """(count, 3): weights of the nodes at -1, 0, 1 at `count` places from -1 to 1 (Lagrange)."""
    at = np.linspace(-1.0, 1.0, count)
    return np.column_stack([at * (at - 1) / 2, 1 - at * at, at * (at + 1) / 2])


def border_weights(patches: Patches, radii: list[int]) -> FloatArray:
    """1 for samples about the border of the instrument, float32 (n, height, width), 0 for all others.

    Args:
        patches: n parts.
        radii: how far inside the border samples count, of each part; outside it is one.
    """
    made = np.empty_like(patches.own)
    patch_kernels.border_weights(patches.own, patches.free, np.array(radii, np.int64), made)
    return made


def _bytes(image: ByteArray) -> tuple[ByteArray, CountArray]:
    """All bytes from the first to the last that count, and how far rows and pixels of them are apart.

    Of colours green counts: the one of which cameras have most. Whatever the image is, compiled loops see one type.
    """
    plane = image[..., 1] if image.ndim == 3 else image
    if min(plane.strides) <= 0:
        plane = np.ascontiguousarray(plane)
    down, across = plane.strides
    count = (plane.shape[0] - 1) * down + (plane.shape[1] - 1) * across + 1
    return np.lib.stride_tricks.as_strided(plane, (count,), (1,), writeable=False), np.array([down, across])


def _owners(instances: Words | None) -> Words:
    """In rows without gaps, of one type for compiled loops; one that shows nothing where there are none."""
    made = np.zeros((1, 1), np.uint16) if instances is None else np.ascontiguousarray(instances).view()
    made.flags.writeable = False
    return made
