"""The seven EndoVis 2018 instrument types as parts. Proportions follow the da Vinci instruments seen in such frames."""

from __future__ import annotations

import dataclasses

import numpy as np

from clip_rl_training.synthetic.drawing.rendered_frame import (
    BIPOLAR,
    CLIP_APPLIER,
    NEEDLE_DRIVER,
    PART_CLASPER,
    PART_SHAFT,
    PART_WRIST,
    PROBE,
    PROGRASP,
    SCISSORS,
    SUCTION,
)
from clip_rl_training.synthetic.drawing.shapes import Points
from clip_rl_training.synthetic.instruments import geometry as geo
from clip_rl_training.synthetic.instruments.finishes import (
    Finish,
    sample_color,
    sample_plastic,
    sample_shaft_finish,
    sample_steel,
)
from clip_rl_training.synthetic.instruments.geometry import Detail, Part

SHAFT_LENGTH = 60.0
"""Nominal length of every shaft, in its radii; placing an instrument cuts or extends it to reach beyond the border."""


@dataclasses.dataclass(frozen=True)
class Design:
    """An instrument: its parts in drawing order and how far its joints move."""

    type_id: int
    parts: tuple[Part, ...]
    wrist_length: float
    """From the shaft's end to the second joint, in shaft radii."""
    yaw_length: float
    """From the second joint to the jaws' joint."""
    bend: float
    """Largest wrist angle, rad."""
    opening: float
    """Largest angle of each jaw from the middle, rad."""


def seeded(rng: np.random.Generator, parts: list[Part]) -> tuple[Part, ...]:
    """Parts with wear and reflections of their own."""
    return tuple(dataclasses.replace(part, seed=int(rng.integers(1 << 31))) for part in parts)


def _shaft(rng: np.random.Generator, unusual: float, finish: Finish | None = None, bands: bool = True) -> Part:
    finish = finish or sample_shaft_finish(rng, unusual)
    details: list[Detail] = []
    if bands:
        end = rng.uniform(0.8, 2.6)
        if rng.random() < 0.65:
            details.append(Detail("band", -end, 0.0, end, 2.2, sample_steel(rng)))
            details.append(Detail("groove", -end, 0.0, 0.08, 2.0))
            details.append(Detail("groove", -end * rng.uniform(0.3, 0.8), 0.0, 0.06, 2.0))
        if rng.random() < 0.3:
            start = -rng.uniform(5, 20)
            details.append(Detail("band", start, 0.0, rng.uniform(1, 8), 2.2, sample_shaft_finish(rng, 0.2)))
    if rng.random() < 0.2:
        details.append(Detail("text", -rng.uniform(4, 12), rng.uniform(-0.3, 0.3), 6.0, 0.5))
    outline = geo.bar(-SHAFT_LENGTH, 0.0, 1.0, 0.97, 0.0, rng.uniform(0.15, 0.4))
    return Part(PART_SHAFT, outline, finish, details=tuple(details), joint="shaft")


def _clevis(rng: np.random.Generator, metal: Finish, length: float, yaw_length: float) -> list[Part]:
    """Two-stage steel wrist with rivets, pulleys and cable slots."""
    narrow = rng.uniform(0.7, 0.95)
    first = geo.bar(-0.3, length + 0.45, 0.97, narrow, 0.3, 0.6)
    details = [
        Detail("rivet", length * rng.uniform(0.8, 1.0), rng.uniform(-0.3, 0.3), rng.uniform(0.25, 0.5), 0.0),
        Detail("slot", length * 0.15, rng.uniform(-0.5, 0.5), length * rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.3)),
    ]
    if rng.random() < 0.6:
        details.append(Detail("slot", length * 0.1, rng.choice([-0.55, 0.55]), length * 0.6, 0.15))
    if rng.random() < 0.6:
        details.append(Detail("groove", rng.uniform(0.2, length), 0.0, 0.1, 2.0))
    second = geo.bar(-0.55, yaw_length + 0.4, narrow * 0.92, rng.uniform(0.5, 0.75), 0.5, 0.4)
    more = [
        Detail("rivet", yaw_length * 0.9, rng.uniform(-0.15, 0.15), rng.uniform(0.18, 0.35), 0.0),
        Detail("ribs", 0.0, 0.0, yaw_length, rng.uniform(0.25, 0.5)),
    ]
    return [
        Part(PART_WRIST, first, metal, details=tuple(details)),
        Part(PART_WRIST, second, metal, "plate", details=tuple(more), joint="yaw"),
    ]


