"""Identities kept across frames: instruments of this frame assigned to the tracks of the frames before.

Assignment (Kuhn-Munkres, scipy's `linear_sum_assignment`) minimises the cost of each pair: how little the track's
footprint, moved by its velocity, overlaps the instrument's, how far the tip is from where it was expected, and a
surcharge when the class differs. Pairs beyond `TrackConfig.max_cost` are never made: a new identity is better than a
wrong one. State is immutable: a `TrackMemory` goes in with a frame and another comes out, so that a replay can start
anywhere and a dropped result takes nothing with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from clip_rl_perception.scene.types import ByteArray, Instrument, NetworkView

NANOSECONDS = 1e-9

CostArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """How long and how loosely identities are kept."""

    max_unseen_s: float = 0.5
    """A track not seen for longer ends, s of stamps: long enough for smoke, a passing hand, a missed frame."""
    visibility_window_s: float = 1.0
    """Areas of the last so many seconds are what visibility compares with, s."""
    gate: float = 0.25
    """Tips further than this share of the frame's diagonal from where they were expected are never the same."""
    class_surcharge: float = 0.3
    """Added to the cost of a pair whose classes differ: identity follows place rather than a flickering class."""
    max_cost: float = 0.9
    """No pair costs more; without overlap and with the same class, that is a tip within 80 % of the gate."""
    class_memory: float = 0.8
    """Share of a class's score that stays from frame to frame; the class of a tag is the one with the best score."""
    velocity_gain: float = 0.5
    """Weight of the newest velocity in the running average, in (0, 1]."""


@dataclasses.dataclass(frozen=True)
class Track:
    """One identity."""

    id: int
    last: Instrument
    """As last seen."""
    seen_ns: int
    """Stamp of the frame in which it was last seen, ns."""
    velocity: tuple[float, float] | None
    """Of the tip, px/s, averaged; None until seen twice."""
    areas: tuple[tuple[int, float], ...]
    """(stamp, area) within the visibility window."""
    class_scores: tuple[tuple[int, float], ...]
    """(class id, score), see `TrackConfig.class_memory`."""
    age: int
    """Frames since it began."""


@dataclasses.dataclass(frozen=True)
class TrackMemory:
    """All identities alive, and the next one to give."""

    tracks: tuple[Track, ...] = ()
    next_id: int = 1
    view: NetworkView | None = None
    """View that the footprints were made with; overlap counts only while it stays."""


def track(
    instruments: Sequence[Instrument],
    stamp_ns: int,
    view: NetworkView,
    memory: TrackMemory | None = None,
    config: TrackConfig | None = None,
) -> tuple[tuple[Instrument, ...], TrackMemory]:
    """Give the instruments of a frame their identities.

    Args:
        instruments: of this frame, untracked, with footprints on the logit grid.
        stamp_ns: the frame's stamp, ns; not before the last one's (the caller resets on a clock jump back).
        view: how the network saw the frame.
        memory: what the last call returned; None forgets everything and gives ids from 1.
        config: limits.

    Returns:
        The instruments with track id, class, age, velocity and visibility filled in, ordered by track id; and the
        memory for the next frame. A tag's class is its track's best-supported one, so it does not flicker; where
        classes tie, the present frame's wins.
    """
    config = config or TrackConfig()
    memory = memory or TrackMemory()
    alive = [entry for entry in memory.tracks if (stamp_ns - entry.seen_ns) * NANOSECONDS <= config.max_unseen_s]
    costs = _costs(alive, instruments, stamp_ns, view, memory.view, config)
    rows, columns = linear_sum_assignment(costs)
    matched = {
        int(column): alive[row]
        for row, column in zip(rows, columns, strict=True)
        if costs[row, column] <= config.max_cost
    }
    next_id = memory.next_id
    tagged, kept = [], []
    for index, instrument in enumerate(instruments):
        if index in matched:
            entry = _continue(matched[index], instrument, stamp_ns, config)
        else:
            entry = _begin(next_id, instrument, stamp_ns)
            next_id += 1
        tagged.append(entry.last)
        kept.append(entry)
    continued = {entry.id for entry in kept}
    kept += [entry for entry in alive if entry.id not in continued]
    kept.sort(key=lambda entry: entry.id)
    return tuple(sorted(tagged, key=lambda tag: tag.track_id)), TrackMemory(tuple(kept), next_id, view)


