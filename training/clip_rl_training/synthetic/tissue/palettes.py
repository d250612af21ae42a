"""Tissue kinds: colours, surface and class of what lies in an abdomen."""

from __future__ import annotations

import colorsys
import dataclasses
import functools

import numpy as np
from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.typed_data import from_data

from clip_rl_training.shipped_configs import shipped_folder
from clip_rl_training.synthetic.drawing.rendered_frame import SCENE_TISSUE
from clip_rl_training.typed_config import load_yaml

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


@functools.cache
def tissue_kinds() -> tuple[TissueKind, ...]:
    """All kinds, those of ``configs/synthetic/tissue_kinds.yaml``."""
    entries = load_yaml(shipped_folder("synthetic") / "tissue_kinds.yaml")
    return tuple(from_data(TissueKind, entry, entry["name"]) for entry in entries)


def sample_kind(rng: np.random.Generator, names: tuple[str, ...] = ()) -> TissueKind:
    """A kind by its weight, among `names` if any are given; raises `ValueError` that lists the kinds."""
    known = [kind.name for kind in tissue_kinds()]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no tissue kinds {unknown}; known are {', '.join(known)}")
    kinds = [kind for kind in tissue_kinds() if not names or kind.name in names]
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