def jaws(
    rng: np.random.Generator,
    finish: Finish,
    length: float,
    base: float,
    tip: float,
    bow: tuple[float, float],
    blunt: float,
    slot: bool,
    teeth: bool,
) -> list[Part]:
    """A lower and an upper jaw; sizes as of `geometry.curved_jaw`, `bow` of both, `slot` for fenestrated ones."""
    made = []
    for joint, side, bend in (("lower", -1.0, bow[0]), ("upper", 1.0, bow[1])):
        outline = geo.curved_jaw(length, base, tip, bend, blunt)
        holes: tuple[Points, ...] = (
            (geo.jaw_slot(length, 0.22, rng.uniform(0.72, 0.9), base, tip, bend),) if slot else ()
        )
        details: tuple[Detail, ...] = ()
        if teeth:
            details = (Detail("teeth", length * 0.15, bend * 0.3, length * 0.8, rng.uniform(0.16, 0.3)),)
        if side < 0:
            outline = geo.mirror(outline)
            holes = tuple(geo.mirror(hole) for hole in holes)
            details = tuple(dataclasses.replace(detail, v=-detail.v) for detail in details)
        made.append(Part(PART_CLASPER, outline, finish, "plate", holes, details, joint))
    return made


def _bipolar(rng: np.random.Generator, unusual: float) -> Design:
    metal = sample_steel(rng)
    wrist, yaw = rng.uniform(1.4, 2.4), rng.uniform(1.4, 2.2)
    amber = sample_plastic(rng, (0.62, 0.50, 0.22) if rng.random() < 0.8 else sample_color(rng))
    clevis = _clevis(rng, metal, wrist, yaw)
    start = yaw * rng.uniform(0.0, 0.3)
    insulated = Detail("band", start, 0.0, yaw + 0.5 - start, 2.5, amber), Detail("ribs", start, 0.0, yaw, 0.3)
    clevis[1] = dataclasses.replace(clevis[1], details=clevis[1].details + insulated)
    maryland = rng.random() < 0.6
    bow = rng.uniform(-1.2, 1.2)
    length, base = rng.uniform(4.2, 6.5), rng.uniform(0.55, 0.8)
    tip = rng.uniform(0.22, 0.4) if maryland else rng.uniform(0.5, 0.7)
    slot, teeth = rng.random() < 0.75, rng.random() < 0.85
    claws = jaws(rng, metal, length, base, tip, (bow, -bow) if maryland else (0.0, 0.0), 1.0, slot, teeth)
    return Design(BIPOLAR, seeded(rng, [_shaft(rng, unusual), *clevis, *claws]), wrist, yaw, 1.1, 0.55)


def _prograsp(rng: np.random.Generator, unusual: float) -> Design:
    metal = sample_steel(rng)
    wrist, yaw = rng.uniform(1.6, 2.6), rng.uniform(1.4, 2.4)
    length, base, tip = rng.uniform(4.8, 7.0), rng.uniform(0.4, 0.6), rng.uniform(0.55, 0.8)
    claws = jaws(rng, metal, length, base, tip, (0.0, 0.0), 0.9, True, True)
    parts = seeded(rng, [_shaft(rng, unusual), *_clevis(rng, metal, wrist, yaw), *claws])
    return Design(PROGRASP, parts, wrist, yaw, 1.1, 0.5)


