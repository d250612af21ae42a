"""How many refinement steps frames of different kinds take: from film with instruments to a black screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench.engine_timing import PipelineCandidate, steps_summary

REPEATS = 6
"""How often a camera at rest shows a frame."""


Streams = tuple[tuple[ByteArray, ...], ...]
"""Frames that have something in common; each stream begins without a previous frame, frames are uint8 RGB (height,
width, 3)."""


def kinds_of(film: Sequence[ByteArray], stills: Sequence[ByteArray]) -> dict[str, Streams]:
    """Kinds of frames by name, of a `film` and of `stills`, which are brought to the film's size; hard ones first."""
    height, width = film[0].shape[:2]
    resting = [film[index] for index in sorted({0, len(film) // 3, 2 * len(film) // 3})]
    blurred = tuple(_bytes(cv2.GaussianBlur(frame, (0, 0), width / 40)) for frame in film[: 2 * REPEATS])
    colour = np.mean([frame.reshape(-1, 3).mean(axis=0) for frame in film], axis=0).astype(np.uint8)
    plain, black = np.full_like(film[0], colour), np.zeros_like(film[0])
    return {
        "film": (tuple(film),),
        "camera at rest": tuple((frame,) * REPEATS for frame in resting),
        "stills, each alone": tuple((_bytes(cv2.resize(still, (width, height))),) for still in stills),
        "out of focus": (blurred,),
        "one colour": ((plain,) * REPEATS,),
        "black": ((black,) * REPEATS,),
    }


def measure_kinds(candidate: PipelineCandidate, kinds: Mapping[str, Streams]) -> list[dict[str, Any]]:
    """Steps and their time by kind of frame; see `steps_summary`."""
    rows = []
    for name, streams in kinds.items():
        taken = len(candidate.steps)
        for stream in streams:
            candidate.reset()
            for frame in stream:
                candidate.run(frame)
        steps = candidate.steps[taken:]
        refine_ms = round(float(np.median([ms for _, ms in steps])), 3)
        summary = steps_summary(steps, candidate.engine.info.max_refine_steps)
        rows.append({"kind": name, "refine_ms": refine_ms, **summary})
    candidate.reset()
    return rows


def _bytes(image: Any) -> ByteArray:
    return np.asarray(image, np.uint8)
