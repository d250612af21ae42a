"""Identities of instruments across frames.

Ours, not a tracker of boxes (SORT, ByteTrack): thin tools cross, and footprint, tip, axis and class tell them apart.

Each frame's instruments are assigned to the known tracks by the smallest total cost (the Hungarian method,
scipy.optimize.linear_sum_assignment). A cost compares the footprint of the track, moved by its predicted motion, with
the new footprint (overlap), the predicted tip with the new one, the axes and the classes. Tracks live on unseen for a
short while, so that an occlusion does not cost them their identity.

The class of a track is that with the most votes, a vote being a frame's confidence, halved every `vote_half_life_s`; so
a tag's class does not flicker and may for some frames differ from the pixels under it in the mask.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.kernels import track_kernels as kernels
from clip_rl_perception.scene.letterbox import STRIDE, make_letterbox
from clip_rl_perception.scene.types import Box, Instrument, Letterbox

_SECOND = 1_000_000_000
_NEVER = 1e6
"""Cost of an assignment that is not possible."""


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """How instruments are followed."""

    max_unseen_s: float = 0.5
    """A track that is not seen for longer ends; what appears later gets a new identity, s."""
    clock_jump_s: float = 1.0
    """A stamp this much before the last one is a clock set back (bag loop): identities begin anew, s."""
    coast_s: float = 0.2
    """Time constant with which the motion of an unseen track comes to rest, s."""
    tip_scale: float = 0.25
    """Distance of tips that counts as far, as a part of the frame's diagonal."""
    overlap_weight: float = 1.0
    """Weight of 1 - overlap in the cost."""
    tip_weight: float = 1.0
    """Weight of the tip's distance over its scale, at most 1, in the cost."""
    axis_weight: float = 0.6
    """Weight of (1 - cosine of the angle between the axes) / 2 in the cost: tips meet, but come from their own side."""
    class_weight: float = 0.4
    """Weight of disagreeing classes in the cost."""
    max_cost: float = 1.9
    """Pairs that cost more are different instruments."""
    velocity_time_s: float = 0.1
    """Time constant of the velocity's exponential smoothing, s."""
    vote_half_life_s: float = 0.5
    """Time after which a vote for a class counts half, s."""
    visibility_window_s: float = 1.0
    """Visibility compares with the largest area within this time, s."""


@dataclasses.dataclass(frozen=True)
class Track:
    """What is remembered of one instrument."""

    track_id: int
    instrument: Instrument
    """As last seen."""
    stamp_ns: int
    """When it was last seen."""
    first_frame: int
    """Number of the frame in which it began."""
    velocity: tuple[float, float] | None
    """Of the tip, px/s; None until two frames were seen."""
    areas: tuple[tuple[int, float], ...]
    """(stamp, area) within the visibility window."""
    votes: tuple[tuple[int, float], ...]
    """(class id, weight) at `stamp_ns`."""


@dataclasses.dataclass(frozen=True)
class TrackMemory:
    """State of the tracker between frames. Immutable: the same frames from the same state give the same tracks."""

    tracks: tuple[Track, ...] = ()
    next_id: int = 1
    stamp_ns: int | None = None
    """Of the last frame."""
    frame: int = 0
    """Frames so far."""
    grid: tuple[Letterbox, tuple[int, int]] | None = None
    """View and (h, w) of the footprints."""

    def without_classes(self) -> TrackMemory:
        """The same tracks, their votes forgotten: for when the class list changed and ids mean something else."""
        return dataclasses.replace(self, tracks=tuple(dataclasses.replace(track, votes=()) for track in self.tracks))


