"""The tissue: a background and organs with colour, relief, vessels, dark hollows and wet gloss, before any light."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.synthetic.drawing.banks import TextureBank
from clip_rl_training.synthetic.drawing.rendered_frame import as_floats
from clip_rl_training.synthetic.drawing.shapes import blob_outline, fill_alpha, patch, seam
from clip_rl_training.synthetic.tissue.palettes import TissueKind, sample_kind, tissue_kinds, tone_table


@dataclasses.dataclass
class Tissue:
    """Unlit tissue, every array (H, W). Slopes are dimensionless: rise over run, positive towards +x, +y."""

    red: FloatArray
    """Reflectance, 0..1; likewise green and blue."""
    green: FloatArray
    blue: FloatArray
    slope_x: FloatArray
    slope_y: FloatArray
    open: FloatArray
    """How much light reaches the point, 0 in a deep hollow to 1."""
    gloss: FloatArray
    """Strength of the specular highlight."""
    classes: ByteArray
    """Ids of the label space endovis2018."""
    names: tuple[str, ...]
    """Names of the tissues in sight, the background first."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), px."""
        return self.red.shape[0], self.red.shape[1]

    def paint(self, window: tuple[slice, slice], alpha: FloatArray, color: Iterable[Any]) -> None:
        """Lay a colour over a window by `alpha`, 0..1 of its size; R, G, B are numbers or arrays of that size."""
        for plane, value in zip((self.red, self.green, self.blue), color, strict=True):
            plane[window] += alpha * (np.asarray(value, np.float32) - plane[window])

    def planes(self) -> tuple[FloatArray, ...]:
        """The seven float planes, in the order of the fields."""
        return (self.red, self.green, self.blue, self.slope_x, self.slope_y, self.open, self.gloss)


