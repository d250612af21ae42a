"""Which instrument of the left eye is which of the right: rows, distance, direction, kind and motion must fit."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping

import numpy as np

from clip_rl_perception.arrays import BoolArray, DoubleArray
from clip_rl_perception.instrument_types import UNKNOWN
from clip_rl_perception.scene.assignment import cheapest_assignment
from clip_rl_perception.scene.types import Instrument

Corners = tuple[float, float, float, float]
"""Left, top, right and bottom of a box."""
NEVER = 1e6
"""Cost of a pair that is not possible."""
JAWS = ("tip_1", "tip_2")
_EXCHANGE = 0.3
"""Cost by which exchanged jaws must fit better: they keep their names otherwise."""
_SHOWN = 0.3
"""Part of a box that both pictures must show for it to pair."""
END = "end"
"""The working end that every tag tells: pairs those that have no keypoint in common."""


@dataclasses.dataclass(frozen=True)
class PairingConfig:
    """What speaks against two tags being of one instrument. Lengths are parts of the picture's width."""

    row_scale: float = 0.008
    """How far apart the rows of a keypoint are usually, beyond what calibration adds."""
    row_limit: float = 0.03
    """Beyond this, by the median keypoint, they are of different instruments."""
    spread_scale: float = 0.02
    """How much disparities of an instrument's keypoints differ usually."""
    axis_weight: float = 1.5
    """Of the angle between the axes, as 1 - cosine."""
    axis_limit: float = 1.0
    """1 - cosine beyond which they are different instruments."""
    class_weight: float = 0.5
    """Of different classes."""
    type_weight: float = 1.0
    """Of different types, times the product of their probabilities."""
    motion_weight: float = 0.5
    """Of different velocities, as a part of the greater one; nothing while both are slow."""
    slow: float = 0.05
    """Speed that counts as slow, widths per second."""
    tentative_weight: float = 3.0
    """Of one of the two having no confirmed track, beside others that fit: those pair what confirmed ones leave."""
    past_weight: float = 1.0
    """Of having been paired with another a moment ago."""
    max_cost: float = 6.0
    """Pairs that cost more are different instruments."""
    no_point_cost: float = 4.0
    """Of having no keypoint that fits while both lie on one line or in one box: networks tell keypoints elsewhere."""
    no_point_axis: float = 0.1
    """1 - cosine of the axes beyond which neither lines nor boxes pair: crossing instruments have like boxes."""
    box_iou: float = 0.5
    """Least IoU of the boxes, one moved along the rows, that pairs instruments where no keypoint and no line fits."""


@dataclasses.dataclass(frozen=True)
class EyeTags:
    """Tags of one eye in the virtual camera."""

    tags: tuple[Instrument, ...]
    places: tuple[Mapping[str, tuple[float, float]], ...]
    """Of the keypoints that the eye sees and of `END`, by name, px."""
    axes: tuple[tuple[float, float], ...]
    """Unit vectors in the picture."""
    boxes: tuple[Corners, ...]
    """Px."""
    sure: tuple[frozenset[str], ...] = ()
    """Of each tag, the keypoints that the eye is sure of; empty: of none."""
    picture: tuple[float, float] = (-math.inf, math.inf)
    """Where the eye's picture begins and ends along the rows, px."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Who is who."""

    pairs: tuple[tuple[int, int], ...]
    """(left, right) by their places."""
    swapped_jaws: tuple[bool, ...]
    """Of each pair: tip_1 of the left eye is tip_2 of the right one."""
    mirrored: int
    """Pairs that would be, were the eyes swapped; counted where there are none otherwise."""
    pointless: tuple[bool, ...]
    """Of each pair: its line or box fits, but no keypoint; it says nothing of the rig."""

    @property
    def by_points(self) -> tuple[int, ...]:
        """Places of the pairs whose keypoints fit."""
        return tuple(place for place, none in enumerate(self.pointless) if not none)


def other_name(name: str, swapped: bool) -> str:
    """What the right eye's tag calls a keypoint of the left one's; `swapped`: its jaws are."""
    return JAWS[1 - JAWS.index(name)] if swapped and name in JAWS else name


def seen_by_both(left: EyeTags, row: int, right: EyeTags, column: int, swapped: bool) -> frozenset[str]:
    """Names, as the left eye's, of the points that two tags have in common; `END` where there are none."""
    ours, theirs = left.places[row], right.places[column]
    shared = frozenset(name for name in ours if other_name(name, swapped) in theirs and name != END)
    return shared or frozenset((END,))


