"""What `scene.instance_votes` computes, written down plainly with arrays: the yardstick of test_compiled_votes.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, DoubleArray, FloatArray
from clip_rl_perception.instance_channels import ALONG, AXIS, FOOT, LOG_RADIUS, SQUEEZE
from clip_rl_perception.scene.instance_votes import VoteConfig


@dataclasses.dataclass(frozen=True)
class Lines:
    """What n places or instruments are said to be."""

    axis: DoubleArray
    """Unit vectors from entry to tip, (n, 2)."""
    end: DoubleArray
    """Ends of their shafts, (n, 2)."""
    along: DoubleArray
    """Way along the axis from the place to the end, negative where it lies beyond, (n,); of an instrument 0."""
    radius: DoubleArray
    """Places, (n,)."""

    def __len__(self) -> int:
        return len(self.radius)

    def __getitem__(self, which: npt.NDArray[np.intp] | BoolArray | slice) -> Lines:
        return Lines(self.axis[which], self.end[which], self.along[which], self.radius[which])


def read_lines(fields: FloatArray, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Lines:
    """What the places at these rows and columns say, of (9, g, u)."""
    said = fields[:, rows, columns].astype(np.float64)
    axis = said[AXIS].T
    along = np.sign(said[ALONG]) * SQUEEZE * np.expm1(np.minimum(np.abs(said[ALONG]), 5.0))
    end = np.stack([columns, rows], axis=1) + said[FOOT].T + along[:, None] * axis
    return Lines(axis, end, along, np.exp(np.clip(said[LOG_RADIUS], -2.0, 4.0)))


def deviations(of: Lines, to: Lines, config: VoteConfig) -> DoubleArray:
    """How far each of m lines is from each of n, (m, n): the root of the sum of squares of three deviations.

    The angle is measured by its chord. The distance across is measured at the foot of the place itself, not at the far
    end that it names: errors of the angle do not count twice.
    """
    chord = 2.0 - 2.0 * (of.axis @ to.axis.T)
    normal = np.stack([to.axis[:, 1], -to.axis[:, 0]], axis=1)
    foot = of.end - of.along[:, None] * of.axis
    across = foot @ normal.T - (to.end * normal).sum(axis=1)
    along = of.end @ to.axis.T - (to.end * to.axis).sum(axis=1)
    radius = np.minimum(of.radius[:, None], to.radius)
    across /= np.maximum(config.across * radius, config.least_across)
    reach = np.maximum(np.abs(of.along)[:, None], np.abs(to.along))
    along /= np.maximum(config.along * reach, config.least_along * radius)
    unit = (2.0 * np.sin(np.radians(config.angle) / 2)) ** 2
    found: DoubleArray = np.sqrt(np.maximum(chord, 0.0) / unit + across * across + along * along)
    return found


def group_places(
    places: Lines, areas: npt.NDArray[np.integer[Any]], config: VoteConfig
) -> tuple[npt.NDArray[np.intp], Lines, list[float]]:
    """As `scene.instance_votes.group_places`, with the trust of each line."""
    lines = _voted_lines(places, config)
    owner = deviations(places, lines, config).argmin(axis=1)
    owner = _substantial(places, lines, owner, areas, config)
    kept, owner = np.unique(owner, return_inverse=True)
    final = joined([middle(places[owner == number]) for number in range(len(kept))])
    near = [deviations(places[owner == number], final, config)[:, number] for number in range(len(kept))]
    return owner, final, [float(np.mean(each <= config.limit / 2)) for each in near]


def _voted_lines(places: Lines, config: VoteConfig) -> Lines:
    """Lines that places, evenly drawn, agree on, those with the most votes first; at least one."""
    count, drawn = len(places), min(len(places), config.seeds)
    seeds = places[np.arange(drawn) * (count - 1) // max(1, drawn - 1)]
    agree = deviations(seeds, seeds, config) <= config.limit
    left = np.ones(len(seeds), np.bool_)
    untried = left.copy()
    found: list[Lines] = []
    while len(found) < config.most and (untried & left).any():
        best = int(np.where(untried & left, agree[:, left].sum(axis=1), -1).argmax())
        untried[best] = False
        members = left & agree[best]
        for _ in range(2):
            if members.any():
                line = middle(seeds[members])
                members = left & (deviations(seeds, line, config)[:, 0] <= config.limit)
        if members.sum() >= min(2, len(seeds)):
            found.append(line)
            left &= ~members
    if not found:
        found = [middle(places)]
    return joined(found)


def joined(lines: Sequence[Lines]) -> Lines:
    """Lines one after the other; at least one."""
    return Lines(*(np.concatenate([getattr(line, name) for line in lines]) for name in vars(lines[0])))


def _substantial(
    places: Lines,
    lines: Lines,
    owner: npt.NDArray[np.intp],
    areas: npt.NDArray[np.integer[Any]],
    config: VoteConfig,
) -> npt.NDArray[np.intp]:
    """Give the places of instruments that are too small to others of their connected area, the smallest first."""
    area_size = np.bincount(areas)
    distance = deviations(places, lines, config)
    while True:
        shares = np.zeros((len(lines), len(area_size)))
        np.add.at(shares, (owner, areas), 1.0)
        size, at = shares.sum(axis=1), shares.argmax(axis=1)
        company = (shares[:, at] > 0).sum(axis=0) > 1  # alone in its area it has nobody to be a part of
        needed = np.maximum(config.least_places, config.substantial * area_size[at])
        ratio = np.where((size > 0) & company, size / needed, np.inf)
        least = int(ratio.argmin())
        if ratio[least] >= 1:
            return owner
        shares[least] = 0
        offered = np.where((shares > 0).T[areas], distance, np.inf)
        homeless = ~np.isfinite(offered).any(axis=1)  # pieces of it elsewhere, alone there
        offered[homeless] = distance[homeless]
        offered[:, least] = np.inf
        owner = np.where(owner == least, offered.argmin(axis=1), owner)


def middle(places: Lines) -> Lines:
    """One line through places that mean the same instrument; near ones tell its end best."""
    axis = places.axis.sum(axis=0)
    axis = axis / max(float(np.hypot(*axis)), 1e-9)
    foot = places.end - places.along[:, None] * places.axis
    normal = np.array([-axis[1], axis[0]])
    near = np.argsort(np.abs(places.along), kind="stable")[: max(1, len(places) // 4)]
    end = _median(places.end[near] @ axis) * axis + _median(foot @ normal) * normal
    return Lines(axis[None], end[None], np.zeros(1), np.array([_median(places.radius)]))


def _median(values: DoubleArray) -> float:
    """The upper of the two middle values where there are two."""
    return float(np.sort(values)[len(values) // 2])
