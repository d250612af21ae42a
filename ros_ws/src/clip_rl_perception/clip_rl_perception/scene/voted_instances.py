"""Instruments of a mask by the votes of its places (`scene.instance_votes`), with axes and keypoints.

Notation: (h, w) nodes of the logit grid, each place of the head covers 2 x 2 of them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import BoolArray, DoubleArray, FloatArray
from clip_rl_perception.instance_channels import INSTANCE_STRIDE, TIP, WRIST
from clip_rl_perception.scene.instance_votes import Lines, VoteConfig, group_places, read_places
from clip_rl_perception.scene.letterbox import STRIDE
from clip_rl_perception.scene.nearest import nearest_owner

PLACE = INSTANCE_STRIDE // STRIDE
"""Nodes of the logit grid along a side of a place."""

_AROUND = np.ones((3, 3), np.uint8)

FARTHEST = 0.1
"""Confidence of a tip that is nothing but the instrument's farthest place."""


class PlacedPoint(NamedTuple):
    """A keypoint on the grid of places."""

    name: str
    """One of `types.KEYPOINTS`."""
    place: tuple[float, float]
    """(column, row)."""
    confidence: float
    visible: bool


@dataclasses.dataclass(frozen=True)
class VotedInstances:
    """The m instruments of a frame, the largest first."""

    owners: npt.NDArray[np.intp]
    """Instrument of each node, from 1, 0 none, (h, w)."""
    lines: Lines
    """m of them, on the grid of places."""
    points: tuple[tuple[PlacedPoint, ...], ...]
    """Keypoints of each."""


@dataclasses.dataclass(frozen=True)
class KeypointConfig:
    """When a peak is a keypoint."""

    tip: float = 0.25
    """Least heat of a tip."""
    wrist: float = 0.2
    """Least heat of a wrist; below it lies where the places say that the shaft ends."""
    near: float = 2.8
    """Places from an instrument's own up to which a peak is its own."""
    beyond: float = 1.0
    """Radii of the shaft before its end up to which there may be a tip: tips lie beyond the end."""


def vote(
    mask: BoolArray,
    content: BoolArray,
    said: FloatArray,
    least_nodes: float,
    votes: VoteConfig | None = None,
    keypoints: KeypointConfig | None = None,
) -> VotedInstances:
    """Divide a mask into instruments and find their keypoints.

    Args:
        mask: nodes of any instrument, bool (h, w), h and w even.
        content: nodes that show the patient, bool (h, w).
        said: by the head, (9, h/2, w/2).
        least_nodes: connected areas and instruments of fewer nodes are none.
        votes: when places agree.
        keypoints: when peaks count.
    """
    votes, keypoints = votes or VoteConfig(), keypoints or KeypointConfig()
    _, areas, stats, _ = cv2.connectedComponentsWithStats((mask & content).astype(np.uint8), connectivity=8)
    enough = stats[:, cv2.CC_STAT_AREA] >= least_nodes
    enough[0] = False
    kept = enough[areas]
    number = np.where(enough, np.cumsum(enough), 0)  # of the areas that are kept, from 1
    blocks = _of_places(number[areas])
    rows, columns = np.nonzero(blocks)
    owner, lines = group_places(read_places(said, rows, columns), blocks[rows, columns] - 1, votes)
    grid = np.zeros(blocks.shape, np.intp)
    grid[rows, columns] = owner + 1
    nodes = np.where(kept, grid.repeat(PLACE, axis=0).repeat(PLACE, axis=1), 0)
    size = np.bincount(nodes.ravel(), minlength=len(lines) + 1)[1:]
    order = np.argsort(-size, kind="stable")
    order = order[size[order] >= least_nodes]
    renumbered = np.zeros(len(lines) + 1, np.intp)
    renumbered[order + 1] = np.arange(1, len(order) + 1)
    lines = lines[order]
    points: tuple[tuple[PlacedPoint, ...], ...] = ()
    if len(order):
        points = _keypoints(said, renumbered[grid], lines, _of_places(content), keypoints)
    return VotedInstances(renumbered[nodes], lines, points)


