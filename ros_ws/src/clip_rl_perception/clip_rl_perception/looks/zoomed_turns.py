"""Which instruments a frame's zoomed looks go to, and what is known of the others from those before.

A stream can afford few zoomed looks a frame, so they go round: each to the instrument that waits longest, with as many
others in the picture as fit. Until its next turn the points of an instrument move with it, as `scene.tip_motion` sees
it move, and count less the older they are; what is not seen to move with the instrument is dropped. All is immutable
and counts stamps alone.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from clip_rl_perception.engine.protocol import Engine, check_output
from clip_rl_perception.errors import named_line
from clip_rl_perception.looks.zoomed_look import part_sides, zoomed_points, zoomed_view
from clip_rl_perception.scene.letterbox import to_network
from clip_rl_perception.scene.types import Instrument, Keypoint, Letterbox

_INSIDE = 0.7
"""Share of a part's sides within which working ends lie that share a look."""


@dataclasses.dataclass(frozen=True)
class ZoomConfig:
    """How keypoints are looked at."""

    looks: int = 1
    """Zoomed looks at a frame at most; 0: none."""
    scale: float = 2.5
    """Of what is shown, over the plain look's; chosen on synthetic stereo sets (docs/results/tags.md)."""
    widest: float = 0.28
    """Of the input's width, that an instrument may cover from side to side in it: those that are near are shown at"""
    least_scale: float = 1.25
    """a lower scale, but not below this one."""
    every: bool = False
    """Look at every instrument of each frame: for pictures that stand alone."""
    keep_rate: bool = False
    """No look begins that would not end well before the next frame is due, by the time since the one before."""
    memory_s: float = 0.25
    """Points of an earlier look that is older do not count, s of stamps."""


@dataclasses.dataclass(frozen=True)
class SharpPoints:
    """What the last zoomed look at a track said."""

    points: tuple[Keypoint, ...]
    """Wrist and tips, where they have moved to; confidences as of the look."""
    looked_ns: int
    """Stamp of the frame that was looked at."""


PointMemory = Mapping[int, SharpPoints]
"""By track."""


@dataclasses.dataclass(frozen=True, eq=False)
class ZoomFrame:
    """A frame that zoomed looks are taken of."""

    engine: Engine
    rgb: ByteArray
    """uint8 (height, width, 3)."""
    view: Letterbox
    """Of the plain look."""
    text: FloatArray
    """Text embeddings of the classes, (K, D)."""
    is_instrument: BoolArray
    """Which classes are, by id, bool (256,)."""
    stamp_ns: int
    look_ms: float
    """What a look at this frame took, ms."""


@dataclasses.dataclass(frozen=True)
class Sharpened:
    """A frame's instruments with the points that zoomed looks tell."""

    instruments: tuple[Instrument, ...]
    memory: PointMemory
    network_ms: float = 0.0
    """Time of the looks, ms."""
    failure: str = ""
    """Why a look failed, one line; points are those of the looks before it then."""


def sharpen(
    frame: ZoomFrame,
    instruments: tuple[Instrument, ...],
    memory: PointMemory,
    config: ZoomConfig,
    *,
    moved: Mapping[int, tuple[float, float] | None],
    left_ms: float | None = None,
) -> Sharpened:
    """Look closer at instruments, as many as may be.

    Args:
        frame: where they are seen.
        instruments: tracked; those without footprint or tips stay as they are, tentative ones unless `config.every`.
        memory: of the frame before.
        config: how.
        moved: how far each track has moved since the frame before, px; None where that is not known.
        left_ms: time that looks may take, ms: none begins that would not fit. None: no limit.
    """
    if not config.looks:
        return Sharpened(instruments, {})
    kept = _moved(memory, moved, frame.stamp_ns, config)
    # Tentative ones have no number yet: each is itself for this frame alone.
    keys = [item.track_id or -1 - index for index, item in enumerate(instruments)]
    waiting = [
        (key, item)
        for key, item in zip(keys, instruments, strict=True)
        if item.footprint is not None and _tips(item.keypoints) and (item.confirmed or config.every)
    ]
    waiting.sort(key=lambda pair: (kept[pair[0]].looked_ns if pair[0] in kept else -1, -pair[1].area))
    taken, spent, failure = 0, 0.0, ""
    while waiting and (config.every or taken < config.looks):
        if left_ms is not None and left_ms - spent < frame.look_ms:
            break
        start = time.perf_counter()
        ends = [_end(item.keypoints) for _, item in waiting]
        scale = min(max(config.least_scale, config.widest / _width(waiting[0][1], frame.view)), config.scale)
        zoomed = zoomed_view(frame.view, _middle(ends, frame.view, scale), scale)
        shown = [
            pair
            for place, (pair, end) in enumerate(zip(waiting, ends, strict=True))
            if not place or _in_sight(end, zoomed)
        ]
        try:
            output = frame.engine.infer(to_network(frame.rgb, zoomed), frame.text)
            check_output(frame.engine.info, output, len(frame.text))
        except Exception as error:  # whatever an engine raises must not take the frame, whose mask is there
            failure = f"zoomed look failed: {named_line(error)}"
            break
        tools = [item for _, item in shown]
        for (key, _), points in zip(
            shown, zoomed_points(output, zoomed, frame.view, tools, frame.is_instrument), strict=True
        ):
            if points:
                kept[key] = SharpPoints(points, frame.stamp_ns)
        done = {key for key, _ in shown}
        waiting = [pair for pair in waiting if pair[0] not in done]
        taken, spent = taken + 1, spent + (time.perf_counter() - start) * 1e3
    result = tuple(
        _with_points(item, kept[key], frame.stamp_ns, config) if key in kept else item
        for key, item in zip(keys, instruments, strict=True)
    )
    return Sharpened(result, {key: sharp for key, sharp in kept.items() if key > 0}, spent, failure)


