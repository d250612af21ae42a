"""Rigid laparoscopic instruments, which are none of the seven EndoVis types: graspers, hooks, scissors, clip appliers,
staplers, irrigators, trocars. Their type is not known, 255; masks and parts are as of any instrument.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from clip_rl_perception.labels import UNLABELLED

from clip_rl_training.synthetic.drawing.rendered_frame import PART_CLASPER, PART_SHAFT, PART_WRIST
from clip_rl_training.synthetic.drawing.shapes import Points, ribbon
from clip_rl_training.synthetic.instruments import geometry as geo
from clip_rl_training.synthetic.instruments.designs import SHAFT_LENGTH, Design, jaws, seeded
from clip_rl_training.synthetic.instruments.finishes import (
    Finish,
    sample_shaft_finish,
    sample_sleeve,
    sample_steel,
)
from clip_rl_training.synthetic.instruments.geometry import Detail, Part


def _tube(finish: Finish, details: tuple[Detail, ...] = ()) -> Part:
    return Part(PART_SHAFT, geo.bar(-SHAFT_LENGTH, 0.0, 1.0, 1.0, 0.0, 0.15), finish, details=details, joint="shaft")


def _shaft_finish(rng: np.random.Generator, unusual: float) -> Finish:
    """Steel tubes and sleeves of black, white, blue and green plastic are what most of them have."""
    choice = rng.choice(3, p=(0.35, 0.35, 0.3))
    return (sample_steel(rng), sample_sleeve(rng), sample_shaft_finish(rng, unusual))[choice]


def _grasper(rng: np.random.Generator, unusual: float) -> Design:
    """Two straight or bent jaws right at the end of a tube, the second half of it often an insulated sleeve."""
    metal = sample_steel(rng)
    length, base = rng.uniform(3.0, 9.0), rng.uniform(0.45, 0.75)
    tip = rng.uniform(0.15, 0.7)
    bow = rng.uniform(-1.0, 1.0) if rng.random() < 0.4 else 0.0
    claws = jaws(rng, metal, length, base, tip, (bow, -bow), 0.9, rng.random() < 0.5, rng.random() < 0.8)
    bare = rng.uniform(0.6, 3.0)
    neck = Part(PART_WRIST, geo.bar(-0.2, bare, rng.uniform(0.7, 0.95), rng.uniform(0.5, 0.8), 0.1, 0.3), metal)
    shaft = _tube(_shaft_finish(rng, unusual), _bands(rng, metal))
    return Design(UNLABELLED, seeded(rng, [shaft, neck, *claws]), bare * 0.9, 0.0, 0.06, 0.55)


def _bands(rng: np.random.Generator, metal: Finish) -> tuple[Detail, ...]:
    if rng.random() < 0.5:
        return ()
    end = rng.uniform(0.5, 6.0)
    return Detail("band", -end, 0.0, end, 2.2, metal), Detail("groove", -end, 0.0, 0.1, 2.0)


def _scissors(rng: np.random.Generator, unusual: float) -> Design:
    metal = sample_steel(rng)
    bow = rng.uniform(-1.4, 1.4)
    blades = jaws(rng, metal, rng.uniform(2.5, 5.0), rng.uniform(0.45, 0.7), 0.12, (bow, -bow), 1.0, False, False)
    neck = Part(PART_WRIST, geo.bar(-0.2, 0.9, 0.9, 0.6, 0.1, 0.3), metal)
    shaft = _tube(_shaft_finish(rng, unusual), _bands(rng, metal))
    return Design(UNLABELLED, seeded(rng, [shaft, neck, *blades]), 0.7, 0.0, 0.06, 0.5)


def _hook(rng: np.random.Generator, unusual: float) -> Design:
    """A wire bent like an L or a J, or a spatula, out of an insulated tube."""
    metal = sample_steel(rng)
    reach, half = rng.uniform(1.6, 3.5), rng.uniform(0.14, 0.28)
    collar = Part(PART_WRIST, geo.bar(-0.2, 0.8, 0.9, rng.uniform(0.4, 0.7), 0.1, 0.3), sample_sleeve(rng))
    outline: Points
    if rng.random() < 0.75:
        turn = np.linspace(0, np.pi / 2 * rng.uniform(0.8, 1.9), 8)
        bend = rng.uniform(0.4, 1.1)
        path = np.stack([reach + bend * np.sin(turn), bend * (1 - np.cos(turn))], axis=1)
        along = np.array([np.cos(turn[-1]), np.sin(turn[-1])])
        path = np.concatenate([[[-0.3, 0.0]], path, [path[-1] + along * rng.uniform(0.3, 1.2)]])
        outline = ribbon(path, half)
    else:
        outline = geo.bar(-0.3, reach + 1.0, half, rng.uniform(0.3, 0.6), 0.0, 0.3)
    tip = Part(PART_CLASPER, outline, metal, joint="yaw")
    shaft = _tube(_shaft_finish(rng, unusual))
    return Design(UNLABELLED, seeded(rng, [shaft, collar, tip]), 0.6, 0.0, 0.05, 0.0)


def _stapler(rng: np.random.Generator, unusual: float) -> Design:
    """Long thick jaws as wide as the shaft: staplers, sealers, large clip appliers; chrome, white or gray."""
    body = sample_steel(rng) if rng.random() < 0.6 else sample_sleeve(rng)
    length, base = rng.uniform(5.0, 12.0), rng.uniform(0.8, 1.0)
    claws = jaws(rng, body, length, base, rng.uniform(0.55, 0.9), (0.0, 0.0), 0.7, rng.random() < 0.4, True)
    neck = Part(PART_WRIST, geo.bar(-0.4, 1.6, 0.98, 0.95, 0.3, 0.4), body, details=_rivet(rng))
    finish = body if rng.random() < 0.5 else _shaft_finish(rng, unusual)
    shaft = _tube(finish, _bands(rng, sample_steel(rng)))
    return Design(UNLABELLED, seeded(rng, [shaft, neck, *claws]), 1.4, 0.0, 0.5, 0.25)


def _rivet(rng: np.random.Generator) -> tuple[Detail, ...]:
    return (Detail("rivet", rng.uniform(0.4, 1.2), rng.uniform(-0.3, 0.3), rng.uniform(0.2, 0.4), 0.0),)


def _irrigator(rng: np.random.Generator, unusual: float) -> Design:
    """A steel or pale tube of one width with holes near its open end."""
    holes = tuple(
        Detail("slot", -rng.uniform(0.8, 1.4) - 1.2 * i, rng.uniform(-0.5, 0.5), 0.4, 0.3)
        for i in range(int(rng.integers(0, 7)))
    )
    finish = sample_steel(rng) if rng.random() < 0.6 else sample_sleeve(rng)
    outline = geo.tube(-SHAFT_LENGTH, 0.2, 0.97, rng.uniform(0.1, 0.5))
    tube = Part(PART_SHAFT, outline, finish, details=(*holes, Detail("slot", -0.25, 0.0, 0.1, 1.2)), joint="shaft")
    return Design(UNLABELLED, seeded(rng, [tube]), 0.0, 0.0, 0.0, 0.0)


def _trocar(rng: np.random.Generator, unusual: float) -> Design:
    """A wide sleeve, cut off straight or slanting, with threads; dark inside."""
    finish = sample_sleeve(rng) if rng.random() < 0.7 else sample_steel(rng)
    slant = rng.uniform(0.0, 1.6)
    outline = np.array([[slant, -1.0], [-0.1, 1.0], [-SHAFT_LENGTH, 1.0], [-SHAFT_LENGTH, -1.0]])
    pitch = rng.uniform(0.35, 0.9)
    threads = tuple(Detail("groove", -1.0 - pitch * i, 0.0, 0.12, 2.0) for i in range(int(rng.integers(0, 14))))
    sleeve = Part(PART_SHAFT, outline, finish, details=threads, joint="shaft")
    mouth = Part(
        PART_SHAFT, geo.bar(-0.35, 0.1 + 0.4 * slant, 0.8, 0.7, 0.3, 0.3),
        Finish((0.02, 0.02, 0.025), 0.1, 0.3, 0.0, 0.0, 0.2), "plate", joint="shaft",
    )  # fmt: skip
    return Design(UNLABELLED, seeded(rng, [sleeve, mouth]), 0.0, 0.0, 0.0, 0.0)


_MAKERS: tuple[tuple[Callable[[np.random.Generator, float], Design], float, tuple[float, float]], ...] = (
    (_grasper, 0.36, (0.6, 1.0)),
    (_scissors, 0.08, (0.6, 1.0)),
    (_hook, 0.14, (0.6, 1.0)),
    (_stapler, 0.18, (0.9, 1.4)),
    (_irrigator, 0.16, (0.5, 1.0)),
    (_trocar, 0.08, (1.0, 1.6)),
)
"""What is drawn, how often, and how wide beside a da Vinci shaft of 8 mm: tubes of 5 mm, staplers and trocars of 12."""


def sample_laparoscopic(rng: np.random.Generator, unusual: float) -> tuple[Design, float]:
    """An individual of one of these kinds, and its width relative to that of a da Vinci shaft.

    Args:
        rng: Source of randomness.
        unusual: Probability of a shaft of any colour.
    """
    make, _, wide = _MAKERS[int(rng.choice(len(_MAKERS), p=[share for _, share, _ in _MAKERS]))]
    return make(rng, unusual), float(rng.uniform(*wide))
