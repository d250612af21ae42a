"""Which instruments a frame's zoomed looks go to, and what is known of the others from those before.

A stream can afford few zoomed looks a frame, so they go round: each to the instrument that waits longest, with as many
others in the picture as fit. Until its next turn the tips of an instrument move with it, as `scene.tip_motion` sees
it move, and count less the older they are. What is not seen to move with the instrument, or does not fit its footprint
any more, is dropped. All is immutable and counts stamps alone.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from clip_rl_perception.engine.protocol import Engine, check_output
from clip_rl_perception.errors import named_line
from clip_rl_perception.looks.zoomed_look import part_sides, zoomed_tips, zoomed_view
from clip_rl_perception.scene.letterbox import frame_to_grid, inside_content, to_network
from clip_rl_perception.scene.types import Instrument, Keypoint, Letterbox

_INSIDE = 0.7
"""Share of a part's sides within which working ends lie that share a look."""
_PLAIN = 0.7
"""What a plain tip's confidence is worth beside that of a zoomed look's, whose tips are nearer to the true ones."""
_SECOND_TIP = 0.5
"""Confidence from which on a second tip moves the working end: most of those below are none (docs/results/tags.md)."""
_NEAR, _WIDTHS = 6.0, 2.0
"""Nodes, and widths of the instrument, from its footprint up to which a tip that was moved along is its own: masks miss
thin jaws."""


@dataclasses.dataclass(frozen=True)
class ZoomConfig:
    """How working ends are looked at."""

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
class SharpTips:
    """What zoomed looks at a track said."""

    tips: tuple[Keypoint, ...]
    """Tips, where they have moved to; confidences as of the look. Empty: none told them, or they are lost."""
    told_ns: int
    """Stamp of the frame whose look told them."""
    turn: int
    """Number of the last look at the track, whatever it told: the one with the smallest waits longest."""

    def trust(self, stamp_ns: int, config: ZoomConfig) -> float:
        """How much they count in a frame, 0 to 1."""
        return max(0.0, 1 - ((stamp_ns - self.told_ns) / (config.memory_s * 1e9)) ** 2)


TipMemory = Mapping[int, SharpTips]
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
    """A frame's instruments with the tips that zoomed looks tell."""

    instruments: tuple[Instrument, ...]
    memory: TipMemory
    network_ms: float = 0.0
    """Time of the looks, ms."""
    failure: str = ""
    """Why a look failed, one line; tips are those of the looks before it then."""