def track_instruments(
    instruments: tuple[Instrument, ...],
    stamp_ns: int,
    view: Letterbox,
    memory: TrackMemory,
    config: TrackConfig | None = None,
) -> tuple[tuple[Instrument, ...], TrackMemory]:
    """Give the instruments of a frame their identities.

    A stamp well before the last one means that time was set back: tracking begins anew, with identity 1. A stamp that
    is the last one's or a little older gives a frame of the same moment: nothing moves in between.

    Args:
        instruments: from `find_instruments`, with footprints.
        stamp_ns: of the frame, ns.
        view: of the frame.
        memory: from the last call; a new one in a new scene.
        config: how to follow.

    Returns:
        The instruments with identity, age, velocity, visibility and smoothed class, ordered by identity; and the memory
        for the next frame.
    """
    config = config or TrackConfig()
    last_ns = memory.stamp_ns
    if last_ns is not None and stamp_ns < last_ns - config.clock_jump_s * _SECOND:
        memory, last_ns = TrackMemory(), None
    stamp_ns = stamp_ns if last_ns is None else max(stamp_ns, last_ns)
    frame = memory.frame + 1
    alive = [track for track in memory.tracks if stamp_ns - track.stamp_ns <= config.max_unseen_s * _SECOND]
    shape = next((item.footprint.shape for item in instruments if item.footprint is not None), None)
    grid = (view, (shape[0], shape[1])) if shape is not None else memory.grid
    # Footprints of another view do not lie on this grid; tips and classes still tell who is who.
    same_grid = grid is not None and grid == memory.grid
    pairs = _assign(instruments, alive, stamp_ns, view, grid[1] if grid is not None and same_grid else None, config)
    updated: list[Track] = []
    next_id = memory.next_id
    for index, instrument in enumerate(instruments):
        known = pairs.get(index)
        if known is None:
            updated.append(_begin(instrument, next_id, stamp_ns, frame))
            next_id += 1
        else:
            updated.append(_continue(known, instrument, stamp_ns, config))
    seen = {track.track_id for track in updated}
    unseen = [track for track in alive if track.track_id not in seen]
    if not same_grid:
        unseen = [_without_footprint(track) for track in unseen]
    tags = sorted((_tag(track, frame) for track in updated), key=lambda tag: tag.track_id)
    tracks = tuple(sorted([*updated, *unseen], key=lambda track: track.track_id))
    return tuple(tags), TrackMemory(tracks, next_id, stamp_ns, frame, grid)


def _assign(
    instruments: tuple[Instrument, ...],
    tracks: list[Track],
    stamp_ns: int,
    view: Letterbox,
    shape: tuple[int, int] | None,
    config: TrackConfig,
) -> dict[int, Track]:
    """Instrument index -> its track, for those that continue one; `shape` of footprints that can be compared."""
    if not instruments or not tracks:
        return {}
    seen = np.array([(*item.tip, *item.axis, item.class_id) for item in instruments], np.float64)
    known = np.array([(*track.instrument.tip, *track.instrument.axis, _agreed(track)) for track in tracks], np.float64)
    moves = np.array([_possible_moves(track, stamp_ns, config) for track in tracks], np.float64)
    # Footprints move by the whole nodes nearest to a motion.
    shifts = np.rint(moves * (view.scale / STRIDE)).astype(np.int64)
    costs = kernels.assignment_costs(
        seen, _stacked(instruments, shape), known, moves, shifts,
        _stacked([track.instrument for track in tracks], shape), shape is not None,
        tuple(float(w) for w in (config.overlap_weight, config.tip_weight, config.axis_weight, config.class_weight)),
        config.tip_scale * math.hypot(*view.frame_size), float(config.max_cost), _NEVER,
    )  # fmt: skip
    columns = kernels.cheapest_assignment(costs)
    return {
        row: tracks[column]
        for row, column in enumerate(columns.tolist())
        if column >= 0 and costs[row, column] < _NEVER
    }


def _agreed(track: Track) -> int:
    """What a track has been called so far; -1 where nothing is known."""
    return _elected(track.votes) if track.votes else -1


def _stacked(instruments: Sequence[Instrument], shape: tuple[int, int] | None) -> ByteArray:
    """Footprints (n, h, w); empty where there is none of this shape: it overlaps nothing."""
    stack = np.zeros((len(instruments), *(shape or (0, 0))), np.uint8)
    for index, item in enumerate(instruments):
        if item.footprint is not None and item.footprint.shape == shape:
            stack[index] = item.footprint
    return stack


