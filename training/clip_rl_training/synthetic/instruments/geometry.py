"""Building blocks of instruments: parts with outline, holes, surface and details, in units of the shaft's radius."""

from __future__ import annotations

import dataclasses

import numpy as np

from clip_rl_training.synthetic.drawing.shapes import Points
from clip_rl_training.synthetic.instruments.finishes import Finish


@dataclasses.dataclass(frozen=True)
class Detail:
    """Something on a part's surface, in the part's coordinates: u along, v across."""

    kind: str
    """groove (line across), band (recoloured stretch), ribs (lengthwise), slot (dark opening), rivet, teeth, text."""
    u: float
    """Start or centre along."""
    v: float
    """Centre across."""
    length: float
    """Extent along, or radius of a rivet."""
    width: float
    """Extent across, or spacing of teeth and ribs."""
    finish: Finish | None = None
    """Of a band."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A rigid piece. Local u runs towards the tip, v across; (0, 0) is the joint it turns about."""

    part_id: int
    """Id of the label space endovis2017-parts; 0 is an object that an instrument holds."""
    outline: Points
    """Corners, (N, 2) as u, v."""
    finish: Finish
    profile: str = "round"
    """round: a cylinder along u; plate: flat with bevelled edges."""
    holes: tuple[Points, ...] = ()
    details: tuple[Detail, ...] = ()
    joint: str = "wrist"
    """What it moves with: shaft, wrist, yaw (second wrist joint), upper jaw, lower jaw."""
    seed: int = 0
    """Fixes its wear and reflections over a video."""


def bar(
    u0: float, u1: float, half0: float, half1: float, round0: float = 0.0, round1: float = 0.0, steps: int = 7
) -> Points:
    """A tapered bar from u0 to u1, half-widths at both ends, with ends rounded by the given depths."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, steps)
    tip = np.stack([u1 - round1 + round1 * np.cos(turn), half1 * np.sin(turn)], axis=1)
    base = np.stack([u0 + round0 - round0 * np.cos(turn), -half0 * np.sin(turn)], axis=1)
    if round1 <= 0:
        tip = np.array([[u1, -half1], [u1, half1]])
    if round0 <= 0:
        base = np.array([[u0, half0], [u0, -half0]])
    return np.concatenate([tip, base])


def tube(u0: float, shoulder: float, half: float, depth: float, steps: int = 9) -> Points:
    """A tube of half-width 1 from u0 to 0: narrows to `half` over the last `shoulder` and ends round, `depth` deep."""
    tip = bar(-shoulder, 0.0, 1.0, half, 0.0, depth, steps)[:steps]
    return np.concatenate([tip, [[-shoulder, 1.0], [u0, 1.0], [u0, -1.0], [-shoulder, -1.0]]])


def curved_jaw(length: float, base: float, tip: float, bow: float, blunt: float, steps: int = 14) -> Points:
    """A jaw from u = 0 to `length`, inner edge on v = 0, outer edge on v > 0, both bowed towards v > 0 by `bow`.

    Args:
        length: Along u.
        base: Width at the joint.
        tip: Width at the tip.
        bow: Sideways deflection of the tip; negative curves inwards.
        blunt: 1 rounds the tip, 0 makes it pointed.
        steps: Corners along each edge.
    """
    s = np.linspace(0, 1, steps)
    center = bow * s**2
    width = base + (tip - base) * s**0.8
    width = width * np.where(s > 0.8, np.sqrt(np.maximum(1 - ((s - 0.8) / 0.2) ** 2 * blunt, 0.05)), 1.0)
    inner = np.stack([s * length, center], axis=1)
    outer = np.stack([s * length, center + width], axis=1)
    return np.concatenate([inner, outer[::-1]])


def jaw_slot(length: float, start: float, stop: float, base: float, tip: float, bow: float, steps: int = 8) -> Points:
    """The opening in a fenestrated jaw: the middle of `curved_jaw` between two stations."""
    s = np.linspace(start, stop, steps)
    center = bow * s**2
    width = (base + (tip - base) * s**0.8) * 0.5
    ease = np.sqrt(np.clip(np.minimum(s - start, stop - s) / max(0.06, 1e-6), 0.15, 1.0))
    middle = center + width
    half = width * 0.52 * ease
    inner = np.stack([s * length, middle - half], axis=1)
    outer = np.stack([s * length, middle + half], axis=1)
    return np.concatenate([inner, outer[::-1]])


def mirror(points: Points) -> Points:
    """The outline on the other side of the axis."""
    return np.asarray(points * np.array([1.0, -1.0]))