def _of_places(nodes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The largest value of the nodes of each place: (h, w) -> (g, u)."""
    parts = [nodes[row::PLACE, column::PLACE] for row in range(PLACE) for column in range(PLACE)]
    return functools.reduce(np.maximum, parts)


def _keypoints(
    said: FloatArray, grid: npt.NDArray[np.intp], lines: Lines, content: BoolArray, config: KeypointConfig
) -> tuple[tuple[PlacedPoint, ...], ...]:
    """Keypoints of each instrument; `grid` numbers the places from 1, `content` are those that show the patient."""
    near = nearest_owner(grid, config.near)
    rows, columns = np.nonzero(grid)
    owner = grid[rows, columns] - 1
    along = columns * lines.axis[owner, 0] + rows * lines.axis[owner, 1]
    middle = np.bincount(owner, along) / np.bincount(owner)
    entries, inside = _entries(lines, middle, content)
    tips, wrists = _peaks(said[TIP], near, config.tip), _peaks(said[WRIST], near, config.wrist)
    found = []
    for number, ((end_x, end_y), trust) in enumerate(zip(lines.end.tolist(), lines.trust.tolist(), strict=True)):
        points = []
        if inside[number]:
            x, y = entries[number].tolist()
            top, left = max(0, round(y) - 2), max(0, round(x) - 2)
            seen = bool((grid[top : round(y) + 3, left : round(x) + 3] == number + 1).any())
            points.append(PlacedPoint("entry", (x, y), trust, seen))
        own = [peak for peak in wrists if peak.owner == number + 1]
        if own:  # of several the one nearest to where the places say that the shaft ends
            nearest = min(own, key=lambda peak: math.hypot(peak.place[0] - end_x, peak.place[1] - end_y))
            points.append(PlacedPoint("wrist", nearest.place, nearest.heat, True))
        else:
            column, row = round(end_x), round(end_y)
            seen = 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1] and bool(grid[row, column] == number + 1)
            points.append(PlacedPoint("wrist", (end_x, end_y), trust / 2, seen))
        (axis_x, axis_y), radius = lines.axis[number].tolist(), float(lines.radius[number])
        own = [
            peak
            for peak in tips
            if peak.owner == number + 1
            and (peak.place[0] - end_x) * axis_x + (peak.place[1] - end_y) * axis_y >= -config.beyond * radius
        ][:2]
        for place, peak in enumerate(own, start=1):
            points.append(PlacedPoint(f"tip_{place}", peak.place, peak.heat, True))
        if not own:  # the farthest place along the axis is all that can be said
            far = int(np.where(owner == number, along, -np.inf).argmax())
            points.append(PlacedPoint("tip_1", (float(columns[far]), float(rows[far])), FARTHEST, True))
        found.append(tuple(points))
    return tuple(found)


class _Peak(NamedTuple):
    place: tuple[float, float]
    heat: float
    owner: int


def _peaks(logits: FloatArray, near: npt.NDArray[np.intp], least: float) -> list[_Peak]:
    """Peaks of a heat map that lie on or beside an instrument, the hottest first, to a part of a place."""
    highest = cv2.dilate(logits, _AROUND)
    rows, columns = np.nonzero((logits >= highest) & (logits >= math.log(least / (1 - least))) & (near > 0))
    heat = logits[rows, columns]
    order = np.argsort(-heat, kind="stable")
    return [
        _Peak(
            (column + _vertex(logits[row], column), row + _vertex(logits[:, column], row)),
            1.0 / (1.0 + math.exp(-hot)),
            owner,
        )
        for row, column, hot, owner in zip(
            rows[order].tolist(), columns[order].tolist(), heat[order].tolist(), near[rows, columns][order].tolist(),
            strict=True,
        )
    ]  # fmt: skip


def _vertex(values: FloatArray, at: int) -> float:
    """How far beside `at` a parabola through three values has its vertex, at most half a step."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = values[at - 1 : at + 2].tolist()
    bend = before - 2 * here + after
    return 0.0 if bend >= -1e-6 else min(max((before - after) / (2 * bend), -0.5), 0.5)


def _entries(lines: Lines, middle: DoubleArray, content: BoolArray) -> tuple[DoubleArray, BoolArray]:
    """Where each axis, followed back from the middle of the instrument, leaves the content, (m, 2).

    And whether its middle lies in the content at all, (m,).
    """
    height, width = content.shape
    start = middle - (lines.end * lines.axis).sum(axis=1)
    steps = start[:, None] - np.arange(0.0, height + width, 0.5)
    path = lines.end[:, None] + steps[..., None] * lines.axis[:, None]
    x, y = np.rint(path[..., 0]).astype(np.intp), np.rint(path[..., 1]).astype(np.intp)
    inside = np.asarray((x >= 0) & (x < width) & (y >= 0) & (y < height), np.bool_)
    inside[inside] = content[y[inside], x[inside]]
    last = np.maximum(inside.argmin(axis=1) - 1, 0)
    return path[np.arange(len(path)), last], inside[:, 0]
