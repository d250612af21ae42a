"""What gets between the endoscope and the tissue: smoke, fog, blood, dirt, cloth, tissue flaps, highlights."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray

from clip_rl_training.corruptions.random_fields import (
    blend,
    blurred,
    clouds,
    from_the_border,
    largest_share,
    smooth_field,
    to_bytes,
)

Result = tuple[ByteArray, BoolArray | None]
"""Image, and the pixels whose content is hidden by something opaque (None: nothing is)."""


_DRAPES = ((232, 228, 216), (70, 130, 140), (90, 120, 180))
"""Colours of swabs and drapes: white, green, blue; RGB."""


def smoke(rgb: ByteArray, strength: float, random: np.random.Generator) -> Result:
    """Electrocautery smoke: drifting grey clouds. `strength`: opacity of the densest parts, 0 to 1."""
    density = 0.25 + 0.75 * clouds(random, _size(rgb), 2.5)
    grey = random.uniform(190, 225)
    return blend(rgb, np.array([grey, grey, grey + 8]), np.float32(strength) * density), None


def fog(rgb: ByteArray, strength: float, random: np.random.Generator) -> Result:
    """A fogged lens: an even veil, thicker to one side, and lost sharpness. `strength`: mean opacity, 0 to 1."""
    veil = np.clip(strength * (0.8 + 0.4 * smooth_field(random, _size(rgb), 1)), 0, 1).astype(np.float32)
    soft = np.asarray(blurred(rgb, 0.02 * strength * min(_size(rgb))), np.uint8)
    return blend(soft, np.array([205.0, 200.0, 200.0]), veil), None


def blood(rgb: ByteArray, share: float, random: np.random.Generator) -> Result:
    """Pools and splashes of blood that let little through. `share`: of the image under blood, 0 to 1."""
    size = _size(rgb)
    field = clouds(random, size, 3) + 0.15 * smooth_field(random, size, 24)
    wet = blurred(largest_share(field, share).astype(np.float32), 0.003 * min(size))
    tone = 0.6 + 0.6 * smooth_field(random, size, 9)
    color = tone[..., None] * np.array([118.0, 10.0, 12.0], np.float32)
    return blend(rgb, color, np.asarray(0.88 * wet, np.float32)), None


def specular(rgb: ByteArray, share: float, random: np.random.Generator) -> Result:
    """Wet highlights that saturate, where the tissue is bright already. `share`: of the image, 0 to 1."""
    size = _size(rgb)
    bright = blurred(rgb.max(axis=2).astype(np.float32) / 255, 0.01 * min(size))
    field = np.asarray(clouds(random, size, 14, octaves=2) + 0.6 * bright, np.float32)
    core = largest_share(field, share).astype(np.float32)
    halo = np.asarray(blurred(core, 0.008 * min(size)), np.float32)
    return to_bytes(rgb + 255.0 * np.maximum(core, 0.8 * halo)[..., None]), None


def lens_dirt(rgb: ByteArray, share: float, random: np.random.Generator) -> Result:
    """Drops and smears on the lens, far out of focus: blurred, dull patches. `share`: of the image, 0 to 1."""
    size = _size(rgb)
    short = min(size)
    # Drops in a fixed random order: more of them at a higher severity, the same ones first.
    places = random.random((96, 2)) * size[::-1]
    radii = random.uniform(0.025, 0.09, 96) * short
    patch: FloatArray = np.zeros(size, np.float32)
    step = max(1, short // 256)
    for place, radius in zip(places, radii, strict=True):
        if patch[::step, ::step].mean() >= share:
            break
        center = (round(float(place[0])), round(float(place[1])))
        cv2.circle(patch, center, max(1, round(float(radius))), 1.0, -1)
    soft_edge = np.asarray(blurred(patch, 0.008 * short), np.float32)
    dull = np.asarray(blurred(rgb, 0.06 * short), np.float32) * 0.55 + 40
    return blend(rgb, dull, 0.9 * soft_edge), None


def cloth(rgb: ByteArray, share: float, random: np.random.Generator) -> Result:
    """A swab or drape pushed in from one side, woven and folded, opaque. `share`: of the image, 0 to 1."""
    size = _size(rgb)
    cover = largest_share(from_the_border(random, size), share)
    y, x = np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)[None]
    period = max(2.0, 0.014 * min(size))
    angle = random.uniform(0, np.pi)
    cos, sin = np.float32(2 * np.pi / period * np.cos(angle)), np.float32(2 * np.pi / period * np.sin(angle))
    weave = 0.5 + 0.25 * (np.sin(cos * x + sin * y) + np.sin(cos * y - sin * x))
    folds = 0.65 + 0.5 * smooth_field(random, size, 4)
    base = np.array(_DRAPES, np.float32)[random.integers(0, len(_DRAPES))]
    texture = (folds * (0.8 + 0.3 * weave))[..., None] * base
    return blend(rgb, texture, _edge(cover, size)), cover


def tissue(rgb: ByteArray, share: float, random: np.random.Generator) -> Result:
    """A flap of tissue close to the lens, out of focus, in the colour of the scene. `share`: of the image, 0 to 1."""
    size = _size(rgb)
    cover = largest_share(from_the_border(random, size), share)
    step = max(1, min(size) // 128)
    pixels = rgb[::step, ::step].reshape(-1, 3).astype(np.float32)
    red = pixels[pixels[:, 0] > 1.15 * pixels[:, 1] + 8]
    base = np.median(red, axis=0) if len(red) > 20 else np.array([170.0, 88.0, 80.0])
    shade = 0.75 + 0.4 * clouds(random, size, 2, octaves=3)
    ridges = 1 - np.abs(2 * smooth_field(random, size, 7) - 1)  # thin bright lines where the field crosses its middle
    vessels = np.clip(ridges * 6 - 5, 0, 1)[..., None] * np.array([6.0, -26.0, -22.0], np.float32)
    return blend(rgb, shade[..., None] * base.astype(np.float32) + vessels, _edge(cover, size)), cover


def _edge(cover: BoolArray, size: tuple[int, int]) -> FloatArray:
    return np.asarray(blurred(cover.astype(np.float32), 0.002 * min(size)), np.float32)


def _size(rgb: ByteArray) -> tuple[int, int]:
    return rgb.shape[0], rgb.shape[1]
