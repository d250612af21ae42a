"""Light of an endoscope on tissue: a lamp beside the lens, falling off, with wet highlights."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes, as_floats
from clip_rl_training.synthetic.tissue.tissue import Tissue


@dataclasses.dataclass(frozen=True)
class Lamp:
    """The light. Positions are in units of the shorter image side, from the image's centre."""

    x: float
    y: float
    tilt: float
    """How fast the direction of the light turns with distance from (x, y): larger is a nearer lamp."""
    falloff: float
    """How fast the light fades with distance."""
    power: float
    """Overall brightness."""
    shine: float
    """Factor on all highlights."""
    sharpness: float
    """Larger makes smaller highlights."""
    tint: tuple[float, float, float]
    """Colour of the light, R, G, B."""


def sample_lamp(rng: np.random.Generator, gray: bool) -> Lamp:
    """A lamp as endoscopes have it, sometimes weak or off centre.

    Half of the monochrome cameras see a side of the picture sink into the dark: tissue is black there as well.
    """
    if gray and rng.random() < 0.5:
        spread, strong = 0.45, (1.5, 8.0)
    else:
        spread, strong = 0.2, (0.15, 4.0)
    warm = rng.normal(0, 0.06)
    green = rng.normal(0, 0.03)
    return Lamp(
        x=rng.normal(0, 0.35 if rng.random() < 0.4 else spread),
        y=rng.normal(0, 0.3 if rng.random() < 0.4 else spread),
        tilt=rng.uniform(0.2, 1.1),
        falloff=float(np.exp(rng.uniform(*np.log(strong)))),
        power=1.0,
        shine=float(np.exp(rng.normal(-0.35, 0.6))),
        sharpness=float(np.exp(rng.uniform(np.log(25), np.log(500)))),
        tint=(1.0 + warm, 1.0 + green, 1.0 - warm),
    )


def _from_lamp(lamp: Lamp, size: tuple[int, int], unit: float, step: int = 1) -> tuple[FloatArray, FloatArray]:
    """Every `step`-th pixel's x, (1, w), and y, (h, 1), from the lamp, in units of the shorter side."""
    height, width = size
    x = ((np.arange(0, width, step, dtype=np.float32) - width / 2) / unit - lamp.x)[None, :]
    y = ((np.arange(0, height, step, dtype=np.float32) - height / 2) / unit - lamp.y)[:, None]
    return as_floats(x), as_floats(y)


def exposed(lamp: Lamp, tissue: Tissue, unit: float, target: float) -> Lamp:
    """The lamp at the power which makes the mean diffuse level `target` (0..1), as a camera's automatic gain does."""
    step = max(1, int(unit / 48))
    x, y = _from_lamp(lamp, tissue.size, unit, step)
    steep = (tissue.slope_x[::step, ::step] - lamp.tilt * x) ** 2 + (
        tissue.slope_y[::step, ::step] - lamp.tilt * y
    ) ** 2
    light = tissue.open[::step, ::step] / (1.0 + steep) / (1.0 + lamp.falloff * (x * x + y * y))
    color = (tissue.red[::step, ::step] + tissue.green[::step, ::step] + tissue.blue[::step, ::step]) / 3.0
    return dataclasses.replace(lamp, power=float(target / max(1.25 * float((color * light).mean()), 0.02)))


def fading(lamp: Lamp, size: tuple[int, int], unit: float) -> FloatArray:
    """How the light fades with distance from its centre, 1 there, (H, W)."""
    x, y = _from_lamp(lamp, size, unit)
    return as_floats(1.0 / (1.0 + np.float32(lamp.falloff) * (x * x + y * y)))


def render_tissue(tissue: Tissue, lamp: Lamp, unit: float, shade: FloatArray | None = None) -> ByteArray:
    """Lit tissue, uint8 RGB (H, W, 3).

    Diffuse light is Lambert's cosine, squared, in the slope s of the surface against the ray: 1 / (1 + |s|^2);
    highlights are a Gaussian in the same slope (Beckmann's distribution), which saturates as on a sensor.

    Args:
        tissue: Unlit tissue.
        lamp: The light.
        unit: Shorter side of the image, px.
        shade: Light left by shadows of instruments, 0..1, (H, W), or None.
    """
    x, y = _from_lamp(lamp, tissue.size, unit)
    steep = (tissue.slope_x - np.float32(lamp.tilt) * x) ** 2
    steep += (tissue.slope_y - np.float32(lamp.tilt) * y) ** 2
    light = tissue.open / (1.0 + steep)
    light /= 1.0 + np.float32(lamp.falloff) * (x * x + y * y)
    if shade is not None:
        light *= shade
    shine = as_floats(cv2.exp(steep * np.float32(-lamp.sharpness)))
    shine *= tissue.gloss
    shine *= np.sqrt(light) * np.float32(lamp.shine * 255.0)
    light *= np.float32(255.0 * 1.25 * lamp.power)
    lit = [
        cv2.scaleAdd(shine, 1.0, cv2.multiply(plane, light, scale=tint))
        for plane, tint in zip((tissue.red, tissue.green, tissue.blue), lamp.tint, strict=True)
    ]
    return as_bytes(cv2.merge([cv2.convertScaleAbs(plane) for plane in lit]))


def nearness(radius: float) -> float:
    """How much brighter an instrument is for being near the lamp, by its half-width over the image side.

    Its distance falls with its width, and the light with the square of the distance; less than that is kept, because
    lamps stand beside the lens.
    """
    return float(np.clip((radius / 0.08) ** 0.8, 0.7, 2.2))