def _moved(
    memory: PointMemory, moved: Mapping[int, tuple[float, float] | None], stamp_ns: int, config: ZoomConfig
) -> dict[int, SharpPoints]:
    """The points of earlier looks that still count, where they are now."""
    kept = {}
    for track, sharp in memory.items():
        step = moved.get(track)
        if step is None or stamp_ns - sharp.looked_ns >= config.memory_s * 1e9:
            continue
        points = tuple(dataclasses.replace(point, x=point.x + step[0], y=point.y + step[1]) for point in sharp.points)
        kept[track] = dataclasses.replace(sharp, points=points)
    return kept


def _width(item: Instrument, view: Letterbox) -> float:
    """Of an instrument, as a part of the input's width: its area over its length."""
    assert item.footprint is not None
    rows, columns = np.nonzero(item.footprint)
    along = columns * item.axis[0] + rows * item.axis[1]
    stride = view.network_size[0] / item.footprint.shape[0]
    return float(stride * len(rows) / (np.ptp(along) + 1)) / view.network_size[1]


def _middle(ends: Sequence[DoubleArray], view: Letterbox, scale: float) -> tuple[float, float]:
    """Where to look: at the first end, and at those after it that can be seen beside it."""
    room = _INSIDE * part_sides(view, scale)
    low = high = ends[0]
    for end in ends[1:]:
        lower, higher = np.minimum(low, end), np.maximum(high, end)
        if (higher - lower <= room).all():
            low, high = lower, higher
    x, y = ((low + high) / 2).tolist()
    return x, y


def _end(points: Iterable[Keypoint]) -> DoubleArray:
    """The middle of the tips among points, (2,)."""
    return np.asarray(np.mean([(tip.x, tip.y) for tip in _tips(points)], axis=0), np.float64)


def _in_sight(end: DoubleArray, zoomed: Letterbox) -> bool:
    """Whether a look shows a working end, and something around it."""
    crop = zoomed.crop
    x, y = (end - (crop.x, crop.y)).tolist()
    edge = (1 - _INSIDE) / 4
    return bool(
        edge * crop.width <= x <= (1 - edge) * crop.width and edge * crop.height <= y <= (1 - edge) * crop.height
    )


def _tips(points: Iterable[Keypoint]) -> list[Keypoint]:
    return [point for point in points if point.name.startswith("tip")]


def _with_points(item: Instrument, sharp: SharpPoints, stamp_ns: int, config: ZoomConfig) -> Instrument:
    """An instrument with the tips of its last look, and its wrist where the look is surer of it."""
    trust = 1 - (stamp_ns - sharp.looked_ns) / (config.memory_s * 1e9)
    points = {point.name: point for point in item.keypoints if not point.name.startswith("tip")}
    for point in sharp.points:
        told = dataclasses.replace(point, confidence=point.confidence * trust)
        if point.name not in points or told.confidence >= points[point.name].confidence:
            points[point.name] = told
    tips = _tips(points.values())
    x, y = np.mean([(tip.x, tip.y) for tip in tips], axis=0).tolist()
    order = ("entry", "wrist", "tip_1", "tip_2")
    return dataclasses.replace(item, tip=(x, y), keypoints=tuple(points[name] for name in order if name in points))
