"""Instruments get the names of their types: at most one close-up a frame, of the track that needs it most."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import Engine
from clip_rl_perception.errors import named_line
from clip_rl_perception.instrument_types import UNKNOWN
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.naming.type_evidence import (
    TURNS,
    TypeConfig,
    TypeEvidence,
    TypeMemory,
    gathered,
    log_likelihoods,
    need,
)
from clip_rl_perception.naming.working_end import close_up, working_end
from clip_rl_perception.scene.types import Box, Instrument, Letterbox


@dataclasses.dataclass(frozen=True, eq=False)
class NamedTypes:
    """What instruments may be called."""

    space: LabelSpace
    """T types."""
    text: FloatArray
    """Their text embeddings, float32 (T, D), unit rows."""
    scale: float
    """Inverse temperature between close-ups and texts, of the checkpoint."""


@dataclasses.dataclass(frozen=True, eq=False)
class CloseUps:
    """A frame that close-ups are taken of."""

    engine: Engine
    """With a branch for close-ups."""
    rgb: ByteArray
    """uint8 (height, width, 3)."""
    view: Letterbox
    stamp_ns: int


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """A frame's instruments with names, and what the next frame may recall."""

    instruments: tuple[Instrument, ...]
    memory: TypeMemory | None
    """None: no types are asked for."""
    failure: str = ""
    """Why a close-up failed, one line; names rest on those before it then."""


def name_instruments(
    frame: CloseUps,
    instruments: tuple[Instrument, ...],
    alive: Iterable[int],
    types: NamedTypes | None,
    memory: TypeMemory | None,
    config: TypeConfig,
    *,
    left_ms: float | None = None,
) -> Named:
    """Give tracked instruments `type_name` and `type_probability`.

    Args:
        frame: where they are seen.
        instruments: tracked.
        alive: ids of all tracks that may be seen again; what was known of others is forgotten.
        types: what they may be called; None, or an engine without a branch for close-ups: nothing.
        memory: of the frame before; that of other types counts as none.
        config: how.
        left_ms: time that close-ups may take, ms: none begins that would not fit if it were as quick as the quickest so
            far. None: no limit.
    """
    if types is None or frame.engine.info.close_up_side is None:
        return Named(instruments, None)
    kept: dict[int, TypeEvidence] = {}
    if memory is not None and np.array_equal(memory.text, types.text):
        known = {*alive}
        kept = {track: evidence for track, evidence in memory.tracks.items() if track in known}
    # Tentative ones have no number yet: each is itself for this frame alone.
    keys = [item.track_id or -1 - index for index, item in enumerate(instruments)]
    candidates = [
        (key, square) for key, item in zip(keys, instruments, strict=True) if (square := _square(item, frame, config))
    ]
    if config.every:
        chosen = [(track, square, range(TURNS)) for track, square in candidates]
    else:
        chosen = [
            (track, square, range(turn, turn + 1))
            for track, square in _neediest(candidates, kept, frame.stamp_ns, config)
            for turn in [kept[track].looks % TURNS if track in kept else 0]
        ]
    start, failure = time.perf_counter(), ""
    for track, square, turns in chosen:
        for turn in turns:
            if left_ms is not None and left_ms - (time.perf_counter() - start) * 1e3 < frame.engine.close_up_ms:
                break
            try:
                embedding = _embedded(frame, square, turn)
            except Exception as error:  # whatever an engine raises must not take the frame, whose mask is there
                failure = f"close-up failed: {named_line(error)}"
                break
            said = log_likelihoods(embedding, types.text, types.scale, config)
            kept[track] = gathered(said, frame.stamp_ns, kept.get(track), config)
    named = tuple(_named(item, kept.get(key), types, config) for key, item in zip(keys, instruments, strict=True))
    numbered = {track: evidence for track, evidence in kept.items() if track > 0}
    return Named(named, TypeMemory(types.text, numbered), failure)


def warm_up_close_ups(engine: Engine) -> None:
    """Take a black close-up where the engine can, so that the first one of a stream is as quick as the next."""
    side = engine.info.close_up_side
    if side is not None:
        engine.embed_close_up(np.zeros((side, side, 3), np.uint8))


def _embedded(frame: CloseUps, square: Box, turn: int) -> FloatArray:
    side = frame.engine.info.close_up_side
    assert side is not None
    return frame.engine.embed_close_up(close_up(frame.rgb, square, side, turn))


def _square(instrument: Instrument, frame: CloseUps, config: TypeConfig) -> Box | None:
    """Where a close-up would show the instrument well enough."""
    if not instrument.confirmed and not config.every:
        return None
    square = working_end(instrument, frame.view)
    return square if square is not None and square.width >= config.least_side else None


def _neediest(
    candidates: list[tuple[int, Box]], kept: dict[int, TypeEvidence], stamp_ns: int, config: TypeConfig
) -> list[tuple[int, Box]]:
    """The candidate that needs a look most, of equal ones the largest, then the oldest; none where none needs any."""
    needs = [(need(kept.get(track), stamp_ns, config), square.width, -track) for track, square in candidates]
    if not needs or max(needs)[0] <= 0:
        return []
    return [candidates[needs.index(max(needs))]]


def _named(instrument: Instrument, evidence: TypeEvidence | None, types: NamedTypes, config: TypeConfig) -> Instrument:
    if evidence is None:
        return instrument
    probabilities = evidence.probabilities(config)
    best = int(probabilities.argmax())
    name = types.space.names[best] if probabilities[best] >= config.threshold else UNKNOWN
    return dataclasses.replace(instrument, type_name=name, type_probability=float(probabilities[best]))
