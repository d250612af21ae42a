"""Surfaces of instruments: how steel, anodised and plastic parts answer the light, as colour tables over the slope."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
from clip_rl_perception.arrays import FloatArray


@dataclasses.dataclass(frozen=True)
class Finish:
    """A material. The colour of a point is looked up by how far its surface leans away from the light."""

    base: tuple[float, float, float]
    """Reflectance R, G, B, 0..1."""
    gloss: float
    """Height of the highlight, 0 matte to 2 mirror."""
    width: float
    """Width of the highlight in slope units, 0.05 sharp to 0.6 satin."""
    mirror: float
    """How much it mirrors dark and bright surroundings, 0 to 1: chrome look."""
    brush: float
    """Strength of lengthwise brushing and wear, 0 to 1."""
    speckle: float
    """Strength of fine grain, drops and dirt, 0 to 1."""
    form: float = 1.0
    """How much the shading follows the round form: matte worn surfaces look nearly flat, 0.2."""
    tint: float = 0.0
    """Share of the tissue's hue that it takes on, 0 to 1: pale shafts look pink between pink walls."""


def _jitter(rng: np.random.Generator, color: tuple[float, float, float], amount: float) -> tuple[float, float, float]:
    level = float(np.exp(rng.normal(0, amount)))
    red, green, blue = (float(np.clip(value * level + rng.normal(0, 0.02), 0.01, 1.0)) for value in color)
    return red, green, blue


def sample_color(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of any hue."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.15, 0.95))


def sample_steel(rng: np.random.Generator) -> Finish:
    """Bright or dark polished steel, sometimes stained brown."""
    level = rng.uniform(0.12, 0.6)
    warm = rng.uniform(-0.04, 0.10)
    base = (level * (1 + warm), level, level * (1 - warm))
    gloss, width, mirror = rng.uniform(0.7, 2.0), rng.uniform(0.05, 0.25), rng.uniform(0.6, 1.3)
    brush, speckle = rng.uniform(0.0, 0.4), rng.uniform(0.1, 0.8)
    return Finish(base, gloss, width, mirror, brush, speckle, tint=rng.uniform(0.0, 0.8))


def sample_shaft_finish(rng: np.random.Generator, unusual: float) -> Finish:
    """A shaft: black or grey carbon with lengthwise wear, anodised grey, steel, white or coloured sleeves.

    Half of them are matte: in recordings most shafts show no streak of light at all. Pale and middling ones are as
    frequent as black ones: near the lens even black carbon is lit to a light, grainy gray.
    """
    gloss = 0.0 if rng.random() < 0.5 else rng.uniform(0.05, 0.8)
    width, form = rng.uniform(0.08, 0.5), rng.uniform(0.15, 1.0)
    brush = rng.uniform(0, 1.0) ** 1.3
    speckle = rng.uniform(0, 0.4) if rng.random() < 0.6 else rng.uniform(0.3, 1.2)
    tint = rng.uniform(0.1, 1.1) if rng.random() < 0.75 else 0.0
    if rng.random() < unusual:
        return Finish(sample_color(rng), gloss * 1.5, width, rng.uniform(0, 0.4), 0.5 * brush, speckle, form)
    choice = rng.choice(7, p=(0.25, 0.22, 0.23, 0.10, 0.09, 0.06, 0.05))
    if choice == 0:  # black, worn
        base = _jitter(rng, (0.10, 0.097, 0.092), 0.45)
        return Finish(base, 0.7 * gloss, width, 0.05, brush, speckle, form, tint)
    if choice == 1:  # grey, brushed
        base = _jitter(rng, (0.28, 0.275, 0.26), 0.35)
        return Finish(base, gloss, width, 0.1, brush, speckle, form, tint)
    if choice == 2:  # light grey, overexposed
        base = _jitter(rng, (0.52, 0.515, 0.52), 0.3)
        return Finish(base, gloss, width, 0.15, 0.7 * brush, speckle, form, tint)
    if choice == 3:
        return sample_steel(rng)
    if choice == 4:  # blue-grey plastic
        base = _jitter(rng, (0.40, 0.44, 0.48), 0.25)
        return Finish(base, gloss, width, 0.0, 0.05, 1.5 * speckle, form)
    if choice == 5:
        return sample_sleeve(rng)
    base = _jitter(rng, (0.42, 0.36, 0.20), 0.3)  # brown or amber sleeve
    return Finish(base, gloss, width, 0.0, 0.2, speckle, form)


def sample_sleeve(rng: np.random.Generator) -> Finish:
    """Insulating plastic: black, white, ivory, blue, teal, green, yellow; smooth, seldom with grain."""
    colors = (
        (0.06, 0.06, 0.07), (0.80, 0.80, 0.80), (0.74, 0.68, 0.58), (0.12, 0.26, 0.62),
        (0.10, 0.55, 0.48), (0.16, 0.46, 0.22), (0.70, 0.58, 0.14),
    )  # fmt: skip
    color = colors[int(rng.choice(7, p=(0.32, 0.24, 0.1, 0.14, 0.1, 0.06, 0.04)))]
    finish = sample_plastic(rng, color)
    return dataclasses.replace(finish, form=rng.uniform(0.3, 1.0), tint=rng.uniform(0.0, 0.5))


def sample_plastic(rng: np.random.Generator, color: tuple[float, float, float]) -> Finish:
    """Plastic of about the given colour."""
    base = _jitter(rng, color, 0.25)
    gloss, width = rng.uniform(0.2, 0.9), rng.uniform(0.08, 0.3)
    return Finish(base, gloss, width, 0.0, rng.uniform(0, 0.15), rng.uniform(0, 0.4))


def response_table(rng: np.random.Generator, finish: Finish, ambient: tuple[float, float, float]) -> FloatArray:
    """Colours over the slope, float32 (256, 3), 0..255: index 128 faces the light, 0 and 255 lean away by 2.

    Args:
        rng: Source of randomness (what a mirror finish shows).
        finish: The material.
        ambient: Colour of the surroundings that a glossy surface reflects.
    """
    lean = np.linspace(-2.0, 2.0, 256, dtype=np.float32)
    diffuse = 0.22 + 0.78 / (1.0 + 1.1 * lean**2)
    highlight = finish.gloss * np.exp(-((lean / (finish.width + 0.02)) ** 2))
    mirrored = np.zeros(256, np.float32)
    for _ in range(5):
        mirrored += rng.uniform(-0.8, 1.0) * np.exp(-(((lean - rng.uniform(-1.6, 1.6)) / rng.uniform(0.05, 0.35)) ** 2))
    columns = []
    grey = max(sum(ambient) / 3.0, 0.02)
    for base, surround in zip(finish.base, ambient, strict=True):
        base *= 1.0 + finish.tint * (min(surround / grey, 2.5) - 1.0)
        color = base * diffuse * (1.0 + finish.mirror * mirrored) + highlight * 0.75
        color += finish.mirror * 0.35 * surround * np.abs(lean) / 2.0
        columns.append(color)
    return np.clip(np.stack(columns, axis=1) * 255.0, 0, 400).astype(np.float32)
