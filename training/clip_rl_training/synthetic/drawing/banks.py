"""A bank of random fields made once per process, from which scenes sample by random rotation, scale and offset.

Drawing a fresh fractal for every layer of every still would cost more than everything else together.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np
from clip_rl_perception.arrays import FloatArray

from clip_rl_training.synthetic.drawing import noise
from clip_rl_training.synthetic.drawing.rendered_frame import as_floats

BANK_SIDE = 512
"""Side of a bank field, px."""
GRAIN_SIDE = 1024
"""Side of a grain field, px."""
NOISE_SIDE = 1536
"""Side of the sensor noise tile, px."""


_FINEST = {"smooth": 16.0, "rough": 3.0, "ridged": 6.0, "cells": 6.0, "fibres": 4.0, "vessels": 4.0}
"""Shortest wavelength that matters, bank px, by kind of field."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A random seamless field."""

    values: FloatArray
    """float32, square; what is sampled finely is stored twice over in both directions: most views then lie inside."""
    slope: float
    """Root mean square of its gradient per bank pixel."""


@dataclasses.dataclass(frozen=True)
class TextureBank:
    """Fields by kind, and a tile of white noise."""

    fields: dict[str, tuple[Field, ...]]
    grains: tuple[Field, ...]
    """Fine-grained seamless fields, float32 (GRAIN_SIDE, GRAIN_SIDE)."""
    sensor: FloatArray
    """White Gaussian noise, deviation 1, float32 (NOISE_SIDE, NOISE_SIDE)."""

    def sample(
        self,
        rng: np.random.Generator,
        kind: str,
        size: tuple[int, int],
        extent: float,
        stretch: float = 1.0,
        detail: float = 1.0,
    ) -> tuple[FloatArray, float]:
        """Draw a random view of a random field.

        Args:
            rng: Source of randomness.
            kind: Key of `fields`.
            size: (H, W) wanted.
            extent: Size of the field's whole side in output pixels: larger means coarser texture.
            stretch: Anisotropy: how much longer the texture is in one direction.
            detail: Below 1 allows a coarser view, for what is no relief: light would show its lattice there.

        Returns:
            The view, float32 (H, W), and the root mean square of its gradient per output pixel.
        """
        group = self.fields[kind]
        field = group[int(rng.integers(len(group)))]
        angle = rng.uniform(0, 2 * np.pi)
        center = rng.uniform(0, BANK_SIDE, 2) + (field.values.shape[0] - BANK_SIDE) / 2
        step = BANK_SIDE / max(extent, 1.0)
        # Fields without fine structure are sampled on a coarser grid and enlarged: the same in a fraction of the time.
        reduce = int(np.clip(_FINEST[kind] / (4.0 * step * detail), 1, 6))
        height, width = size
        small = (max(2, -(-width // reduce)), max(2, -(-height // reduce)))
        cosine, sine = np.cos(angle) * step * reduce, np.sin(angle) * step * reduce
        turn = np.array([[cosine, -sine / stretch], [sine, cosine / stretch]])
        matrix = np.column_stack([turn, center - turn @ (np.array(small) / 2)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(field.values, matrix, small, flags=flags, borderMode=cv2.BORDER_WRAP)
        if reduce > 1:
            view = _enlarged(as_floats(view), (height, width), reduce)
        return as_floats(view), field.slope * step

    def grain(self, rng: np.random.Generator, size: tuple[int, int], unit: float) -> tuple[FloatArray, float]:
        """A random crop of a fine-grained field, (H, W), and its slope per px; grains scale with the side `unit`."""
        tile = self.grains[int(rng.integers(len(self.grains)))]
        reduce = max(1, round(unit / 480))
        height, width = size
        rows, columns = -(-height // reduce), -(-width // reduce)
        view = _wrapped(tile.values, rng, (rows, columns))
        if rng.random() < 0.5:
            view = view[:, ::-1]
        view = np.ascontiguousarray(view)
        if reduce > 1:
            view = _enlarged(view, size, reduce)
        return view, tile.slope / reduce

    def crop(self, rng: np.random.Generator, kind: str, size: tuple[int, int]) -> FloatArray:
        """A random crop of a random field, (H, W), neither turned nor scaled: quick."""
        group = self.fields[kind]
        return _wrapped(group[int(rng.integers(len(group)))].values, rng, size)

    def sensor_noise(self, rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
        """A random crop of the noise tile, (H, W), wrapped round where the frame is larger than the tile."""
        return _wrapped(self.sensor, rng, size)


def _enlarged(view: FloatArray, size: tuple[int, int], factor: int) -> FloatArray:
    """A coarse view at (H, W), smooth to its slopes: linear interpolation and a box make a quadratic spline.

    OpenCV's cubic interpolation leaves a lattice in the slopes, which light would show.
    """
    full = cv2.resize(view, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return as_floats(cv2.blur(full, (factor | 1, factor | 1)))


def _wrapped(tile: FloatArray, rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A random crop of a square seamless tile, wrapped round where it is smaller than the crop."""
    side = tile.shape[0]
    height, width = size
    # A crop that wraps is gathered point by point, which costs more than what is done with it: only where it must.
    top = int(rng.integers(0, side - height + 1 if height <= side else side))
    left = int(rng.integers(0, side - width + 1 if width <= side else side))
    if top + height <= side and left + width <= side:
        return tile[top : top + height, left : left + width]
    return as_floats(tile[np.arange(top, top + height) % side][:, np.arange(left, left + width) % side])


def _field(values: FloatArray, copies: int = 1) -> Field:
    across = np.diff(values, axis=1)[:-1]
    down = np.diff(values, axis=0)[:, :-1]
    slope = float(np.sqrt(np.mean(across**2 + down**2)) + 1e-6)
    return Field(np.tile(values, (copies, copies)), slope)


_GRAINS = ((22.0, 1.0), (11.0, 1.0), (6.5, 1.0), (14.0, 3.0), (9.0, 1.8))
"""Longest wavelength, px, and stretch of the grain fields."""


@functools.lru_cache(maxsize=2)
def texture_bank(seed: int) -> TextureBank:
    """The bank of a seed; built in about two seconds at the first call, then cached in the process."""
    rng = np.random.default_rng([seed, 0xBA9C])
    side = BANK_SIDE
    kinds: dict[str, list[FloatArray]] = {
        "smooth": [noise.fractal(rng, side, 2, 4, 0.35) for _ in range(10)],
        "rough": [noise.fractal(rng, side, 3, 8, 0.62) for _ in range(10)],
        "ridged": [noise.ridged(rng, side, 3 + i % 4, 3 + i % 3) for i in range(9)],
        "cells": [noise.cells(rng, side, int(count)) for count in (60, 110, 180, 260, 400, 700, 1100)],
        "fibres": [noise.fibres(rng, side, 12 + 8 * (i % 4)) for i in range(6)],
        "vessels": [noise.vessel_tree(rng, side, 4 + 2 * i) for i in range(8)],
    }
    return TextureBank(
        fields={
            kind: tuple(_field(values, 1 if kind == "smooth" else 2) for values in group)
            for kind, group in kinds.items()
        },
        grains=tuple(_field(noise.grain(rng, GRAIN_SIDE, length, stretch)) for length, stretch in _GRAINS),
        sensor=rng.standard_normal((NOISE_SIDE, NOISE_SIDE), dtype=np.float32),
    )
