"""What a network takes for instruments and is none: pale tissue, straight folds and clefts, fingers that reach in."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import SCENE_TISSUE, as_floats
from clip_rl_training.synthetic.drawing.shapes import Points, fill_alpha, patch
from clip_rl_training.synthetic.instruments.geometry import bar
from clip_rl_training.synthetic.tissue.objects import smooth
from clip_rl_training.synthetic.tissue.tissue import Tissue

_SKINS = (
    ((0.86, 0.84, 0.78), 0.3),  # latex
    ((0.92, 0.92, 0.92), 0.2),
    ((0.45, 0.62, 0.80), 0.15),  # nitrile
    ((0.42, 0.66, 0.58), 0.1),
    ((0.78, 0.55, 0.44), 0.15),  # bare skin, light to dark
    ((0.40, 0.25, 0.18), 0.1),
)


def _placed(outline: Points, at: Points, angle: float) -> Points:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(outline @ turn + at)


def _rounded(tissue: Tissue, window: tuple[slice, slice], alpha: FloatArray, rise: FloatArray, height: float) -> None:
    """Give what lies in a window a round back of its own, `height` px high where `rise` is 1."""
    back = as_floats(np.sqrt(np.clip(rise, 0, 1)) * np.float32(height))
    for plane, (x, y) in zip((tissue.slope_x, tissue.slope_y), ((1, 0), (0, 1)), strict=True):
        plane[window] += alpha * np.clip(cv2.Sobel(back, cv2.CV_32F, x, y, ksize=3, scale=0.125), -2.0, 2.0)


def bleach(rng: np.random.Generator, tissue: Tissue) -> None:
    """Make tissue pale, as fat, fascia and what is exposed too long are: cream, white, hardly any colour."""
    share = np.float32(rng.uniform(0.4, 0.9))
    pale = np.array((0.97, 0.90, 0.86)) + rng.normal(0, 0.04, 3)
    level = np.float32(0.333) * (tissue.red + tissue.green + tissue.blue)
    level = np.float32(0.55) + np.float32(0.45) * level / max(float(level.max()), 1e-3)
    for plane, value in zip((tissue.red, tissue.green, tissue.blue), pale, strict=True):
        plane += share * (level * np.float32(value) - plane)


def add_folds(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """Straight bands as wide as a shaft, of the tissue's own surface: a fold that stands up, or a dark cleft."""
    height, width = tissue.size
    for _ in range(int(rng.integers(1, 4))):
        half, length = unit * float(np.exp(rng.uniform(np.log(0.015), np.log(0.12)))), unit * rng.uniform(0.4, 1.6)
        place = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        taper = rng.uniform(0.2, 1.0)
        band = bar(-length / 2, length / 2, half, half * taper, half, half * taper, 9)
        outline = _placed(band, place, rng.uniform(0, 2 * np.pi))
        cleft = rng.random() < 0.5
        # The rim of a cleft is soft: a sharp one is that of a black shaft.
        soft = half * (rng.uniform(0.35, 0.9) if cleft else rng.uniform(0.05, 0.7))
        lying = patch(outline, tissue.size, 4 + int(3 * soft))
        if lying is None:
            continue
        window, inner, local = lying
        alpha = fill_alpha(inner, [local], soft)
        if cleft:  # no light comes out of it
            tissue.open[window] *= 1.0 - np.float32(rng.uniform(0.5, 0.97)) * alpha
            continue
        shadow = np.array([rng.normal(0, 0.5), rng.normal(0, 0.5)]) * half
        tissue.open[window] *= 1.0 - rng.uniform(0.2, 0.7) * fill_alpha(inner, [local + shadow], max(soft, 0.3 * half))
        tissue.open[window] += alpha * (1.0 - tissue.open[window]) * rng.uniform(0.3, 1.0)
        _rounded(tissue, window, alpha, fill_alpha(inner, [local], 0.5 * half), half * rng.uniform(0.4, 1.2))
        tint = np.exp(rng.normal(0, 0.15, 3)) * rng.uniform(0.7, 1.3)
        for plane, factor in zip((tissue.red, tissue.green, tissue.blue), tint, strict=True):
            plane[window] *= 1.0 + alpha * np.float32(factor - 1.0)


def add_fingers(rng: np.random.Generator, tissue: Tissue, unit: float) -> None:
    """One to four fingers side by side from outside the picture, gloved or bare, with creases at their joints."""
    height, width = tissue.size
    angle = rng.uniform(0, 2 * np.pi)
    inwards = np.array([np.cos(angle), np.sin(angle)])
    rim = np.array([width, height]) / 2 * (1 - 1.1 * inwards)
    skin, _ = _SKINS[int(rng.choice(len(_SKINS), p=[share for _, share in _SKINS]))]
    color = np.clip(np.array(skin) * rng.uniform(0.6, 1.1) + rng.normal(0, 0.03, 3), 0.02, 1)
    half = unit * rng.uniform(0.05, 0.13)
    gloss = rng.uniform(0.1, 0.8)
    for number in range(int(rng.integers(1, 5))):
        reach = unit * rng.uniform(0.3, 0.8)
        beside = np.array([-inwards[1], inwards[0]]) * (number - 1.5) * half * rng.uniform(1.9, 2.2)
        finger = bar(-unit, reach, half * 1.1, half * rng.uniform(0.7, 0.95), 0.0, half, 13)
        outline = _placed(finger, rim + beside, angle + rng.normal(0, 0.08))
        lying = patch(outline, tissue.size, 4 + int(2 * half))
        if lying is None:
            continue
        window, inner, local = lying
        alpha = fill_alpha(inner, [local], max(0.8, 0.004 * unit))
        tissue.open[window] *= 1.0 - 0.6 * fill_alpha(inner, [local + rng.normal(0, 0.4, 2) * half], 0.4 * half)
        tissue.paint(window, alpha, color)
        smooth(tissue, window, alpha, 0.8, gloss, SCENE_TISSUE)
        _rounded(tissue, window, alpha, fill_alpha(inner, [local], 0.5 * half), half * rng.uniform(0.8, 1.4))
        for joint in (0.35, 0.62):
            crease = bar(-half, half, 0.05 * half, 0.05 * half, 0.0, 0.0)
            across = _placed(crease, np.array([reach * joint, 0.0]), np.pi / 2)
            line = _placed(across, rim + beside, angle) - (window[1].start, window[0].start)
            tissue.open[window] *= 1.0 - np.float32(0.45) * alpha * fill_alpha(inner, [line], 0.06 * half)
