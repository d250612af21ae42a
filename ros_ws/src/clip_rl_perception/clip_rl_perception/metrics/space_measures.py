"""What one moment of a stereo pair adds to every measure of instruments in space.

A tag is the true instrument that its box matches in its own eye, see `tag_measures`. An instrument that tags of both
eyes match is two-eyed; its pair is right where these two tags were told as one instrument. Points are those of the left
tag's instrument. Two tips are the true ones to which they lie nearest in the left picture: jaws have no names.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from clip_rl_perception.arrays import DoubleArray, Vector
from clip_rl_perception.metrics.tag_measures import (
    TagMeasures,
    TrueInstrument,
    TruePoint,
    TrueSpace,
    kind_of,
    matched,
)

REGION = 6.251388631170325
"""Squared Mahalanobis distance that holds 90 % of a normal distribution in space (chi^2, 3 degrees of freedom)."""


@dataclasses.dataclass(frozen=True, eq=False)
class ToldPoint:
    """A keypoint as it was told."""

    position: Vector
    """m, left optical frame."""
    covariance: DoubleArray
    """m^2, float64 (3, 3)."""
    by_both: bool = True
    """From both eyes; False: from one, by the width of the shaft."""


@dataclasses.dataclass(frozen=True, eq=False)
class ToldInstrument:
    """An instrument as it was told."""

    left_track: int
    """Track of the left eye's tag; 0: of the right eye alone."""
    right_track: int
    """Of the right eye's; 0: of the left eye alone."""
    points: Mapping[str, ToldPoint]
    """Those that are known, by name."""
    axis: Vector | None = None
    """Unit vector along the shaft towards its end, where it is known."""
    axis_std: float = math.nan
    """Standard deviation of its direction where that is least known, rad."""


@dataclasses.dataclass(frozen=True, eq=False)
class PointOffset:
    """A told point beside the true one."""

    name: str
    """entry, wrist, or tip for both of them."""
    offset: Vector
    """Told less true, m."""
    distance: float
    """Squared Mahalanobis distance by the told covariance; infinite where that is none."""
    depth: float
    """True z, m."""
    seen: bool
    """Both pictures show it."""
    by_both: bool
    """As of `ToldPoint`."""


@dataclasses.dataclass(frozen=True, eq=False)
class SpaceMeasures:
    """One moment."""

    two_eyed: int
    """Instruments that tags of both eyes match."""
    paired: int
    """Those of them whose tags were told as one."""
    pairs: int
    """Pairs told whose tags both match an instrument."""
    wrong_pairs: int
    """Those of them whose tags match different ones."""
    stray_pairs: int
    """Pairs told of which a tag matches no instrument."""
    asked: Mapping[str, int]
    """Points that both pictures show of two-eyed instruments, by kind."""
    points: tuple[PointOffset, ...]
    axes: tuple[tuple[float, float], ...]
    """Of each told axis how far it is off and its told standard deviation, rad."""


def measure_space(
    told: Sequence[ToldInstrument], truth: Mapping[int, TrueInstrument], left: TagMeasures, right: TagMeasures
) -> SpaceMeasures:
    """Measure one moment.

    Args:
        told: all that was told of it.
        truth: instruments of the left eye by number, with their places in space.
        left: tags of the left eye.
        right: tags of the right eye; instruments have the same numbers.
    """
    ours, theirs = _instruments_of(left), _instruments_of(right)
    two_eyed = set(ours.values()) & set(theirs.values())
    pairs = [(each.left_track, each.right_track) for each in told if each.left_track and each.right_track]
    judged = [(ours[one], theirs[other]) for one, other in pairs if one in ours and other in theirs]
    asked: dict[str, int] = {}
    for number in two_eyed:
        space = truth[number].space if number in truth else None
        for name, point in (space.points if space is not None else {}).items():
            asked[kind_of(name)] = asked.get(kind_of(name), 0) + (point.visible_left and point.visible_right)
    points: list[PointOffset] = []
    axes: list[tuple[float, float]] = []
    for each in told:
        known = truth.get(ours.get(each.left_track, 0))
        if known is None or known.space is None:
            continue
        points += _offsets(each.points, known.space)
        if each.axis is not None:
            cosine = float(np.clip(np.dot(each.axis, known.space.axis), -1.0, 1.0))
            axes.append((math.acos(cosine), each.axis_std))
    return SpaceMeasures(
        two_eyed=len(two_eyed),
        paired=len({one for one, other in judged if one == other}),
        pairs=len(judged),
        wrong_pairs=sum(one != other for one, other in judged),
        stray_pairs=len(pairs) - len(judged),
        asked=asked,
        points=tuple(points),
        axes=tuple(axes),
    )


def _instruments_of(tags: TagMeasures) -> dict[int, int]:
    """Numbers of instruments by the tracks that match them."""
    rows, columns = matched(tags.boxes.iou)
    return {int(tags.tracks[column]): int(tags.truths[row]) for row, column in zip(rows, columns, strict=True)}


def _offsets(told: Mapping[str, ToldPoint], true: TrueSpace) -> list[PointOffset]:
    tips = [name for name in told if kind_of(name) == "tip"]
    jaws = [name for name in true.points if kind_of(name) == "tip"]
    pairs = [(name, name) for name in told if name in true.points and name not in tips]
    if tips and jaws:
        apart = [[_apart(told[tip].position, true.points[jaw].position) for jaw in jaws] for tip in tips]
        pairs += [(tips[row], jaws[column]) for row, column in zip(*linear_sum_assignment(apart), strict=True)]
    return [_offset(kind_of(name), told[name], true.points[other]) for name, other in pairs]


def _apart(one: Vector, other: Vector) -> float:
    """How far apart two points lie in the left picture, as a tangent."""
    return math.hypot(one[0] / one[2] - other[0] / other[2], one[1] / one[2] - other[1] / other[2])


def _offset(kind: str, told: ToldPoint, true: TruePoint) -> PointOffset:
    offset = np.subtract(told.position, true.position)
    try:
        distance = float(offset @ np.linalg.solve(told.covariance, offset))
    except np.linalg.LinAlgError:
        distance = math.inf
    return PointOffset(
        kind,
        (float(offset[0]), float(offset[1]), float(offset[2])),
        distance if distance >= 0 else math.inf,
        true.position[2],
        true.visible_left and true.visible_right,
        told.by_both,
    )