def shared_points(left: EyeTags, row: int, right: EyeTags, column: int, swapped: bool) -> frozenset[str]:
    """Of these, the ones that both eyes are sure of where there are any: others are often told elsewhere."""
    shared = seen_by_both(left, row, right, column, swapped)
    if not left.sure or not right.sure:
        return shared
    sure, also = left.sure[row], right.sure[column]
    return frozenset(name for name in shared if name in sure and other_name(name, swapped) in also) or shared


def pair_instruments(
    left: EyeTags,
    right: EyeTags,
    disparities: tuple[float, float],
    width: float,
    past: Mapping[int, int],
    config: PairingConfig = PairingConfig(),
) -> Pairs:
    """The pairs that together fit best.

    Args:
        left: of the left eye.
        right: of the right eye.
        disparities: least and greatest possible, px.
        width: of the picture, px of the virtual camera.
        past: right track by left track, as paired a moment ago.
        config: weights and limits.
    """
    costs, jaws, without = _costs(left, right, disparities, width, past, config)
    confirmed = [np.array([tag.track_id != 0 for tag in eye.tags], np.bool_) for eye in (left, right)]
    later = config.tentative_weight * (confirmed[0][:, None] != confirmed[1])
    pairs = _assigned(costs, config.max_cost, later)
    pointless = tuple(bool(without[pair]) for pair in pairs)
    mirrored = 0
    if all(pointless) and left.tags and right.tags:
        # By all keypoints: a single one that both eyes are sure of, and wrong, fits the other way round as easily.
        one, other = (dataclasses.replace(eye, sure=()) for eye in (right, left))
        swapped, _, no_point = _costs(one, other, disparities, width, {}, config)
        mirrored = len(_assigned(np.where(no_point, NEVER, swapped), config.max_cost))
    return Pairs(tuple(pairs), tuple(bool(jaws[pair]) for pair in pairs), mirrored, pointless)


def _assigned(costs: DoubleArray, most: float, later: DoubleArray | float = 0.0) -> list[tuple[int, int]]:
    """Pairs of least cost in all, none above `most`; `later` counts among those that compete, but not for that."""
    if not costs.size:
        return []
    columns = cheapest_assignment(np.where(costs <= most, costs + later, NEVER))
    return [(row, int(column)) for row, column in enumerate(columns) if column >= 0 and costs[row, column] <= most]


def _costs(
    left: EyeTags,
    right: EyeTags,
    disparities: tuple[float, float],
    width: float,
    past: Mapping[int, int],
    config: PairingConfig,
) -> tuple[DoubleArray, BoolArray, BoolArray]:
    """Of each pair its cost, whether its jaws are exchanged, and whether no keypoint fits."""
    costs = np.full((len(left.tags), len(right.tags)), NEVER)
    jaws, pointless = np.zeros(costs.shape, np.bool_), np.zeros(costs.shape, np.bool_)
    taken = set(past.values())
    for row, tag in enumerate(left.tags):
        for column, other in enumerate(right.tags):
            shape, turned = _shape_cost(left, row, right, column, disparities, width, config)
            cosine = sum(map(operator.mul, left.axes[row], right.axes[column]))
            pointless[row, column] = not math.isfinite(shape)
            if pointless[row, column] and 1 - cosine <= config.no_point_axis:
                shape = _no_point_cost(left, row, right, column, disparities, width, config)
            if not math.isfinite(shape) or 1 - cosine > config.axis_limit:
                continue
            cost = shape + config.axis_weight * (1 - cosine) + _kind_cost(tag, other, width, config)
            before = past.get(tag.track_id)
            if before != other.track_id and (before is not None or other.track_id in taken):
                cost += config.past_weight
            costs[row, column], jaws[row, column] = cost, turned
    return costs, jaws, pointless


def _no_point_cost(
    left: EyeTags,
    row: int,
    right: EyeTags,
    column: int,
    disparities: tuple[float, float],
    width: float,
    config: PairingConfig,
) -> float:
    """By their lines, else by their boxes; infinite: not possible."""
    if _on_one_line(left, row, right, column, disparities, config.row_limit * width):
        return config.no_point_cost
    alike = _box_iou(left.boxes[row], left.picture, right.boxes[column], right.picture, disparities)
    return config.no_point_cost if alike >= config.box_iou else math.inf


