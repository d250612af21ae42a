"""Identities of instruments across frames.

Ours, not a tracker of boxes (SORT, ByteTrack): thin tools cross, and footprint, tip, axis, entry and class tell them
apart.

Each frame's instruments are assigned to the known tracks by the smallest total cost (the Hungarian method) of
`track_costs`. What is seen for the first time is tentative, without a number: a speck of light or of tissue comes and
goes. It is confirmed, and gets a number, once it was seen often enough, or at once where it is large and reaches the
border of the content, as specks do not. Tentative tracks end soon when they are not seen; confirmed ones live on for a
while, so that an occlusion, smoke, or a short way out of the picture does not cost them their identity.

The class of a track is that with the most votes, a vote being a frame's confidence, halved every `vote_half_life_s`; so
a tag's class does not flicker and may for some frames differ from the pixels under it in the mask.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from clip_rl_perception.scene.assignment import cheapest_assignment
from clip_rl_perception.scene.track_costs import NEVER, CostConfig, Past, assignment_costs, content_px, entry_of
from clip_rl_perception.scene.types import Instrument, Letterbox

_SECOND = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """How instruments are followed."""

    max_unseen_s: float = 2.0
    """A confirmed track that is not seen for longer ends; what appears later gets a new identity, s."""
    tentative_unseen_s: float = 0.2
    """A tentative one that is not seen for longer ends, s; at low rates one that is missing in a frame."""
    confirm_frames: int = 5
    """A track is confirmed when it was seen in so many frames"""
    confirm_s: float = 1.0
    """within this time, s,"""
    confirm_area: float = 0.0075
    """covering at least this share of the content in each of them;"""
    small_confirm_s: float = 2.0
    """when it has been there for so long, s,"""
    small_confirm_area: float = 0.002
    """and covers at least this share;"""
    sure_area: float = 0.01
    """or at once when it covers this share and reaches the border of the content."""
    clock_jump_s: float = 1.0
    """A stamp this much before the last one is a clock set back (bag loop): identities begin anew, s."""
    coast_s: float = 0.2
    """Time constant with which the motion of an unseen track comes to rest, s."""
    costs: CostConfig = dataclasses.field(default_factory=CostConfig)
    """What speaks against a continuation."""
    velocity_time_s: float = 0.03
    """Time constant of the velocity's exponential smoothing, s."""
    entry_time_s: float = 0.3
    """Time constant of the smoothing of axis and entry, s; less of them is taken from a sight of a part alone."""
    vote_half_life_s: float = 0.5
    """Time after which a vote for a class counts half, s."""
    visibility_window_s: float = 1.0
    """Visibility compares with the largest area within this time, s."""


@dataclasses.dataclass(frozen=True)
class Track:
    """What is remembered of one instrument."""

    track_id: int
    """0 while it is tentative."""
    instrument: Instrument
    """As last seen."""
    stamp_ns: int
    """When it was last seen."""
    unseen_s: float
    """Time between that and when it was seen before, s."""
    first_ns: int
    """When it was first seen."""
    first_frame: int
    """Number of the frame in which it began."""
    velocity: tuple[float, float] | None
    """Of the tip, px/s; None: not known."""
    moves: tuple[float, float] | None
    """The same between the last two frames alone, not smoothed."""
    axis: tuple[float, float]
    """Mean of the last sights, unit vector."""
    entry: tuple[float, float]
    """Mean of the last sights, px; as of `entry_of`."""
    areas: tuple[tuple[int, float], ...]
    """(stamp, area) within the visibility window."""
    votes: tuple[tuple[int, float], ...]
    """(class id, weight) at `stamp_ns`."""


