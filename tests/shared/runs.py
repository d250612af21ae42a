"""Runs made by hand, for tests of what is made of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.replay.scoring import FrameScorer
from clip_rl_perception.runs.run_record import STAGES, FrameRecord, RunRecord, mask_hash
from clip_rl_perception.scene.types import Basis, Box, Instrument
from clip_rl_perception.sources.class_mapping import mapping_of_spaces

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000
SPACE = load_label_space("endovis2018-type")
SOURCE = {"kind": "video", "name": "<operation> & co.mp4", "width": 8, "height": 6, "rate_hz": 25.0}


def mask_of(left: int, value: int = 1) -> np.ndarray:
    """A square of 20 x 20 px in 48 x 64 px."""
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, left : left + 20] = value
    return mask


def frame(index: int, **fields: Any) -> FrameRecord:
    """A frame with a mask after 10, 20, 30 .. ms."""
    given: dict[str, Any] = {
        "index": index,
        "topic": "/image",
        "sequence": "operation",
        "stamp_ns": START + index * PERIOD,
        "kind": "mask",
        "validity": "ok",
        "latency_ms": 10.0 * (index + 1),
        "received_ns": START + index * PERIOD + 10_000_000 * (index + 1),
        "stage_ms": {stage: place + 1.0 for place, stage in enumerate(STAGES)},
        "basis": Basis(("plain",), 0.5, 40.0 * index, 0.125) if index else Basis(("plain", "half turn")),
    }
    return FrameRecord(**{**given, **fields})


def missing(index: int, kind: str = "dropped", **fields: Any) -> FrameRecord:
    """A frame without a mask."""
    nothing: dict[str, Any] = {
        "validity": None,
        "latency_ms": None,
        "received_ns": None,
        "stage_ms": {},
        "basis": None,
    }
    return frame(index, kind=kind, **{**nothing, **fields})


def run_of(frames: list[FrameRecord], **fields: Any) -> RunRecord:
    given: dict[str, Any] = {
        "mode": "demo",
        "title": "CLIP-RL demo",
        "input_sha256": "ab" * 32,
        "source": SOURCE,
        "model_id": "0123456789ab",
        "engine": "torch fp32 288x352",
        "label_space": SPACE,
        "evaluated": SPACE.names,
        "versions": {"numpy": "2"},
        "host": {"cpu": "one"},
        "transport": "raw",
    }
    return RunRecord(frames=tuple(frames), **{**given, **fields})


def scored_run(shifts: list[int], *, sequences: int = 1, **fields: Any) -> RunRecord:
    """A run with truth: masks that lie so many pixels beside it, cyclically over `sequences` of equal length."""
    scorer = FrameScorer(SPACE, mapping_of_spaces(SPACE, SPACE))
    frames = []
    each = len(shifts) // sequences
    for place, shift in enumerate(shifts):
        sequence, index = f"operation{place // each}", place % each
        truth = mask_of(5)
        mask = mask_of(5 + shift)
        rgb = np.repeat((truth * 90 + 40)[..., None], 3, axis=2).astype(np.uint8)
        measures = scorer.score(sequence, mask, truth, np.full_like(mask, 230), rgb).measures
        tag = Instrument(
            1, 0.9, Box(5 + shift, 10, 20, 20), (6.0, 11.0), (0.0, 1.0), 400.0, True, track_id=1 + place // 10
        )
        frames.append(
            frame(
                index,
                sequence=sequence,
                measures=measures,
                mask_sha256=mask_hash(mask),
                instruments=(tag,),
                novelty=0.5 + 0.01 * place,
            )
        )
    return dataclasses.replace(run_of(frames), **fields)