def _surface(
    rng: np.random.Generator, bank: TextureBank, kind: TissueKind, size: tuple[int, int], unit: float, unusual: float
) -> tuple[list[FloatArray], FloatArray, FloatArray | np.float32, float]:
    """Colour planes, height (px), openness and gloss of one kind over a whole rectangle."""
    relief, steep = bank.sample(rng, kind.relief, size, unit * rng.uniform(*kind.relief_extent), rng.uniform(0.6, 1.7))
    coarse, coarse_steep = bank.sample(rng, "smooth", size, unit * rng.uniform(1.2, 3.0))
    grain, grain_steep = bank.grain(rng, size, unit)
    height = relief * np.float32(rng.uniform(*kind.relief_slope) * rng.uniform(0.25, 0.8) / steep)
    height = as_floats(cv2.scaleAdd(coarse, rng.uniform(0.05, 0.30) / coarse_steep, height))
    fine = rng.uniform(*kind.grain_slope) * rng.uniform(0.05, 0.5) / grain_steep
    height = as_floats(cv2.scaleAdd(grain, fine, height))

    # Colour varies slowly: its index is worked out on half the grid.
    half = (max(2, size[0] // 2), max(2, size[1] // 2))
    mottle, _ = bank.sample(rng, "rough", half, 0.5 * unit * rng.uniform(0.8, 2.5), rng.uniform(0.6, 1.6), detail=0.5)
    tone: FloatArray = mottle * np.float32(38.0 * kind.mottle * rng.uniform(0.5, 1.3))
    for field, strength in ((relief, rng.uniform(4, 22)), (grain, rng.uniform(0, 5)), (coarse, rng.uniform(0, 25))):
        sparse = cv2.resize(field, (half[1], half[0]), interpolation=cv2.INTER_NEAREST)
        tone = as_floats(cv2.scaleAdd(sparse, strength, tone))
    tone += np.float32(rng.uniform(105, 150))
    index = cv2.resize(np.clip(tone, 0, 255).astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    table = tone_table(rng, kind, unusual)
    planes = [as_floats(cv2.LUT(index, np.ascontiguousarray(table[:, channel]))) for channel in range(3)]

    if rng.random() < kind.vessels:
        for _ in range(int(rng.integers(1, 3))):
            tree, tree_steep = bank.sample(rng, "vessels", size, unit * rng.uniform(0.7, 1.8))
            vein = rng.random() < 0.35
            color = (0.45, 0.40, 0.70) if vein else (0.72, 0.20, 0.22)
            tree *= rng.uniform(0.1, 0.75)
            for channel in range(3):
                planes[channel] *= 1.0 - tree * (1.0 - color[channel])
            height += tree * (0.05 / max(tree_steep, 1e-4))
    shade: FloatArray | np.float32 = np.float32(1.0)
    if kind.relief in ("ridged", "cells"):  # little light reaches into the creases between folds and lobules
        deep = rng.uniform(0.0, 0.4)
        shade = as_floats(np.clip(1.0 - deep * np.clip(-0.35 - relief, 0, 1.2), 0.1, 1.0))
    return planes, as_floats(height), shade, float(rng.uniform(*kind.gloss))


def _hollows(rng: np.random.Generator, bank: TextureBank, size: tuple[int, int], unit: float) -> FloatArray:
    """Openness (H, W): creases, dark hollows and deep regions from which no light returns."""
    height, width = size
    openness = np.ones(size, np.float32)
    if rng.random() < 0.3:
        crease, _ = bank.sample(rng, "ridged", size, unit * rng.uniform(0.8, 2.5), rng.uniform(0.5, 2.0), 0.4)
        strength = rng.uniform(0.15, 0.7)
        openness -= strength * np.clip(-0.6 - crease, 0, 1)
    if rng.random() < 0.45:
        field, steep = bank.sample(
            rng, "smooth" if rng.random() < 0.5 else "rough", size, unit * rng.uniform(0.8, 2.5), detail=0.25
        )
        level = rng.uniform(0.8, 1.9)
        sharpness = rng.uniform(0.01, 0.12) * unit * steep
        openness *= 1.0 - rng.uniform(0.5, 0.97) / (1.0 + np.exp(np.clip((level - field) / sharpness, -30, 30)))
    for _ in range(int(rng.choice(4, p=(0.45, 0.3, 0.17, 0.08)))):
        center = (rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height)
        extent = unit * rng.uniform(0.05, 0.45)
        outline = blob_outline(
            rng, center, extent, extent * rng.uniform(0.15, 0.9), rng.uniform(0, np.pi), rng.uniform(0.05, 0.3)
        )
        # A hollow begins below an overhang and rises slowly on its other side.
        narrow, wide = unit * rng.uniform(0.006, 0.03), min(unit * rng.uniform(0.03, 0.10), 0.3 * extent)
        depth, towards = np.float32(rng.uniform(0.5, 0.98)), rng.uniform(0, 2 * np.pi)
        lying = patch(outline, size, 2 + int(3 * wide))
        if lying is not None:
            openness[lying.window] *= 1 - depth * seam(lying.size, lying.outline, narrow, wide, towards)
    return np.clip(openness, 0.01, 1.0).astype(np.float32)


def _dome(size: tuple[int, int], center: tuple[float, float], radii: tuple[float, float], angle: float) -> FloatArray:
    """Squared elliptic distance from the centre, 1 at the rim, (H, W)."""
    height, width = size
    rows = np.arange(height, dtype=np.float32)[:, None] - np.float32(center[1])
    columns = np.arange(width, dtype=np.float32)[None, :] - np.float32(center[0])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = columns * (cosine / np.float32(radii[0])) + rows * (sine / np.float32(radii[0]))
    across = rows * (cosine / np.float32(radii[1])) - columns * (sine / np.float32(radii[1]))
    along *= along
    along += across * across
    return along


def _slopes(height: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slopes along x and y of a height in px, kept below 2.5."""
    slope_x = as_floats(cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125))
    slope_y = as_floats(cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125))
    np.clip(slope_x, -2.5, 2.5, out=slope_x)
    np.clip(slope_y, -2.5, 2.5, out=slope_y)
    return slope_x, slope_y


def sample_tissue(
    rng: np.random.Generator,
    bank: TextureBank,
    size: tuple[int, int],
    unit: float,
    unusual: float,
    backgrounds: tuple[str, ...] = (),
) -> Tissue:
    """Draw a scene's tissue.

    Args:
        rng: Source of randomness.
        bank: Textures.
        size: (H, W) of the canvas.
        unit: Length in pixels that relative sizes refer to: the shorter side of the image.
        unusual: Probability that a tissue has any colour at all.
        backgrounds: Kinds that the background may be, by name; none: all.
    """
    height_px, width_px = size
    wall = sample_kind(rng, backgrounds)
    planes, relief, shade, gloss_level = _surface(rng, bank, wall, size, unit, unusual)
    slope_x, slope_y = _slopes(relief)
    gloss = np.full(size, gloss_level, np.float32)
    classes = np.full(size, wall.scene_class if rng.random() < 0.5 else 0, np.uint8)
    openness = _hollows(rng, bank, size, unit)
    openness *= shade
    names = [wall.name]
    for _ in range(int(rng.choice(5, p=(0.2, 0.3, 0.25, 0.15, 0.10)))):
        kind = sample_kind(rng) if rng.random() < 0.9 else tissue_kinds()[4]
        center = (rng.uniform(-0.05, 1.05) * width_px, rng.uniform(-0.05, 1.05) * height_px)
        long, ratio = unit * float(np.exp(rng.uniform(np.log(0.14), np.log(1.1)))), rng.uniform(0.25, 0.95)
        angle = rng.uniform(0, np.pi)
        outline = blob_outline(rng, center, long, long * ratio, angle, rng.uniform(0.06, 0.25))
        # Light comes from the lens: organs throw soft shadows to one side, and meet what lies behind in a thin crease.
        drop, spread = rng.normal(0, 0.015, 2) * unit, unit * rng.uniform(0.01, 0.05)
        margin = int(3 * spread + np.abs(drop).max()) + 2
        left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - margin, 0)
        right, bottom = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + margin, (width_px, height_px))
        if right - left < 8 or bottom - top < 8:
            continue
        window = (slice(top, bottom), slice(left, right))
        inner = (int(bottom - top), int(right - left))
        local = outline - (left, top)
        # An organ hangs over what lies behind on one side; on the other, peritoneum and fat lead over to it.
        wide = min(unit * rng.uniform(0.02, 0.06), 0.3 * long * ratio)
        alpha = seam(inner, local, unit * rng.uniform(0.003, 0.012), wide, rng.uniform(0, 2 * np.pi))
        organ, organ_relief, shade, organ_gloss = _surface(rng, bank, kind, inner, unit, unusual)
        rho = _dome(inner, (center[0] - left, center[1] - top), (long, long * ratio), angle)
        bulge = rng.uniform(0.10, 0.7) * long * ratio
        organ_relief += np.sqrt(np.maximum(1.25 - rho, 0.02)) * bulge
        contact = fill_alpha(inner, [local + drop], spread) * rng.uniform(0.2, 0.7)
        openness[window] *= 1.0 - contact
        rim = np.clip(rho - 0.55, 0, 1) * rng.uniform(0.2, 0.9)
        openness[window] += alpha * (np.clip(1.0 - rim, 0.05, 1.0) * shade - openness[window])
        beta = 1.0 - alpha
        for target, source in zip(planes, organ, strict=True):
            target[window] = cv2.blendLinear(source, target[window], alpha, beta)
        crease = rng.uniform(0.0, 0.5) if rng.random() < 0.4 else 0.0
        lift = organ_relief + alpha * np.float32(crease * 0.02 * unit)
        for target, source in zip((slope_x, slope_y), _slopes(lift), strict=True):
            target[window] = cv2.blendLinear(source, target[window], alpha, beta)
        gloss[window] += alpha * (organ_gloss - gloss[window])
        classes[window][alpha > 0.5] = kind.scene_class
        names.append(kind.name)
    return Tissue(
        planes[0], planes[1], planes[2], slope_x, slope_y, openness, gloss, classes, tuple(dict.fromkeys(names))
    )


def photographed_tissue(rng: np.random.Generator, picture: ByteArray, size: tuple[int, int]) -> Tissue:
    """A picture of tissue as a scene's tissue: cropped, turned, mirrored and recoloured at random, flat and matte.

    Its light and its relief are in the picture already.

    Args:
        rng: Source of randomness.
        picture: RGB (H0, W0, 3), of any size.
        size: (H, W) of the canvas.
    """
    rows, columns = picture.shape[:2]
    zoom = max(size[0] / rows, size[1] / columns) * float(np.exp(rng.uniform(0.0, 0.6)))
    angle = rng.normal(0, 0.25) + np.pi * (rng.random() < 0.15)
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    slack = np.maximum(np.array([columns, rows]) - np.array([size[1], size[0]]) / zoom, 0) / 2
    center = np.array([columns, rows]) / 2 + rng.uniform(-1, 1, 2) * slack
    matrix = np.column_stack([linear, np.array([size[1], size[0]]) / 2 - linear @ center])
    view = cv2.warpAffine(
        picture, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    level = np.linspace(0, 1, 256) ** float(np.exp(rng.normal(0, 0.2)))
    table = level[:, None] * np.exp(rng.normal(0, 0.07, 3))
    red, green, blue = (
        as_floats(cv2.LUT(np.ascontiguousarray(view[..., channel]), table[:, channel].astype(np.float32)))
        for channel in range(3)
    )
    slope_x, slope_y, gloss = (np.zeros(size, np.float32) for _ in range(3))
    light, classes = np.ones(size, np.float32), np.zeros(size, np.uint8)
    return Tissue(red, green, blue, slope_x, slope_y, light, gloss, classes, ("tissue",))


def add_blood(rng: np.random.Generator, bank: TextureBank, tissue: Tissue, unit: float) -> None:
    """Pools and smears of blood, from bright red to clotted black, glossy and flat; changes `tissue` in place."""
    height, width = tissue.red.shape
    for _ in range(int(rng.integers(1, 4))):
        extent = unit * float(np.exp(rng.uniform(np.log(0.04), np.log(0.45))))
        center = (rng.uniform(0, width), rng.uniform(0, height))
        left, top = max(0, int(center[0] - 2.2 * extent)), max(0, int(center[1] - 2.2 * extent))
        right, bottom = min(width, int(center[0] + 2.2 * extent) + 2), min(height, int(center[1] + 2.2 * extent) + 2)
        window = (slice(top, bottom), slice(left, right))
        size = (bottom - top, right - left)
        field, _ = bank.sample(rng, "rough", size, unit * rng.uniform(0.4, 1.5), detail=0.3)
        radii = (extent, extent * rng.uniform(0.4, 1.0))
        rho = _dome(size, (center[0] - left, center[1] - top), radii, rng.uniform(0, np.pi))
        cover = (1.0 - np.sqrt(rho) + np.float32(0.35) * np.clip(field, -3, 3)) * np.float32(rng.uniform(1.5, 5))
        cover = np.clip(cover, 0, 1) * np.float32(rng.uniform(0.6, 1.0))
        depth = rng.uniform(0, 1)
        color = (0.05 + 0.50 * depth, 0.01 + 0.05 * depth, 0.015 + 0.05 * depth)
        tissue.paint(window, cover, color)
        flat = 1.0 - 0.7 * cover
        tissue.slope_x[window] *= flat
        tissue.slope_y[window] *= flat
        tissue.gloss[window] += cover * np.float32(0.6)
