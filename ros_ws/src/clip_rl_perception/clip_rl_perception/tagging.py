"""From what the looks at a frame say to its tagged instruments: found, followed, named, zoomed in on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import Engine
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.looks.zoomed_turns import SharpTips, ZoomFrame, sharpen
from clip_rl_perception.naming.track_names import CloseUps, NamedTypes, name_instruments
from clip_rl_perception.naming.type_evidence import TypeMemory
from clip_rl_perception.pipeline_config import PipelineConfig
from clip_rl_perception.scene.instruments import find_instruments, instrument_table
from clip_rl_perception.scene.tip_motion import tip_velocities
from clip_rl_perception.scene.tracks import TrackMemory, track_instruments
from clip_rl_perception.scene.types import Instrument, Letterbox

_PART_OF_PERIOD = 0.8
"""Of the time between frames, that looks may take: the rest goes to publishing."""


@dataclasses.dataclass(frozen=True)
class TagMemory:
    """What a frame's tags leave for those of the next one."""

    tracks: TrackMemory = dataclasses.field(default_factory=TrackMemory)
    """Identities."""
    types: TypeMemory | None = None
    """What is known of the types of tracks; None: nothing is asked for."""
    tips: Mapping[int, SharpTips] = dataclasses.field(default_factory=dict)
    """What zoomed looks said of the tips of tracks."""
    period_s: float | None = None
    """Time between the last two frames, s of stamps; None: not known."""

    def without_classes(self) -> TagMemory:
        """The same, for when the class list changed: see `TrackMemory.without_classes`."""
        return dataclasses.replace(self, tracks=self.tracks.without_classes())


@dataclasses.dataclass(frozen=True, eq=False)
class SeenFrame:
    """A frame and what its looks say of it."""

    rgb: ByteArray
    """uint8 (height, width, 3)."""
    view: Letterbox
    picture: ByteArray
    """What the network saw, smaller (`looks.motion.picture_of`)."""
    before: ByteArray | None
    """That of the frame before; None: there is none of the same view."""
    stamp_ns: int
    seconds: float
    """Since the frame before."""
    winners: ByteArray
    """Class with the largest value at each node, uint8 (h, w)."""
    refined: FloatArray
    """Log-probabilities, float32 (K, h, w)."""
    labels: ByteArray
    """Label map, uint8 (height, width)."""
    said: FloatArray | None
    """By the instance head, float32 (9, h/2, w/2)."""
    look_ms: float
    """What a look at it took, ms."""
    start: float
    """When its processing began, `time.perf_counter`, s."""


@dataclasses.dataclass(frozen=True)
class Tagged:
    """The instruments of a frame."""

    instruments: tuple[Instrument, ...]
    """Ordered by track."""
    memory: TagMemory
    network_ms: float
    """Time of zoomed looks, ms."""
    failure: str
    """Why a zoomed look or a close-up failed, one line; empty where none did."""


def tag_instruments(
    frame: SeenFrame,
    memory: TagMemory,
    engine: Engine,
    space: LabelSpace,
    text: FloatArray,
    temperature: float,
    config: PipelineConfig,
    types: NamedTypes | None,
) -> Tagged:
    """Tag the instruments of a frame.

    Args:
        frame: seen.
        memory: of the frame before.
        engine: for zoomed looks and close-ups.
        space: K classes.
        text: their embeddings, float32 (K, D).
        temperature: of the calibration.
        config: how.
        types: what instruments may be called; None: they stay without names.
    """
    found = find_instruments(
        frame.winners,
        frame.refined,
        frame.labels,
        frame.view,
        space,
        temperature=temperature,
        config=config.instruments,
        said=frame.said,
    )
    velocities = tip_velocities(found, frame.before, frame.picture, frame.view, frame.seconds)
    tagged, tracks = track_instruments(
        found, frame.stamp_ns, frame.view, memory.tracks, config.tracks, velocities=velocities
    )
    named = name_instruments(
        CloseUps(engine, frame.rgb, frame.view, frame.stamp_ns),
        tagged,
        [track.track_id for track in tracks.tracks],
        types,
        memory.types,
        config.types,
        left_ms=_left_ms(frame, config.latency_budget_ms),
    )
    moved: dict[int, tuple[float, float] | None] = {}
    for track in tracks.tracks:
        seen = track.stamp_ns == tracks.stamp_ns and frame.seconds > 0
        step = track.moves if seen else None
        moved[track.track_id] = step and (step[0] * frame.seconds, step[1] * frame.seconds)
    periods = [each for each in (frame.seconds, memory.period_s) if each is not None and each > 0]
    limits = [config.latency_budget_ms]
    if config.zoom.keep_rate:  # the lesser, as after a frame that was given up the next one is due as soon as ever
        limits.append(_PART_OF_PERIOD * 1e3 * min(periods, default=0.0))
    zoom = config.zoom if config.refine_steps != 0 else dataclasses.replace(config.zoom, looks=0)
    sharp = sharpen(
        ZoomFrame(engine, frame.rgb, frame.view, text, instrument_table(space), frame.stamp_ns, frame.look_ms),
        named.instruments,
        memory.tips,
        zoom,
        moved=moved,
        left_ms=_left_ms(frame, *limits),
    )
    failure = named.failure or sharp.failure
    kept = TagMemory(tracks, named.memory, sharp.memory, periods[0] if periods else None)
    return Tagged(sharp.instruments, kept, sharp.network_ms, failure)


def _left_ms(frame: SeenFrame, *limits_ms: float | None) -> float | None:
    """Of the times that a frame may take, the shortest, ms; None: no limit."""
    known = [limit for limit in limits_ms if limit is not None]
    return min(known) - (time.perf_counter() - frame.start) * 1e3 if known else None
