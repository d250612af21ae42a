"""Tissue kinds: colours, surface and class of what lies in an abdomen."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
from clip_rl_perception.arrays import FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import (
    SCENE_COVERED_KIDNEY,
    SCENE_INTESTINE,
    SCENE_KIDNEY,
    SCENE_TISSUE,
)

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class TissueKind:
    """A kind of tissue. Colours are R, G, B as an endoscope shows them in its light."""

    name: str
    """As captions say it."""
    tones: tuple[tuple[Color, Color, Color], ...]
    """Choices of (dark, middle, light) tone."""
    relief: str
    """Field kind of the bank that shapes the surface."""
    relief_extent: tuple[float, float]
    """Size of the relief texture, times the shorter image side."""
    relief_slope: tuple[float, float]
    """Root mean square slope of the relief."""
    grain_slope: tuple[float, float]
    """Root mean square slope of the fine surface, which breaks highlights up."""
    vessels: float
    """Probability of visible vessels."""
    gloss: tuple[float, float]
    """Strength of specular highlights."""
    mottle: float
    """How much the tone varies over the surface."""
    scene_class: int = SCENE_TISSUE
    """Class in the label space endovis2018 when the kind covers an organ."""
    weight: float = 1.0
    """Relative frequency."""


KINDS: tuple[TissueKind, ...] = (
    TissueKind(
        "peritoneum",
        (
            ((105, 45, 55), (190, 110, 118), (232, 178, 182)),
            ((90, 40, 48), (178, 84, 92), (228, 150, 150)),
            ((110, 60, 75), (176, 118, 140), (222, 186, 204)),
        ),
        "smooth",
        (0.8, 2.5),
        (0.056, 0.2),
        (0.008, 0.07),
        0.85,
        (0.5, 1.6),
        0.8,
        weight=2.0,
    ),
    TissueKind(
        "fat",
        (
            ((150, 90, 40), (215, 165, 95), (245, 220, 165)),
            ((150, 75, 70), (224, 138, 128), (250, 205, 190)),
            ((160, 120, 80), (226, 196, 150), (250, 236, 205)),
        ),
        "cells",
        (0.7, 2.2),
        (0.24, 0.63),
        (0.032, 0.17),
        0.45,
        (0.5, 1.8),
        0.5,
        weight=1.4,
    ),
    TissueKind(
        "liver",
        (((38, 8, 12), (92, 26, 32), (150, 62, 64)), ((50, 22, 18), (104, 50, 40), (160, 96, 78))),
        "smooth",
        (0.6, 1.8),
        (0.056, 0.17),
        (0.04, 0.23),
        0.15,
        (0.5, 1.6),
        0.6,
        weight=1.2,
    ),
    TissueKind(
        "bowel",
        (
            ((120, 55, 62), (212, 120, 120), (246, 186, 178)),
            ((140, 96, 90), (206, 166, 152), (240, 216, 204)),
            ((128, 60, 80), (206, 130, 140), (240, 190, 196)),
        ),
        "ridged",
        (0.5, 1.8),
        (0.24, 0.63),
        (0.016, 0.12),
        0.6,
        (0.7, 2.0),
        0.5,
        SCENE_INTESTINE,
        1.3,
    ),
    TissueKind(
        "covered kidney",
        (
            ((78, 44, 60), (146, 104, 122), (204, 172, 188)),
            ((110, 80, 70), (186, 152, 140), (232, 208, 196)),
            ((95, 50, 60), (170, 100, 110), (222, 160, 160)),
        ),
        "smooth",
        (0.7, 2),
        (0.042, 0.17),
        (0.016, 0.11),
        0.5,
        (0.6, 1.7),
        0.7,
        SCENE_COVERED_KIDNEY,
        0.9,
    ),
    TissueKind(
        "kidney",
        (((110, 28, 30), (196, 84, 78), (238, 150, 130)), ((120, 60, 40), (200, 140, 100), (236, 196, 150))),
        "rough",
        (0.6, 1.6),
        (0.07, 0.24),
        (0.024, 0.14),
        0.2,
        (0.6, 1.8),
        1.0,
        SCENE_KIDNEY,
        0.7,
    ),
    TissueKind(
        "fascia",
        (((150, 125, 118), (212, 196, 188), (246, 240, 234)), ((120, 110, 120), (188, 180, 188), (236, 232, 238))),
        "fibres",
        (1, 3),
        (0.07, 0.28),
        (0.02, 0.12),
        0.3,
        (0.5, 1.6),
        0.5,
        weight=0.4,
    ),
    TissueKind(
        "muscle",
        (((70, 14, 18), (150, 44, 44), (204, 96, 88)), ((85, 35, 35), (160, 86, 80), (214, 142, 130))),
        "fibres",
        (0.8, 2.2),
        (0.14, 0.39),
        (0.032, 0.17),
        0.3,
        (0.5, 1.6),
        0.7,
        weight=0.4,
    ),
    TissueKind(
        "dissected tissue",
        (
            ((60, 10, 14), (150, 40, 40), (236, 160, 140)),
            ((80, 30, 24), (186, 110, 80), (246, 220, 180)),
            ((56, 24, 40), (140, 80, 100), (230, 200, 205)),
        ),
        "rough",
        (0.3, 1),
        (0.22, 0.52),
        (0.048, 0.21),
        0.25,
        (0.8, 2.2),
        1.4,
        weight=0.9,
    ),
    TissueKind(
        "spleen",
        (((40, 14, 36), (92, 46, 84), (156, 104, 146)), ((50, 46, 70), (104, 104, 140), (176, 180, 206))),
        "smooth",
        (0.6, 1.8),
        (0.07, 0.21),
        (0.024, 0.15),
        0.4,
        (0.6, 1.8),
        0.8,
        weight=0.6,
    ),
    TissueKind(
        "charred tissue",
        (((22, 12, 8), (86, 50, 30), (190, 150, 100)), ((30, 14, 12), (96, 42, 34), (176, 110, 80))),
        "rough",
        (0.3, 0.9),
        (0.17, 0.42),
        (0.036, 0.17),
        0.1,
        (0.4, 1.4),
        1.5,
        weight=0.2,
    ),
    TissueKind(
        "gallbladder",
        (((70, 66, 40), (150, 146, 104), (214, 210, 176)), ((110, 110, 120), (176, 180, 186), (226, 230, 232))),
        "smooth",
        (0.7, 2),
        (0.035, 0.14),
        (0.012, 0.1),
        0.7,
        (0.7, 1.8),
        0.6,
        weight=0.5,
    ),
)
"""All tissue kinds."""


def sample_kind(rng: np.random.Generator, names: tuple[str, ...] = ()) -> TissueKind:
    """A kind by its weight, among `names` if any are given; raises `ValueError` that lists the kinds."""
    unknown = sorted(set(names) - {kind.name for kind in KINDS})
    if unknown:
        raise ValueError(f"no tissue kinds {unknown}; known are {', '.join(kind.name for kind in KINDS)}")
    kinds = [kind for kind in KINDS if not names or kind.name in names]
    weights = np.array([kind.weight for kind in kinds])
    return kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]


def tone_table(rng: np.random.Generator, kind: TissueKind, unusual: float) -> FloatArray:
    """Colours by tone index, float32 (256, 3) in 0..1: one of the kind's ramps, jittered in hue, saturation and value.

    Args:
        rng: Source of randomness.
        kind: The tissue.
        unusual: Probability of a ramp of any hue.
    """
    ramp = np.array(kind.tones[int(rng.integers(len(kind.tones)))], np.float32) / 255.0
    hue_shift = rng.normal(0, 0.018)
    saturation, value = rng.uniform(0.8, 1.4), rng.uniform(0.75, 1.2)
    if rng.random() < unusual:
        hue_shift, saturation = rng.uniform(-0.5, 0.5), rng.uniform(0.0, 1.5)
    tones = []
    for red, green, blue in ramp:
        hue, chroma, level = colorsys.rgb_to_hsv(float(red), float(green), float(blue))
        tones.append(
            colorsys.hsv_to_rgb((hue + hue_shift) % 1.0, min(chroma * saturation, 1.0), min(level * value, 1.0))
        )
    positions = np.linspace(0, 1, 256)
    return np.stack(
        [np.interp(positions, (0.0, 0.5, 1.0), [tone[c] for tone in tones]) for c in range(3)], axis=1
    ).astype(np.float32)