def _on_one_line(
    left: EyeTags,
    row: int,
    right: EyeTags,
    column: int,
    disparities: tuple[float, float],
    apart: float,
) -> bool:
    """By the lines through both working ends: a disparity at each end lays it on the other eye's line.

    A line along the rows is on the other at any disparity: then it is their distance that says whether it fits, which
    may be `apart` px.
    """
    (x, y), (other_x, other_y) = left.places[row][END], right.places[column][END]
    for across, down in (left.axes[row], right.axes[column]):
        off = down * (x - other_x) - across * (y - other_y)  # px between the lines, at disparity 0
        reached = sorted(down * disparity for disparity in disparities)
        if not reached[0] - apart <= off <= reached[1] + apart:
            return False
    return True


def _box_iou(
    left: Corners,
    picture: tuple[float, float],
    right: Corners,
    other_picture: tuple[float, float],
    disparities: tuple[float, float],
) -> float:
    """Of both eyes' boxes, the right one's moved by the disparity that lays their middles or sides over each other.

    Only what both pictures show of them counts: at a border one eye sees more of an instrument than the other.
    """
    sides = left[0] - right[0], left[2] - right[2]
    best = 0.0
    for apart in (*sides, sum(sides) / 2):
        moved = min(max(apart, disparities[0]), disparities[1])
        begin, end = max(picture[0], other_picture[0] + moved), min(picture[1], other_picture[1] + moved)
        both = [
            (max(box[0] + by, begin), box[1], min(box[2] + by, end), box[3])
            for box, by in ((left, 0.0), (right, moved))
        ]
        if all(_area(part) > _SHOWN * _area(box) for part, box in zip(both, (left, right), strict=True)):
            (left_a, top_a, right_a, bottom_a), (left_b, top_b, right_b, bottom_b) = both
            shared = _area((max(left_a, left_b), max(top_a, top_b), min(right_a, right_b), min(bottom_a, bottom_b)))
            best = max(best, shared / (sum(map(_area, both)) - shared))
    return best


def _area(box: Corners) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _shape_cost(
    left: EyeTags,
    row: int,
    right: EyeTags,
    column: int,
    disparities: tuple[float, float],
    width: float,
    config: PairingConfig,
) -> tuple[float, bool]:
    """By rows and disparities of the points that both eyes see, with the jaws either way; infinite: not possible."""
    costs: list[tuple[float, float]] = []
    for exchange in (False, True):
        seen = seen_by_both(left, row, right, column, exchange)
        if exchange and seen.isdisjoint(JAWS):
            costs.append((math.inf, math.inf))
            continue
        both = {
            name: (left.places[row][name], right.places[column][other_name(name, exchange)]) for name in sorted(seen)
        }
        sure = [both[name] for name in both if name in shared_points(left, row, right, column, exchange)]
        costs.append(
            (
                _distance_cost(list(both.values()), disparities, width, config),
                _distance_cost(sure, disparities, width, config),
            )
        )
    (plain, of_sure), (exchanged, of_sure_exchanged) = costs
    turned = bool(exchanged < plain - _EXCHANGE)
    if not math.isfinite(plain) and not math.isfinite(exchanged):  # of all together neither fits
        turned = not math.isfinite(of_sure) and math.isfinite(of_sure_exchanged)
    return costs[turned][1], turned


def _distance_cost(
    both: list[tuple[tuple[float, float], tuple[float, float]]],
    disparities: tuple[float, float],
    width: float,
    config: PairingConfig,
) -> float:
    """Of points of both eyes, by their rows and how alike their disparities are; infinite: not possible."""
    rows = [abs(one[1] - other[1]) / width for one, other in both]
    apart = [one[0] - other[0] for one, other in both]
    middle = sorted(apart)[len(apart) // 2]
    if sorted(rows)[len(rows) // 2] > config.row_limit or not disparities[0] <= middle <= disparities[1]:
        return math.inf
    cost = sum(min(row / config.row_scale, 4.0) for row in rows) / len(rows)
    return cost + sum(min(abs(each - middle) / width / config.spread_scale, 4.0) for each in apart) / len(apart)


def _kind_cost(left: Instrument, right: Instrument, width: float, config: PairingConfig) -> float:
    cost = config.class_weight * (left.class_id != right.class_id)
    known = {left.type_name, right.type_name}.isdisjoint({"", UNKNOWN})
    if known and left.type_name != right.type_name:
        cost += config.type_weight * left.type_probability * right.type_probability
    fastest = max(math.hypot(*left.velocity), math.hypot(*right.velocity))
    if fastest > config.slow * width and min(left.age, right.age) > 0:
        apart = math.hypot(left.velocity[0] - right.velocity[0], left.velocity[1] - right.velocity[1])
        cost += config.motion_weight * min(apart / fastest, 1.0)
    return cost
