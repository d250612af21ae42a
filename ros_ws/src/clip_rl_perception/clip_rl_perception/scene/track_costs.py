"""What it costs to take an instrument for the continuation of a track, and where an instrument enters the picture."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from clip_rl_perception.arrays import ByteArray, DoubleArray, FloatArray
from clip_rl_perception.scene.letterbox import STRIDE, grid_content_mask
from clip_rl_perception.scene.types import Instrument, Letterbox

NEVER = 1e6
"""Cost of an assignment that is not possible."""


@dataclasses.dataclass(frozen=True)
class CostConfig:
    """How much speaks against two sights being of one instrument.

    A footprint tells who is who from one frame to the next; the longer a track was out of sight, the less it says, and
    the more says where the instrument enters: an instrument moves through its trocar, which stays where it is. Of a
    track just seen that counts as far as the entry is known: where instruments cross, footprints are the worse witness.
    Types do not count: what is seen has none before its close-up, which is taken of tracks.
    """

    fade_s: float = 0.5
    """After so long out of sight the overlap weighs half as much, s."""
    overlap_weight: float = 1.0
    """Weight of 1 - overlap (intersection over union)."""
    entry_weight: float = 1.2
    """Weight of the entries' distance over its scale, at most 1; of a track just seen times the confidence of the
    keypoint, which tells who of several it is but ends no track: it is added after `max_cost` was asked."""
    tip_weight: float = 1.0
    """Weight of the tips' distance over its scale, at most 1."""
    tip_weight_unseen: float = 0.3
    """The same of a track long out of sight: an instrument comes back as far as it likes."""
    axis_weight: float = 0.6
    """Weight of (1 - cosine of the angle between the axes) / 2: tips meet, but come from their own side."""
    class_weight: float = 0.4
    """Weight of disagreeing classes."""
    tip_scale: float = 0.25
    """Distance of tips that counts as far, as a part of the frame's diagonal."""
    entry_scale: float = 0.15
    """Distance of entries that counts as far, likewise."""
    max_cost: float = 1.9
    """Of a track just seen: pairs that cost more are different instruments."""
    max_cost_unseen: float = 0.6
    """Of one long out of sight: it has to fit better, as so much may have come in its place."""


@dataclasses.dataclass(frozen=True)
class Past:
    """What a track brings to the comparison."""

    instrument: Instrument
    """As last seen."""
    axis: tuple[float, float]
    """Unit vector, mean of the last sights."""
    entry: tuple[float, float]
    """As of `entry_of`, mean of the last sights, px."""
    class_id: int
    """As voted; -1 where nothing is known."""
    moves: tuple[tuple[float, float], tuple[float, float]]
    """The two ways that it may have gone, px; the better one counts."""
    unseen_s: float
    """Since it was last seen, s."""


def assignment_costs(
    instruments: Sequence[Instrument],
    past: Sequence[Past],
    view: Letterbox,
    shape: tuple[int, int] | None,
    config: CostConfig,
) -> DoubleArray:
    """Cost of each pair, `NEVER` where they are different instruments.

    Args:
        instruments: n, of this frame.
        past: t tracks.
        view: of the frame.
        shape: (h, w) of footprints that can be compared; None: there are none, and the tips stand in for them.
        config: weights and limits.

    Returns:
        float64 (n, t).
    """
    diagonal = math.hypot(*view.frame_size)
    seen = np.array([(*item.tip, *item.axis, *entry_of(item, view), item.class_id) for item in instruments])
    known = np.array([(*track.instrument.tip, *track.axis, *track.entry, track.class_id) for track in past], np.float64)
    moves = np.array([track.moves for track in past], np.float64)
    unseen = np.array([track.unseen_s for track in past], np.float64)
    away = np.linalg.norm(seen[:, None, None, :2] - (known[:, None, :2] + moves), axis=-1)
    far = np.minimum(1.0, away / (config.tip_scale * diagonal))
    # Footprints move by the whole nodes nearest to a motion.
    shared = 1.0 - far
    if shape is not None:
        shifts = np.rint(moves * (view.scale / STRIDE)).astype(int)
        shared = _overlaps(_stacked(instruments, shape), _stacked([track.instrument for track in past], shape), shifts)
    fresh = 1 / (1 + unseen / config.fade_s)
    tip_weight = config.tip_weight * fresh + config.tip_weight_unseen * (1 - fresh)
    motion = tip_weight[:, None] * far + config.overlap_weight * fresh[:, None] * (1 - shared)
    entries = np.linalg.norm(seen[:, None, 4:6] - known[:, 4:6], axis=-1) / (config.entry_scale * diagonal)
    others = (known[:, 6] >= 0) & (known[:, 6] != seen[:, None, 6])
    entry = config.entry_weight * np.minimum(1.0, entries)
    costs = (
        motion.min(axis=-1)
        + (1 - fresh) * entry
        + config.axis_weight * (1 - seen[:, 2:4] @ known[:, 2:4].T) / 2
        + config.class_weight * others
    )
    most = config.max_cost * fresh + config.max_cost_unseen * (1 - fresh)
    sure = np.array([[_entry_confidence(item)] for item in instruments])
    return np.where(costs <= most, costs + fresh * sure * entry, NEVER)