def _begin(track_id: int, instrument: Instrument, stamp_ns: int) -> Track:
    tag = dataclasses.replace(instrument, track_id=track_id, age=0, velocity=(0.0, 0.0), visibility=1.0)
    return Track(
        track_id,
        tag,
        stamp_ns,
        None,
        ((stamp_ns, instrument.area),),
        ((instrument.class_id, instrument.confidence),),
        0,
    )


def _continue(entry: Track, instrument: Instrument, stamp_ns: int, config: TrackConfig) -> Track:
    elapsed = (stamp_ns - entry.seen_ns) * NANOSECONDS
    velocity = entry.velocity
    if elapsed > 0:
        newest = tuple((now - then) / elapsed for now, then in zip(instrument.tip, entry.last.tip, strict=True))
        gain = 1.0 if velocity is None else config.velocity_gain
        old = velocity or (0.0, 0.0)
        velocity = (old[0] + gain * (newest[0] - old[0]), old[1] + gain * (newest[1] - old[1]))
    areas = tuple(
        (when, area) for when, area in entry.areas if (stamp_ns - when) * NANOSECONDS <= config.visibility_window_s
    )
    areas += ((stamp_ns, instrument.area),)
    scores = {class_id: score * config.class_memory for class_id, score in entry.class_scores}
    scores[instrument.class_id] = scores.get(instrument.class_id, 0.0) + instrument.confidence
    best = max(scores, key=lambda class_id: (scores[class_id], class_id == instrument.class_id))
    tag = dataclasses.replace(
        instrument,
        class_id=best,
        track_id=entry.id,
        age=entry.age + 1,
        velocity=velocity or (0.0, 0.0),
        visibility=instrument.area / max(area for _, area in areas) if instrument.area > 0 else 0.0,
    )
    return Track(entry.id, tag, stamp_ns, velocity, areas, tuple(scores.items()), entry.age + 1)


def _costs(
    tracks: Sequence[Track],
    instruments: Sequence[Instrument],
    stamp_ns: int,
    view: NetworkView,
    previous_view: NetworkView | None,
    config: TrackConfig,
) -> CostArray:
    """Cost of every pair, (tracks, instruments): 1 - overlap, averaged with the tip's distance over the gate."""
    costs = np.full((len(tracks), len(instruments)), np.inf)
    gate = config.gate * float(np.hypot(*view.frame_size))
    for row, entry in enumerate(tracks):
        elapsed = (stamp_ns - entry.seen_ns) * NANOSECONDS
        velocity = entry.velocity or (0.0, 0.0)
        shift = (velocity[0] * elapsed, velocity[1] * elapsed)
        expected = (entry.last.tip[0] + shift[0], entry.last.tip[1] + shift[1])
        moved = None if previous_view != view else _moved(entry.last.footprint, shift, view)
        for column, instrument in enumerate(instruments):
            distance = float(np.hypot(instrument.tip[0] - expected[0], instrument.tip[1] - expected[1])) / gate
            overlap = _overlap(moved, instrument.footprint)
            if distance > 1.0 and overlap == 0.0:
                continue
            surcharge = config.class_surcharge if instrument.class_id != entry.last.class_id else 0.0
            costs[row, column] = 0.5 * (1.0 - overlap) + 0.5 * min(1.0, distance) + surcharge
    # linear_sum_assignment refuses rows without a finite entry; anything above max_cost is refused by the caller.
    return np.where(np.isfinite(costs), costs, 1e6)


def _moved(footprint: ByteArray | None, shift: tuple[float, float], view: NetworkView) -> ByteArray | None:
    """A footprint on the logit grid, translated by whole nodes; `shift` is in full-size pixels."""
    if footprint is None:
        return None
    node = view.network_size[0] / footprint.shape[0]
    dx, dy = (round(value * view.scale / node) for value in shift)
    if dx == 0 and dy == 0:
        return footprint
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return np.asarray(
        cv2.warpAffine(footprint, matrix, (footprint.shape[1], footprint.shape[0]), flags=cv2.INTER_NEAREST), np.uint8
    )


def _overlap(first: ByteArray | None, second: ByteArray | None) -> float:
    """Intersection over union of two footprints; 0 where one is missing or they lie on different grids."""
    if first is None or second is None or first.shape != second.shape:
        return 0.0
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 0.0
