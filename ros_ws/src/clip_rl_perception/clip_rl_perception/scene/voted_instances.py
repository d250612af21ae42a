"""Instruments of a mask by the votes of its places (`scene.instance_votes`), with axes and keypoints.

Notation: (h, w) nodes of the logit grid, each place of the head covers 2 x 2 of them.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import BoolArray, DoubleArray, FloatArray
from clip_rl_perception.instance_channels import INSTANCE_STRIDE, TIP, WRIST
from clip_rl_perception.scene.instance_votes import (
    Lines,
    VoteConfig,
    deviations,
    group_places,
    read_lines,
)
from clip_rl_perception.scene.letterbox import STRIDE

PLACE = INSTANCE_STRIDE // STRIDE
"""Nodes of the logit grid along a side of a place."""

FARTHEST = 0.1
"""Confidence of a tip that is nothing but the instrument's farthest place."""


@dataclasses.dataclass(frozen=True)
class PlacedPoint:
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
    near: int = 2
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
    areas = np.where(kept, areas, 0)
    height, width = mask.shape
    blocks = areas.reshape(height // PLACE, PLACE, width // PLACE, PLACE).max(axis=(1, 3))
    rows, columns = np.nonzero(blocks)
    _, of_place = np.unique(blocks[rows, columns], return_inverse=True)
    places = read_lines(said, rows, columns)
    owner, lines = group_places(places, of_place, votes)
    grid = np.zeros(blocks.shape, np.intp)
    grid[rows, columns] = owner + 1
    nodes = np.where(kept, grid.repeat(PLACE, axis=0).repeat(PLACE, axis=1), 0)
    size = np.bincount(nodes.ravel(), minlength=len(lines) + 1)[1:]
    order = np.argsort(-size, kind="stable")
    order = order[size[order] >= least_nodes]
    renumbered = np.zeros(len(lines) + 1, np.intp)
    renumbered[order + 1] = np.arange(1, len(order) + 1)
    grid = renumbered[grid]
    lines = lines[order]
    trust = _agreement(places, lines, renumbered[owner + 1], votes)
    points = _keypoints(said, grid, lines, trust, _places_inside(content), keypoints) if len(order) else ()
    return VotedInstances(renumbered[nodes], lines, points)


def _agreement(places: Lines, lines: Lines, owner: npt.NDArray[np.intp], config: VoteConfig) -> DoubleArray:
    """Share of an instrument's places that lie within half the limit of its line, (m,)."""
    found = np.zeros(len(lines))
    for number in range(len(lines)):
        own = places[owner == number + 1]
        found[number] = np.mean(deviations(own, lines[number : number + 1], config) <= config.limit / 2)
    return found


def _places_inside(content: BoolArray) -> BoolArray:
    height, width = content.shape
    return np.asarray(content.reshape(height // PLACE, PLACE, width // PLACE, PLACE).any(axis=(1, 3)), np.bool_)


def _keypoints(
    said: FloatArray,
    grid: npt.NDArray[np.intp],
    lines: Lines,
    trust: DoubleArray,
    content: BoolArray,
    config: KeypointConfig,
) -> tuple[tuple[PlacedPoint, ...], ...]:
    tips = _peaks(said[TIP], grid, config.tip, config.near)
    wrists = _peaks(said[WRIST], grid, config.wrist, config.near)
    found = []
    for number in range(len(lines)):
        line = lines[number : number + 1]
        points = [_entry(line, grid == number + 1, content, float(trust[number]))]
        own = [peak for peak in wrists if peak.owner == number + 1]
        if own:  # of several the one nearest to where the places say that the shaft ends
            nearest = min(own, key=lambda peak: float(np.hypot(*(np.array(peak.place) - line.end[0]))))
            points.append(PlacedPoint("wrist", nearest.place, nearest.heat, True))
        else:
            x, y = line.end[0].tolist()
            seen = _owner_near(grid, x, y, 0) == number + 1
            points.append(PlacedPoint("wrist", (x, y), float(trust[number]) / 2, seen))
        own = [peak for peak in tips if peak.owner == number + 1 and _is_beyond(peak, line, config.beyond)][:2]
        for place, peak in enumerate(own, start=1):
            points.append(PlacedPoint(f"tip_{place}", peak.place, peak.heat, True))
        if not own:
            points.append(_farthest(line, grid == number + 1))
        found.append(tuple(point for point in points if point is not None))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class _Peak:
    place: tuple[float, float]
    heat: float
    owner: int


def _is_beyond(peak: _Peak, line: Lines, radii: float) -> bool:
    ahead = (np.array(peak.place) - line.end[0]) @ line.axis[0]
    return bool(ahead >= -radii * line.radius[0])


def _peaks(logits: FloatArray, grid: npt.NDArray[np.intp], least: float, near: int) -> list[_Peak]:
    """Peaks of a heat map that lie on or beside an instrument, the hottest first, to a part of a place."""
    highest = cv2.dilate(logits, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((logits >= highest) & (logits >= np.log(least / (1 - least))))
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        owner = _owner_near(grid, column, row, near)
        if owner:
            place = column + _vertex(logits[row], column), row + _vertex(logits[:, column], row)
            found.append(_Peak(place, 1.0 / (1.0 + math.exp(-float(logits[row, column]))), owner))
    return sorted(found, key=lambda peak: -peak.heat)


def _vertex(values: FloatArray, at: int) -> float:
    """How far beside `at` a parabola through three values has its vertex, at most half a step."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, here, after = (float(value) for value in values[at - 1 : at + 2])
    bend = before - 2 * here + after
    return 0.0 if bend >= -1e-6 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5))


def _owner_near(grid: npt.NDArray[np.intp], x: float, y: float, near: int) -> int:
    """The instrument at a place, else that of the nearest place up to `near` away; 0 none."""
    height, width = grid.shape
    column, row = round(x), round(y)
    top, left = max(0, row - near), max(0, column - near)
    part = grid[top : max(0, row + near + 1), left : max(0, column + near + 1)]
    rows, columns = np.nonzero(part)
    if not len(rows) or row >= height + near or column >= width + near:
        return 0
    nearest = int(np.hypot(rows + top - y, columns + left - x).argmin())
    return int(part[rows[nearest], columns[nearest]])


def _entry(line: Lines, own: BoolArray, content: BoolArray, trust: float) -> PlacedPoint | None:
    """Where the axis, followed back from the instrument's own places, leaves the content."""
    height, width = content.shape
    axis, end = line.axis[0], line.end[0]
    rows, columns = np.nonzero(own)
    along = np.stack([columns, rows], axis=1) @ axis
    steps = np.arange(0.0, height + width, 0.5)
    path = end + (np.median(along) - end @ axis - steps)[:, None] * axis
    nearest = np.rint(path).astype(int)
    inside = (nearest >= 0).all(axis=1) & (nearest[:, 0] < width) & (nearest[:, 1] < height)
    inside[inside] = content[nearest[inside, 1], nearest[inside, 0]]
    if not inside[0]:
        return None
    last = int((~inside).argmax()) - 1 if not inside.all() else len(path) - 1
    x, y = path[last].tolist()
    top, left = max(0, round(y) - 2), max(0, round(x) - 2)
    seen = bool(own[top : round(y) + 3, left : round(x) + 3].any())
    return PlacedPoint("entry", (x, y), trust, seen)


def _farthest(line: Lines, own: BoolArray) -> PlacedPoint:
    """Where no tip stands out: the instrument's farthest place along its axis, which is all that can be said."""
    rows, columns = np.nonzero(own)
    far = int((np.stack([columns, rows], axis=1) @ line.axis[0]).argmax())
    return PlacedPoint("tip_1", (float(columns[far]), float(rows[far])), FARTHEST, True)