def _possible_moves(
    track: Track, stamp_ns: int, config: TrackConfig
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The two ways that a track may have gone, px: it stopped, or it went on, coming to rest while out of sight.

    The better of the two counts: at a low frame rate, or with a tip that trembles, going on is a poor guess.
    """
    if track.velocity is None:
        return (0.0, 0.0), (0.0, 0.0)
    seconds = (stamp_ns - track.stamp_ns) / _SECOND
    coasted = config.coast_s * (1 - math.exp(-seconds / config.coast_s))
    return (0.0, 0.0), (track.velocity[0] * coasted, track.velocity[1] * coasted)


def _without_footprint(track: Track) -> Track:
    """What lay on a grid that is no longer looked at says nothing on another one, though it may have its size."""
    return dataclasses.replace(track, instrument=dataclasses.replace(track.instrument, footprint=None))


def _begin(instrument: Instrument, track_id: int, stamp_ns: int, frame: int) -> Track:
    return Track(
        track_id=track_id,
        instrument=instrument,
        stamp_ns=stamp_ns,
        first_frame=frame,
        velocity=None,
        areas=((stamp_ns, instrument.area),),
        votes=((instrument.class_id, max(instrument.confidence, 1e-6)),),
    )


def _continue(track: Track, instrument: Instrument, stamp_ns: int, config: TrackConfig) -> Track:
    seconds = (stamp_ns - track.stamp_ns) / _SECOND
    velocity = track.velocity
    if seconds > 0:
        # The first motion is taken as it is; there is nothing yet to smooth it with.
        share = 1.0 if velocity is None else 1 - math.exp(-seconds / config.velocity_time_s)
        (x, y), (before_x, before_y), (tip_x, tip_y) = velocity or (0.0, 0.0), track.instrument.tip, instrument.tip
        velocity = (
            (1 - share) * x + share * ((tip_x - before_x) / seconds),
            (1 - share) * y + share * ((tip_y - before_y) / seconds),
        )
    decay = 0.5 ** (seconds / config.vote_half_life_s)
    votes = {class_id: weight * decay for class_id, weight in track.votes}
    votes[instrument.class_id] = votes.get(instrument.class_id, 0.0) + max(instrument.confidence, 1e-6)
    window = config.visibility_window_s * _SECOND
    recent = tuple((stamp, area) for stamp, area in track.areas if stamp_ns - stamp <= window)
    return Track(
        track_id=track.track_id,
        instrument=instrument,
        stamp_ns=stamp_ns,
        first_frame=track.first_frame,
        velocity=velocity,
        areas=(*recent, (stamp_ns, instrument.area)),
        votes=tuple((class_id, weight) for class_id, weight in votes.items() if weight > 1e-9),
    )


def _elected(votes: tuple[tuple[int, float], ...]) -> int:
    return max(votes, key=lambda vote: (vote[1], -vote[0]))[0]


def _tag(track: Track, frame: int) -> Instrument:
    largest = max(area for _, area in track.areas)
    return dataclasses.replace(
        track.instrument,
        class_id=_elected(track.votes),
        visibility=float(track.instrument.area / largest) if largest > 0 else 1.0,
        track_id=track.track_id,
        age=frame - track.first_frame,
        velocity=track.velocity or (0.0, 0.0),
    )


def warm_up() -> None:
    """Compile what `track_instruments` needs, once per process, so that the first frame does not wait for it."""
    box, footprint = Box(0, 0, 4, 4), np.ones((2, 2), np.uint8)
    item = Instrument(0, 1.0, box, (0.0, 0.0), (1.0, 0.0), 1.0, False, footprint=footprint)
    view = make_letterbox((8, 8), (8, 8))
    _, memory = track_instruments((item,), 0, view, TrackMemory())
    track_instruments((item,), 1, view, memory)