def entry_of(instrument: Instrument, view: Letterbox) -> tuple[float, float]:
    """Where an instrument's axis comes in over the border of the content, px: its keypoint, else back from the tip."""
    for point in instrument.keypoints:
        if point.name == "entry":
            return point.x, point.y
    (x, y), (along_x, along_y), crop = instrument.tip, instrument.axis, view.crop
    steps = []
    for at, along, low, high in (
        (x, along_x, crop.x, crop.x + crop.width - 1),
        (y, along_y, crop.y, crop.y + crop.height - 1),
    ):
        if along:
            steps.append(max(0.0, (at - low) / along if along > 0 else (at - high) / along))
    if view.circle is not None:
        cx, cy, radius = view.circle
        ahead = (x - cx) * along_x + (y - cy) * along_y
        inside = ahead * ahead + radius * radius - (x - cx) ** 2 - (y - cy) ** 2
        steps.append(max(0.0, ahead + math.sqrt(inside)) if inside > 0 else 0.0)
    back = min(steps, default=0.0)
    return x - back * along_x, y - back * along_y


@functools.lru_cache(maxsize=8)
def content_px(view: Letterbox) -> float:
    """Area of the content, px^2 of the frame, as `find_instruments` measures areas: in nodes."""
    return float(grid_content_mask(view, STRIDE).sum()) * (STRIDE / view.scale) ** 2


def _entry_confidence(instrument: Instrument) -> float:
    return next((point.confidence for point in instrument.keypoints if point.name == "entry"), 0.0)


def _stacked(instruments: Sequence[Instrument], shape: tuple[int, int]) -> ByteArray:
    """Footprints (n, h, w); empty where there is none of this shape: it overlaps nothing."""
    stack = np.zeros((len(instruments), *shape), np.uint8)
    for index, item in enumerate(instruments):
        if item.footprint is not None and item.footprint.shape == shape:
            stack[index] = item.footprint
    return stack


def _overlaps(
    footprints: ByteArray, past: ByteArray, shifts: np.ndarray[tuple[int, ...], np.dtype[np.intp]]
) -> FloatArray:
    """Intersection over union of footprints (n, h, w) with those of tracks (t, h, w) after each of two motions.

    Args:
        footprints: 0 or 1.
        past: 0 or 1.
        shifts: (columns, rows) of each track and motion, (t, 2, 2).

    Returns:
        float32 (n, t, 2); 0 where both are empty.
    """
    height, width = past.shape[1:]
    moved = np.zeros((len(past), 2, height, width), np.uint8)
    for track, motions in enumerate(shifts.tolist()):
        for motion, (columns, rows) in enumerate(motions):
            top, left = max(0, rows), max(0, columns)
            part = past[track, max(0, -rows) : max(0, height - rows), max(0, -columns) : max(0, width - columns)]
            moved[track, motion, top : top + part.shape[0], left : left + part.shape[1]] = part
    now, then = (stack.reshape(-1, height * width).astype(np.float32) for stack in (footprints, moved))
    both = now @ then.T
    union = now.sum(axis=1)[:, None] + then.sum(axis=1) - both
    return np.asarray(both / np.maximum(union, 1), np.float32).reshape(len(now), len(past), 2)