def _needle_driver(rng: np.random.Generator, unusual: float) -> Design:
    metal = sample_steel(rng)
    wrist, yaw = rng.uniform(1.2, 2.0), rng.uniform(1.2, 2.0)
    length, base, tip = rng.uniform(2.4, 3.6), rng.uniform(0.6, 0.8), rng.uniform(0.25, 0.4)
    claws = jaws(rng, metal, length, base, tip, (0.0, 0.0), 0.7, False, True)
    parts = seeded(rng, [_shaft(rng, unusual), *_clevis(rng, metal, wrist, yaw), *claws])
    return Design(NEEDLE_DRIVER, parts, wrist, yaw, 1.1, 0.5)


def _scissors(rng: np.random.Generator, unusual: float) -> Design:
    metal = sample_steel(rng)
    if rng.random() < 0.5:
        metal = dataclasses.replace(
            metal, base=(0.55 * rng.uniform(0.5, 1.2), 0.47 * rng.uniform(0.5, 1.2), 0.33 * rng.uniform(0.5, 1.2))
        )
    grey = sample_plastic(rng, (0.44, 0.49, 0.53)) if rng.random() < 0.75 else sample_shaft_finish(rng, unusual)
    amber = sample_plastic(rng, (0.42, 0.38, 0.18))
    sleeve = rng.uniform(4, 11)
    finish = amber if rng.random() < 0.4 else sample_shaft_finish(rng, unusual)
    details = [Detail("band", -sleeve, 0.0, sleeve, 2.2, grey), Detail("groove", -sleeve, 0.0, 0.1, 2.0)]
    if rng.random() < 0.6:
        details.append(Detail("text", -sleeve * 0.9, rng.uniform(-0.25, 0.1), sleeve * 0.8, 0.8))
    sleeved = geo.bar(-SHAFT_LENGTH, 0.3, 1.0, 1.0, 0.0, 0.5)
    shaft = Part(PART_SHAFT, sleeved, finish, details=tuple(details), joint="shaft")
    wrist, yaw = rng.uniform(1.2, 2.6), rng.uniform(0.6, 1.2)
    cover = Part(PART_WRIST, geo.bar(-0.7, wrist + 0.4, 0.98, rng.uniform(0.6, 0.85), 0.7, 0.5), grey)
    end = metal if rng.random() < 0.5 else grey
    tip = Part(PART_WRIST, geo.bar(-0.5, yaw + 0.35, 0.75, 0.5, 0.4, 0.3), end, joint="yaw")
    bow = rng.uniform(-1.6, 1.6)
    length, base, point = rng.uniform(3.6, 5.2), rng.uniform(0.45, 0.7), rng.uniform(0.08, 0.22)
    claws = jaws(rng, metal, length, base, point, (bow, -bow), 1.0, False, False)
    return Design(SCISSORS, seeded(rng, [shaft, cover, tip, *claws]), wrist, yaw, 1.0, 0.5)


def _probe(rng: np.random.Generator, unusual: float) -> Design:
    dark = Finish(
        (0.07, 0.07, 0.08), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.3), 0.0, rng.uniform(0, 0.3), rng.uniform(0, 0.4)
    )
    body = dark if rng.random() < 0.6 else sample_shaft_finish(rng, unusual)
    rod = sample_shaft_finish(rng, unusual) if rng.random() < 0.5 else dark
    wide, length = rng.uniform(0.9, 1.5), rng.uniform(5, 12)
    outline = geo.bar(-0.2, length, wide, wide * rng.uniform(0.75, 0.95), 0.2, wide * rng.uniform(0.5, 1.0))
    details = [Detail("groove", length * rng.uniform(0.6, 0.9), 0.0, 0.1, 2 * wide)]
    if rng.random() < 0.6:
        start = length * rng.uniform(0.0, 0.5)
        details.append(
            Detail("band", start, 0.0, length * rng.uniform(0.1, 0.5), 2.5 * wide, sample_shaft_finish(rng, unusual))
        )
    profile = "round" if rng.random() < 0.5 else "plate"
    head = Part(PART_CLASPER, outline, body, profile, details=tuple(details), joint="yaw")
    ribs = Detail("ribs", 0.0, 0.0, 1.5, 0.4)
    joint = Part(PART_WRIST, geo.bar(-0.4, 1.6, 0.95, wide * 0.95, 0.3, 0.2), rod, details=(ribs,))
    return Design(PROBE, seeded(rng, [_shaft(rng, unusual, rod, False), joint, head]), 1.4, 0.0, 0.25, 0.0)


