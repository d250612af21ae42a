"""A bank of random fields made once per process, from which scenes sample by random rotation, scale and offset.

Drawing a fresh fractal for every layer of every still would cost more than everything else together.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from clip_rl_training.synthetic import noise
from clip_rl_training.synthetic.frame import FloatArray

BANK_SIDE = 512
"""Side of a bank field, px."""
NOISE_SIDE = 1536
"""Side of the sensor noise tile, px."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A random field, float32 (BANK_SIDE, BANK_SIDE)."""

    values: FloatArray
    slope: float
    """Root mean square of its gradient per bank pixel."""


@dataclasses.dataclass(frozen=True)
class TextureBank:
    """Fields by kind, and a tile of white noise."""

    fields: dict[str, tuple[Field, ...]]
    sensor: FloatArray
    """White Gaussian noise, deviation 1, float32 (NOISE_SIDE, NOISE_SIDE)."""

    def sample(
        self, rng: np.random.Generator, kind: str, size: tuple[int, int], extent: float, stretch: float = 1.0
    ) -> tuple[FloatArray, float]:
        """Draw a random view of a random field.

        Args:
            rng: Source of randomness.
            kind: Key of `fields`.
            size: (H, W) wanted.
            extent: Size of the field's whole side in output pixels: larger means coarser texture.
            stretch: Anisotropy: how much longer the texture is in one direction.

        Returns:
            The view, float32 (H, W), and the root mean square of its gradient per output pixel.
        """
        group = self.fields[kind]
        field = group[int(rng.integers(len(group)))]
        angle = rng.uniform(0, 2 * np.pi)
        step = BANK_SIDE / max(extent, 1.0)
        cosine, sine = np.cos(angle) * step, np.sin(angle) * step
        offset = rng.uniform(0, BANK_SIDE, 2)
        matrix = np.array([[cosine, -sine / stretch, offset[0]], [sine, cosine / stretch, offset[1]]], np.float64)
        height, width = size
        view = cv2.warpAffine(
            field.values,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        return view, field.slope * step

    def sensor_noise(self, rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
        """A random crop of the noise tile, (H, W), wrapped round where the frame is larger than the tile."""
        height, width = size
        top, left = int(rng.integers(0, NOISE_SIDE)), int(rng.integers(0, NOISE_SIDE))
        if top + height <= NOISE_SIDE and left + width <= NOISE_SIDE:
            return self.sensor[top : top + height, left : left + width]
        rows = np.arange(top, top + height) % NOISE_SIDE
        columns = np.arange(left, left + width) % NOISE_SIDE
        return self.sensor[rows][:, columns]


def _field(values: FloatArray) -> Field:
    across = np.diff(values, axis=1)[:-1]
    down = np.diff(values, axis=0)[:, :-1]
    return Field(values, float(np.sqrt(np.mean(across**2 + down**2)) + 1e-6))


@functools.lru_cache(maxsize=2)
def texture_bank(seed: int) -> TextureBank:
    """The bank of a seed; built in about two seconds at the first call, then cached in the process."""
    rng = np.random.default_rng([seed, 0xBA9C])
    side = BANK_SIDE
    kinds: dict[str, list[FloatArray]] = {
        "smooth": [noise.fractal(rng, side, 2, 4, 0.35) for _ in range(10)],
        "rough": [noise.fractal(rng, side, 3, 8, 0.62) for _ in range(12)],
        "grain": [noise.fractal(rng, side, 32, 5, 0.8) for _ in range(6)],
        "ridged": [noise.ridged(rng, side, 3 + i % 4, 3 + i % 3) for i in range(12)],
        "cells": [noise.cells(rng, side, int(count)) for count in (60, 110, 180, 260, 400, 700, 1100)],
        "fibres": [noise.fibres(rng, side, 12 + 8 * (i % 4)) for i in range(8)],
        "vessels": [noise.vessel_tree(rng, side, 4 + 2 * i) for i in range(8)],
    }
    return TextureBank(
        fields={kind: tuple(_field(values) for values in group) for kind, group in kinds.items()},
        sensor=rng.standard_normal((NOISE_SIDE, NOISE_SIDE), dtype=np.float32),
    )