@dataclasses.dataclass(frozen=True)
class TrackMemory:
    """State of the tracker between frames. Immutable: the same frames from the same state give the same tracks."""

    tracks: tuple[Track, ...] = ()
    """By id; tentative ones first."""
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
    *,
    velocities: Sequence[tuple[float, float] | None] | None = None,
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
        velocities: of the tips, by points on them, px/s, None where that is not known; None: tips moved from
            where they were to where they are.

    Returns:
        The instruments with identity (0 while tentative), age, velocity, visibility, smoothed class and how long they
        were out of sight, ordered by identity; and the memory for the next frame.
    """
    config = config or TrackConfig()
    last_ns = memory.stamp_ns
    if last_ns is not None and stamp_ns < last_ns - config.clock_jump_s * _SECOND:
        memory, last_ns = TrackMemory(), None
    stamp_ns = stamp_ns if last_ns is None else max(stamp_ns, last_ns)
    frame = memory.frame + 1
    alive = [track for track in memory.tracks if _lives(track, stamp_ns, last_ns, config)]
    shape = next((item.footprint.shape for item in instruments if item.footprint is not None), None)
    grid = (view, (shape[0], shape[1])) if shape is not None else memory.grid
    # Footprints of another view do not lie on this grid; tips and classes still tell who is who.
    same_grid = grid is not None and grid == memory.grid
    past = [_past(track, stamp_ns, config) for track in alive]
    comparable = grid[1] if grid is not None and same_grid else None
    costs, columns = None, [-1] * len(instruments)
    if instruments and alive:
        costs = assignment_costs(instruments, past, view, comparable, config.costs)
        columns = cheapest_assignment(costs).tolist()
        columns = [column if costs[row, column] < NEVER else -1 for row, column in enumerate(columns)]
    updated: list[Track] = []
    next_id = memory.next_id
    free = set(range(len(alive))) - set(columns)
    for row, instrument in enumerate(instruments):
        before = alive[columns[row]] if columns[row] >= 0 else None
        moves = _difference(before, instrument, stamp_ns) if velocities is None else velocities[row]
        if before is None:
            track = _begin(instrument, view, stamp_ns, frame, moves)
        else:
            track = _continue(before, instrument, view, stamp_ns, moves, config)
        if not track.track_id and _confirmed(track, content_px(view), config):
            # One that came back too far from where it left to be known at once: by its entry it is known now.
            fitting = [k for k in free if costs is not None and costs[row, k] < NEVER and alive[k].track_id]
            if costs is not None and fitting:
                known = min(fitting, key=lambda k: float(costs[row, k]))
                free.remove(known)
                track = dataclasses.replace(track, track_id=alive[known].track_id, first_frame=alive[known].first_frame)
            else:
                track, next_id = dataclasses.replace(track, track_id=next_id), next_id + 1
        updated.append(track)
    unseen = [alive[column] for column in sorted(free)]
    if not same_grid:
        unseen = [_without_footprint(track) for track in unseen]
    tags = sorted((_tag(track, frame) for track in updated), key=lambda tag: tag.track_id)
    tracks = tuple(sorted([*updated, *unseen], key=lambda track: track.track_id))
    return tuple(tags), TrackMemory(tracks, next_id, stamp_ns, frame, grid)


def _lives(track: Track, stamp_ns: int, last_ns: int | None, config: TrackConfig) -> bool:
    unseen_s = (stamp_ns - track.stamp_ns) / _SECOND
    if track.track_id or track.stamp_ns == last_ns:  # after a frame that showed it there was none that lacked it
        return unseen_s <= config.max_unseen_s
    return unseen_s <= config.tentative_unseen_s


def _confirmed(track: Track, content: float, config: TrackConfig) -> bool:
    """Whether it has been seen long enough; see `TrackConfig`."""
    seen = track.instrument
    if seen.touches_border and seen.area >= config.sure_area * content:
        return True
    since = track.stamp_ns - config.confirm_s * _SECOND
    if (
        sum(stamp >= since and area >= config.confirm_area * content for stamp, area in track.areas)
        >= config.confirm_frames
    ):
        return True
    lasted = track.stamp_ns - track.first_ns >= config.small_confirm_s * _SECOND
    return lasted and seen.area >= config.small_confirm_area * content


def _past(track: Track, stamp_ns: int, config: TrackConfig) -> Past:
    return Past(
        track.instrument,
        track.axis,
        track.entry,
        _elected(track.votes) if track.votes else -1,
        _possible_moves(track, stamp_ns, config),
        (stamp_ns - track.stamp_ns) / _SECOND,
    )


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


def _begin(
    instrument: Instrument, view: Letterbox, stamp_ns: int, frame: int, moves: tuple[float, float] | None
) -> Track:
    return Track(
        track_id=0,
        instrument=instrument,
        stamp_ns=stamp_ns,
        unseen_s=0.0,
        first_ns=stamp_ns,
        first_frame=frame,
        velocity=moves,
        moves=moves,
        axis=instrument.axis,
        entry=entry_of(instrument, view),
        areas=((stamp_ns, instrument.area),),
        votes=((instrument.class_id, max(instrument.confidence, 1e-6)),),
    )


def _difference(track: Track | None, instrument: Instrument, stamp_ns: int) -> tuple[float, float] | None:
    """Velocity of a tip from where it was to where it is."""
    if track is None or (seconds := (stamp_ns - track.stamp_ns) / _SECOND) <= 0:
        return None
    (before_x, before_y), (tip_x, tip_y) = track.instrument.tip, instrument.tip
    return (tip_x - before_x) / seconds, (tip_y - before_y) / seconds


def _continue(
    track: Track,
    instrument: Instrument,
    view: Letterbox,
    stamp_ns: int,
    moves: tuple[float, float] | None,
    config: TrackConfig,
) -> Track:
    seconds = (stamp_ns - track.stamp_ns) / _SECOND
    velocity = track.velocity
    if seconds > 0:
        # The first motion is taken as it is; there is nothing yet to smooth it with.
        share = 1.0 if velocity is None else 1 - math.exp(-seconds / config.velocity_time_s)
        velocity = None if moves is None else _mixed(velocity or (0.0, 0.0), moves, share)
    decay = 0.5 ** (seconds / config.vote_half_life_s)
    votes = {class_id: weight * decay for class_id, weight in track.votes}
    votes[instrument.class_id] = votes.get(instrument.class_id, 0.0) + max(instrument.confidence, 1e-6)
    window = config.visibility_window_s * _SECOND
    recent = tuple((stamp, area) for stamp, area in track.areas if stamp_ns - stamp <= window)
    areas = (*recent, (stamp_ns, instrument.area))
    share = (1 - math.exp(-seconds / config.entry_time_s)) * _visibility(areas)
    x, y = _mixed(track.axis, instrument.axis, share)
    length = math.hypot(x, y)
    return dataclasses.replace(
        track,
        instrument=instrument,
        stamp_ns=stamp_ns,
        unseen_s=seconds,
        velocity=velocity,
        moves=moves,
        axis=(x / length, y / length) if length > 1e-6 else instrument.axis,
        entry=_mixed(track.entry, entry_of(instrument, view), share),
        areas=areas,
        votes=tuple((class_id, weight) for class_id, weight in votes.items() if weight > 1e-9),
    )


def _mixed(before: tuple[float, float], now: tuple[float, float], share: float) -> tuple[float, float]:
    """Of two pairs, a share of the second."""
    return (1 - share) * before[0] + share * now[0], (1 - share) * before[1] + share * now[1]


def _visibility(areas: Sequence[tuple[int, float]]) -> float:
    """The last area over the largest."""
    largest = max(area for _, area in areas)
    return float(areas[-1][1] / largest) if largest > 0 else 1.0


def _elected(votes: tuple[tuple[int, float], ...]) -> int:
    return max(votes, key=lambda vote: (vote[1], -vote[0]))[0]


def _tag(track: Track, frame: int) -> Instrument:
    return dataclasses.replace(
        track.instrument,
        class_id=_elected(track.votes),
        visibility=_visibility(track.areas),
        track_id=track.track_id,
        age=frame - track.first_frame,
        velocity=track.velocity or (0.0, 0.0),
        confirmed=track.track_id > 0,
        unseen_s=track.unseen_s,
    )