def _suction(rng: np.random.Generator, unusual: float) -> Design:
    finish = sample_steel(rng) if rng.random() < 0.5 else sample_shaft_finish(rng, unusual)
    if rng.random() < 0.3:
        finish = sample_plastic(rng, (0.75, 0.72, 0.70))
    details = [
        Detail("slot", -rng.uniform(1.2, 1.8) - 1.0 * i, rng.uniform(-0.4, 0.4), 0.5, 0.28)
        for i in range(int(rng.integers(2, 9)))
    ]
    details.append(Detail("slot", -0.4, 0.0, 0.15, 0.4))
    narrow = rng.uniform(0.6, 0.92)
    outline = geo.tube(-SHAFT_LENGTH, rng.uniform(0.9, 3.0), narrow, narrow * rng.uniform(0.5, 0.9))
    tube = Part(PART_SHAFT, outline, finish, details=tuple(details), joint="shaft")
    return Design(SUCTION, seeded(rng, [tube]), 0.0, 0.0, 0.0, 0.0)


def _clip_applier(rng: np.random.Generator, unusual: float) -> Design:
    metal = sample_steel(rng)
    if rng.random() < 0.6:
        metal = dataclasses.replace(sample_shaft_finish(rng, unusual), speckle=0.5)
    wrist, yaw = rng.uniform(1.4, 2.4), rng.uniform(0.8, 1.4)
    shaft = _shaft(rng, unusual, dataclasses.replace(metal, brush=0.6))
    rivet = Detail("rivet", wrist * 0.8, 0.0, 0.3, 0.0)
    sheath = geo.bar(-0.4, wrist + 0.4, 0.98, rng.uniform(0.85, 1.0), 0.3, 0.4)
    cover = Part(PART_WRIST, sheath, metal, details=(rivet,))
    fork = Part(PART_WRIST, geo.bar(-0.4, yaw + 0.4, 0.9, 0.8, 0.3, 0.4), metal, joint="yaw")
    length, base, tip = rng.uniform(3.6, 5.5), rng.uniform(0.65, 0.95), rng.uniform(0.35, 0.6)
    claws = jaws(rng, metal, length, base, tip, (-0.9, -0.9), 0.6, False, rng.random() < 0.3)
    parts = [shaft, cover, fork, *claws]
    if rng.random() < 0.6:
        white = Finish((0.82, 0.78, 0.80), 0.5, 0.3, 0.0, 0.0, 0.2)
        reach = rng.uniform(2.5, 3.5)
        arc = np.linspace(-1.2, 1.2, 9)
        outer = np.stack([0.8 + reach * np.cos(arc), 0.9 * np.sin(arc)], axis=1)
        inner = np.stack([0.8 + (reach - 0.45) * np.cos(arc), 0.6 * np.sin(arc)], axis=1)
        parts.insert(3, Part(0, np.concatenate([outer, inner[::-1]]), white, "plate", joint="jaws"))
    return Design(CLIP_APPLIER, seeded(rng, parts), wrist, yaw, 0.7, 0.45)


def sample_design(rng: np.random.Generator, type_id: int, unusual: float) -> Design:
    """An individual of a type: proportions, finishes and details vary.

    Args:
        rng: Source of randomness.
        type_id: Id of the label space endovis2018-type, 1 to 7.
        unusual: Probability of a shaft of any colour.
    """
    makers = (_bipolar, _prograsp, _needle_driver, _scissors, _probe, _suction, _clip_applier)
    return makers[type_id - 1](rng, unusual)
