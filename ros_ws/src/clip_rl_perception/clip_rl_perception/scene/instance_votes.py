"""Which instrument each place of a mask belongs to, from what the places say of it (`model.instance_head`).

Every place names the axis of its instrument. Places that name the same line are one instrument: so instruments stay
apart where they cross or touch, and pieces that smoke or another instrument cuts off belong together. One instrument
after the other is found: the line that most of the remaining places agree with, drawn anew through all who do. The
loops are compiled (`kernels.vote_kernels`).
Notation: g x u places of 8 x 8 network pixels; places and points are (column, row).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray, FloatArray
from clip_rl_perception.instance_channels import ALONG, AXIS, FOOT, LOG_RADIUS, SQUEEZE
from clip_rl_perception.kernels import vote_kernels as kernels


@dataclasses.dataclass(frozen=True)
class VoteConfig:
    """When places mean the same instrument; chosen with synthetic stills that the head was not trained on."""

    angle: float = 40.0
    """Angle between two axes that counts as one deviation, degrees."""
    across: float = 2.0
    """Distance between two axes that counts as one deviation, radii of the shaft."""
    least_across: float = 0.5
    """Its lower limit, places."""
    along: float = 1.2
    """Difference between two ends of a shaft that counts as one deviation, as a part of the way to them."""
    least_along: float = 3.0
    """Its lower limit, radii of the shaft."""
    limit: float = 2.0
    """Deviations up to which a place agrees with an instrument."""
    seeds: int = 160
    """Places, evenly drawn, among which agreement is counted."""
    least_places: int = 6
    """Fewest places that are an instrument beside others; one that is alone may be smaller."""
    substantial: float = 0.2
    """What covers less than this of a connected area is no instrument in it, but a part of one."""
    most: int = 16
    """Instruments at most; what remains joins the nearest."""


@dataclasses.dataclass(frozen=True)
class Lines:
    """The lines of m instruments."""

    axis: DoubleArray
    """Unit vectors from entry to tip, (m, 2)."""
    end: DoubleArray
    """Ends of their shafts, places, (m, 2)."""
    radius: DoubleArray
    """Places, (m,)."""
    trust: DoubleArray
    """Share of an instrument's places that lie within half the limit of its line, (m,)."""

    def __len__(self) -> int:
        return len(self.radius)

    def __getitem__(self, which: npt.NDArray[np.intp]) -> Lines:
        return Lines(self.axis[which], self.end[which], self.radius[which], self.trust[which])


def read_places(fields: FloatArray, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> DoubleArray:
    """What the n places at these rows and columns say, of (9, g, u): (n, 8), columns as of `kernels.vote_kernels`."""
    said = fields[:, rows, columns]
    places = np.empty((len(rows), 8))
    axis, foot, squeezed = said[AXIS], said[FOOT], said[ALONG]
    along = np.sign(squeezed) * SQUEEZE * np.expm1(np.minimum(np.abs(squeezed), 5.0))
    places[:, :2] = axis.T
    places[:, kernels.ALONG] = along
    places[:, kernels.RADIUS] = np.exp(np.clip(said[LOG_RADIUS], -2.0, 4.0))
    places[:, kernels.FOOT_X] = columns + foot[0]
    places[:, kernels.FOOT_Y] = rows + foot[1]
    places[:, 2:4] = places[:, 6:] + along[:, None] * places[:, :2]  # the end lies along the axis from the foot
    return places


def group_places(
    places: DoubleArray, areas: npt.NDArray[np.integer[Any]], config: VoteConfig | None = None
) -> tuple[npt.NDArray[np.intp], Lines]:
    """Divide the places of a mask into instruments.

    Args:
        places: what each says, n of them, from `read_places`.
        areas: number of the connected area that each lies in, from 0, (n,).
        config: when they agree.

    Returns:
        Number of each place's instrument, from 0, (n,); and the instruments' own lines.
    """
    if not len(places):
        none = np.zeros((0, 2))
        return np.zeros(0, np.intp), Lines(none, none, none[:, 0], none[:, 0])
    near_first = np.argsort(np.abs(places[:, kernels.ALONG]), kind="stable")
    owner, lines, trust = kernels.group(places, near_first, areas, _limits(config or VoteConfig()))
    return owner, Lines(lines[:, :2], lines[:, 2:4], lines[:, kernels.RADIUS], trust)


@functools.lru_cache(maxsize=8)
def _limits(config: VoteConfig) -> kernels.Limits:
    return kernels.Limits(
        unit=(2.0 * math.sin(math.radians(config.angle) / 2)) ** 2,
        across=float(config.across),
        least_across=float(config.least_across),
        along=float(config.along),
        least_along=float(config.least_along),
        limit=float(config.limit) ** 2,
        seeds=config.seeds,
        least_places=config.least_places,
        substantial=float(config.substantial),
        most=config.most,
    )