def sharpen(
    frame: ZoomFrame,
    instruments: tuple[Instrument, ...],
    memory: TipMemory,
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
        moved: how far each track that is alive has moved since the frame before, px; None where that is not known.
        left_ms: time that looks may take, ms: none begins that would not fit. None: no limit.
    """
    if not config.looks:
        return Sharpened(instruments, {})
    kept = _moved(memory, moved, frame.stamp_ns, config)
    # Tentative ones have no number yet: each is itself for this frame alone.
    keys = [item.track_id or -1 - index for index, item in enumerate(instruments)]
    seen = [(key, item) for key, item in zip(keys, instruments, strict=True) if item.footprint is not None]
    waiting = [(key, item) for key, item in seen if _tips(item.keypoints) and (item.confirmed or config.every)]
    waiting.sort(key=lambda pair: (kept[pair[0]].turn if pair[0] in kept else 0, -pair[1].area))
    taken, spent, failure = 0, 0.0, ""
    while waiting and (config.every or taken < config.looks):
        if left_ms is not None and left_ms - spent < frame.look_ms:
            break
        start = time.perf_counter()
        ends = [_end(item.keypoints) for _, item in waiting]
        scale = min(max(config.least_scale, config.widest / _width(waiting[0][1], frame.view)), config.scale)
        zoomed = zoomed_view(frame.view, _middle(ends, frame.view, scale), scale)
        shown = {
            key
            for place, ((key, _), end) in enumerate(zip(waiting, ends, strict=True))
            if not place or _in_sight(end, zoomed)
        }
        waiting = [pair for pair in waiting if pair[0] not in shown]
        try:
            output = frame.engine.infer(to_network(frame.rgb, zoomed), frame.text)
            check_output(frame.engine.info, output, len(frame.text))
        except Exception as error:  # whatever an engine raises must not take the frame, whose mask is there
            failure = f"zoomed look failed: {named_line(error)}"
            break
        told = zoomed_tips(output, zoomed, frame.view, [item for _, item in seen], frame.is_instrument)
        turn = 1 + max((sharp.turn for sharp in kept.values()), default=0)
        for (key, _), tips in zip(seen, told, strict=True):
            if key in shown:
                old = kept.get(key, SharpTips((), 0, 0))
                kept[key] = SharpTips(tips, frame.stamp_ns, turn) if tips else dataclasses.replace(old, turn=turn)
        taken, spent = taken + 1, spent + (time.perf_counter() - start) * 1e3
    result = tuple(
        _with_tips(item, kept[key], frame, config) if key in kept else item
        for key, item in zip(keys, instruments, strict=True)
    )
    return Sharpened(result, {key: sharp for key, sharp in kept.items() if key > 0}, spent, failure)


def _moved(
    memory: TipMemory, moved: Mapping[int, tuple[float, float] | None], stamp_ns: int, config: ZoomConfig
) -> dict[int, SharpTips]:
    """When each track that is alive was looked at, and the tips that still count, where they are now."""
    kept = {}
    for track, sharp in memory.items():
        if track not in moved:
            continue
        step, tips = moved[track], sharp.tips
        if step is None or not sharp.trust(stamp_ns, config):
            tips = ()
        else:
            tips = tuple(dataclasses.replace(tip, x=tip.x + step[0], y=tip.y + step[1]) for tip in tips)
        kept[track] = dataclasses.replace(sharp, tips=tips)
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
    """The middle of the tips among points, (2,), of two without one that is hardly a tip."""
    tips = sorted(_tips(points), key=lambda tip: -tip.confidence)
    counted = [(tip.x, tip.y) for place, tip in enumerate(tips) if not place or tip.confidence >= _SECOND_TIP]
    return np.asarray(np.mean(counted, axis=0), np.float64)


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


def _with_tips(item: Instrument, sharp: SharpTips, frame: ZoomFrame, config: ZoomConfig) -> Instrument:
    """An instrument with the tips of its last look, unless this frame's plain ones are surer."""
    fresh, trust = sharp.told_ns == frame.stamp_ns, sharp.trust(frame.stamp_ns, config)
    tips = [dataclasses.replace(tip, confidence=tip.confidence * trust) for tip in sharp.tips]
    plain = _tips(item.keypoints)
    if not tips or (not fresh and not (_fits(tips, item, frame.view) and _surest(tips) >= _PLAIN * _surest(plain))):
        return item
    x, y = _end(sharp.tips).tolist()
    rest = [point for point in item.keypoints if point not in plain]  # tips are the last
    return dataclasses.replace(item, tip=(x, y), keypoints=(*rest, *tips))


def _fits(tips: Sequence[Keypoint], item: Instrument, view: Letterbox) -> bool:
    """Whether tips lie in the content, on or near their instrument as this frame shows it."""
    assert item.footprint is not None
    places = [(tip.x, tip.y) for tip in tips]
    if not inside_content(places, view).all():
        return False
    stride = round(view.network_size[0] / item.footprint.shape[0])
    nodes = np.argwhere(item.footprint)[:, ::-1]
    away = np.linalg.norm(nodes[:, None] - frame_to_grid(places, view, stride), axis=2)
    near = _NEAR + _WIDTHS * _width(item, view) * view.network_size[1] / stride
    return bool((away.min(axis=0) <= near).all())


def _surest(points: Iterable[Keypoint]) -> float:
    return max(point.confidence for point in points)
