"""Loose things on the tissue: thread, needle, clips, gauze; they become part of the tissue's planes and classes."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import (
    SCENE_CLAMPS,
    SCENE_NEEDLE,
    SCENE_THREAD,
    SCENE_TISSUE,
    as_floats,
)
from clip_rl_training.synthetic.drawing.shapes import Points, blob_outline, fill, fill_alpha, patch, ribbon
from clip_rl_training.synthetic.tissue.tissue import Tissue


def _stamp(
    tissue: Tissue, outline: Points, color: tuple[float, float, float], scene_class: int, gloss: float, shadow: float
) -> None:
    """Lay a small flat thing with a rounded surface on the tissue, with a thin contact shadow of `shadow` px."""
    lying = patch(outline, tissue.size, 4 + int(3 * shadow))
    if lying is None:
        return
    window, inner, local = lying
    alpha = fill(inner, [local]).astype(np.float32) / 255.0
    tissue.open[window] *= 1.0 - 0.5 * fill_alpha(inner, [local + shadow], max(shadow, 0.5))
    tissue.paint(window, alpha, color)
    smooth(tissue, window, alpha, 0.6, gloss, scene_class)


def smooth(
    tissue: Tissue, window: tuple[slice, slice], alpha: FloatArray, flatness: float, gloss: float, scene_class: int
) -> None:
    """Give what is painted over a window a surface of its own: flatter, in full light, of another gloss and class."""
    keep = 1.0 - np.float32(flatness) * alpha
    tissue.slope_x[window] *= keep
    tissue.slope_y[window] *= keep
    tissue.open[window] += alpha * (1.0 - tissue.open[window])
    tissue.gloss[window] += alpha * (np.float32(gloss) - tissue.gloss[window])
    tissue.classes[window][alpha > 0.5] = scene_class


def _round_rim(
    tissue: Tissue, window: tuple[slice, slice], outline: Points, alpha: FloatArray, width: float, steep: float
) -> None:
    """Give a thing a thickness: within `width` px of its rim its surface falls off, turns from the lamp and darkens."""
    rise = fill_alpha((alpha.shape[0], alpha.shape[1]), [outline], width)
    height = as_floats(rise * np.float32(2.5 * width * steep))
    for plane, (x, y) in zip((tissue.slope_x, tissue.slope_y), ((1, 0), (0, 1)), strict=True):
        plane[window] += alpha * cv2.Sobel(height, cv2.CV_32F, x, y, ksize=3, scale=0.125)
    tissue.open[window] *= 1.0 - np.float32(0.7) * alpha * np.clip(1.0 - rise, 0, 0.5)


def _fold(
    rng: np.random.Generator, tissue: Tissue, window: tuple[slice, slice], alpha: FloatArray, extent: float
) -> None:
    """Lay soft folds into cloth and film that reach over about `extent` px."""
    waves = _weave((alpha.shape[0], alpha.shape[1]), extent * rng.uniform(0.6, 1.6), rng.uniform(0, np.pi))
    strength, angle = rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi)
    for plane, share in ((tissue.slope_x, np.cos(angle)), (tissue.slope_y, np.sin(angle))):
        plane[window] += alpha * waves * np.float32(strength * share)


def _wander(
    rng: np.random.Generator,
    tissue: Tissue,
    steps: int,
    bend: float,
    curl: float,
    unit: float,
    extent: tuple[float, float],
) -> tuple[Points, Points]:
    """A wandering stroke from (0, 0), (steps, 2), and a place on the tissue, (2,).

    `bend` is the deviation of its turns from step to step, `curl` that of the whole; `extent` the range of its length
    in `unit`.
    """
    turns = np.cumsum(rng.normal(0, bend, steps)) + np.linspace(0, rng.normal(0, curl), steps)
    turns += rng.uniform(0, 2 * np.pi)
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0) * (unit * rng.uniform(*extent) / steps)
    return path, np.array([rng.uniform(0, tissue.size[1]), rng.uniform(0, tissue.size[0])])


def add_thread(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """One or two suture threads: black, violet, blue, white or green curves."""
    colors = ((0.03, 0.03, 0.04), (0.25, 0.12, 0.42), (0.10, 0.16, 0.45), (0.85, 0.83, 0.80), (0.08, 0.35, 0.25))
    for _ in range(int(rng.integers(1, 3))):
        path, place = _wander(rng, tissue, 60, 0.10, 3.0, unit, (0.15, 0.9))
        half = max(0.75, unit * rng.uniform(0.0012, 0.004))
        _stamp(
            tissue, ribbon(path + place, half), colors[int(rng.integers(5))], SCENE_THREAD, rng.uniform(0, 0.6), half
        )


def add_tubes(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """Vessels, ureters, strands of tissue and drains: long, rounded, and no instruments."""
    colors = (
        (0.62, 0.20, 0.22),
        (0.35, 0.32, 0.52),
        (0.85, 0.70, 0.60),
        (0.80, 0.66, 0.40),
        (0.75, 0.45, 0.45),
        (0.80, 0.80, 0.80),
    )
    for _ in range(int(rng.integers(1, 4))):
        path, place = _wander(rng, tissue, 40, 0.05, 1.0, unit, (0.3, 1.6))
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        half = min(unit * float(np.exp(rng.uniform(np.log(0.006), np.log(0.05)))), 0.04 * length)
        # A vessel comes up from the tissue and dives into it again: no end of it is cut off.
        ends = np.minimum(np.linspace(0, 1, len(path)), np.linspace(1, 0, len(path))) / rng.uniform(0.06, 0.2)
        outline = ribbon(path + (place - path[len(path) // 2]), half * np.sqrt(np.clip(ends, 0, 1)))
        lying = patch(outline, tissue.size, 4 + int(3.5 * half))
        if lying is None:
            continue
        window, inner, local = lying
        drop = rng.normal(0, 0.6, 2) * half
        tissue.open[window] *= 1.0 - rng.uniform(0, 0.6) * fill_alpha(inner, [local + drop], 0.5 * half)
        coverage = fill(inner, [local])
        alpha = fill_alpha(inner, [local], rng.uniform(0.4, 0.15 * half + 0.5))
        ridge = cv2.distanceTransform((coverage > 127).astype(np.uint8), cv2.DIST_L2, 3) / np.float32(half)
        profile = as_floats(
            np.sqrt(np.clip(1.0 - (1.0 - np.clip(ridge, 0, 1)) ** 2, 0, 1)) * half * rng.uniform(0.4, 0.9)
        )
        slopes = (cv2.Sobel(profile, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(profile, cv2.CV_32F, 0, 1, scale=0.125))
        for plane, slope in zip((tissue.slope_x, tissue.slope_y), slopes, strict=True):
            plane[window] += alpha * (0.4 * plane[window] + slope - plane[window])
        color = np.clip(
            np.array(colors[int(rng.integers(len(colors)))]) * rng.uniform(0.6, 1.2) + rng.normal(0, 0.05, 3), 0.02, 1
        )
        tissue.paint(window, alpha * np.float32(rng.uniform(0.5, 1.0)), color)
        tissue.open[window] += alpha * (1.0 - tissue.open[window]) * rng.uniform(0.3, 1.0)
        tissue.classes[window][alpha > 0.5] = SCENE_TISSUE


def add_needle(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """A curved suturing needle."""
    height, width = tissue.red.shape
    turn = np.linspace(0, rng.uniform(1.5, 3.2), 24) + rng.uniform(0, 2 * np.pi)
    radius = unit * rng.uniform(0.03, 0.10)
    path = np.stack([np.cos(turn), np.sin(turn) * rng.uniform(0.4, 1.0)], axis=1) * radius
    path += np.array([rng.uniform(0, width), rng.uniform(0, height)])
    level = rng.uniform(0.25, 0.75)
    outline = ribbon(path, max(0.9, unit * rng.uniform(0.002, 0.006)))
    _stamp(tissue, outline, (level, level, level), SCENE_NEEDLE, 2.0, unit * 0.004)


def add_clips(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """White polymer or steel clips, bent double."""
    height, width = tissue.red.shape
    center = np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height])
    steel = rng.random() < 0.3
    level = rng.uniform(0.45, 0.8) if steel else rng.uniform(0.8, 1.0)
    color = (
        (level, level * 0.97, level)
        if steel
        else (level, level * rng.uniform(0.85, 1.0), level * rng.uniform(0.85, 1.0))
    )
    for _ in range(int(rng.integers(1, 6))):
        length, angle = unit * rng.uniform(0.02, 0.11), rng.uniform(0, 2 * np.pi)
        s = np.linspace(-1, 1, 15)
        path = np.stack([length * (1 - np.abs(s) ** 2.5), length * 0.22 * s], axis=1)
        cosine, sine = np.cos(angle), np.sin(angle)
        path = path @ np.array([[cosine, sine], [-sine, cosine]]) + center + rng.normal(0, 0.06 * unit, 2)
        _stamp(tissue, ribbon(path, max(0.8, length * rng.uniform(0.06, 0.16))), color, SCENE_CLAMPS, 0.8, unit * 0.006)


def add_drape(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """A bright smooth thing that reaches in from the rim: drape, retrieval bag, glove, overexposed fat."""
    height, width = tissue.red.shape
    extent = unit * rng.uniform(0.15, 0.6)
    angle = rng.uniform(0, 2 * np.pi)
    center = (width * (0.5 + 0.55 * np.cos(angle)), height * (0.5 + 0.55 * np.sin(angle)))
    outline = blob_outline(rng, center, extent, extent * rng.uniform(0.25, 0.8), angle + np.pi / 2, 0.12)
    lying = patch(outline, tissue.size, 2 + int(0.06 * unit))
    if lying is None:
        return
    window, inner, local = lying
    alpha = fill_alpha(inner, [local], unit * rng.uniform(0.003, 0.015))
    tissue.open[window] *= 1.0 - rng.uniform(0.3, 0.7) * fill_alpha(inner, [local], 0.03 * unit)
    colors = ((1.0, 0.98, 0.96), (0.95, 0.82, 0.74), (0.80, 0.86, 0.95), (0.30, 0.55, 0.62), (0.95, 0.90, 0.70))
    color = np.array(colors[int(rng.choice(5, p=(0.4, 0.25, 0.15, 0.08, 0.12)))]) * rng.uniform(0.5, 1.2)
    tissue.paint(window, alpha, color)
    smooth(tissue, window, alpha, rng.uniform(0.6, 1.0), rng.uniform(0.1, 1.0), SCENE_TISSUE)
    _fold(rng, tissue, window, alpha, extent)
    _round_rim(tissue, window, local, alpha, unit * rng.uniform(0.01, 0.03), rng.uniform(0.4, 1.2))


def add_gauze(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """A piece of gauze: white or blood-stained weave; background in every label space."""
    height, width = tissue.red.shape
    extent = unit * rng.uniform(0.08, 0.35)
    center = (rng.uniform(0, width), rng.uniform(0, height))
    short, angle = extent * rng.uniform(0.3, 0.9), rng.uniform(0, np.pi)
    outline = blob_outline(rng, center, extent, short, angle, rng.uniform(0.05, 0.25))
    lying = patch(outline, tissue.size, 2 + int(0.06 * unit))
    if lying is None:
        return
    window, inner, local = lying
    alpha = fill_alpha(inner, [local], max(0.8, 0.003 * unit))
    tissue.open[window] *= 1.0 - 0.6 * fill_alpha(inner, [local], 0.02 * unit)
    period, angle = max(2.5, unit * rng.uniform(0.006, 0.018)), rng.uniform(0, np.pi)
    weave: FloatArray = _weave(inner, period, angle)
    stain = rng.uniform(0, 0.6)
    color = (0.9, 0.88 - 0.6 * stain, 0.86 - 0.6 * stain)
    tissue.paint(window, alpha, [value * (0.78 + 0.22 * weave) for value in color])
    tissue.open[window] += alpha * (1.0 - tissue.open[window]) * 0.8
    tissue.gloss[window] *= 1.0 - 0.9 * alpha
    _fold(rng, tissue, window, alpha, extent)
    _round_rim(tissue, window, local, alpha, unit * rng.uniform(0.008, 0.02), rng.uniform(0.4, 1.0))
    tissue.classes[window][alpha > 0.5] = SCENE_TISSUE


def _weave(size: tuple[int, int], period: float, angle: float) -> FloatArray:
    rows = np.arange(size[0], dtype=np.float32)[:, None]
    columns = np.arange(size[1], dtype=np.float32)[None, :]
    cosine, sine = np.float32(np.cos(angle) * 2 * np.pi / period), np.float32(np.sin(angle) * 2 * np.pi / period)
    return np.asarray(np.sin(columns * cosine + rows * sine) * np.sin(rows * cosine - columns * sine), np.float32)
