"""Close-ups of single instruments, cut out of whole scenes: what their names are learned from and tested on.

A close-up from which nobody could tell the type neither teaches nor tests a name. So the tip must be in sight and not
tiny, no other instrument may compete with it, and the picture must not be dark or fogged throughout.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import (
    PART_CLASPER,
    PART_WRIST,
    SUCTION,
    TYPE_NAMES,
    SyntheticFrame,
    as_floats,
)

LEAST_PIXELS = 150
"""Pixels of its jaws that an instrument must show to be told from others."""

_MOST_OF_OTHERS = 0.2
"""Pixels of other instruments in a close-up, relative to those of the one that it shows."""

_LEAST_RANGE = 40.0
"""Range from the 2nd to the 98th percentile of brightness, of 255, below which a close-up shows hardly anything."""


def nameable_instruments(frame: SyntheticFrame, least: int = LEAST_PIXELS) -> list[int]:
    """Instance ids whose tip is in sight with at least `least` pixels, rising.

    The tip is clasper and wrist, and both must show: shafts look alike. A suction tube is nothing but its tube; it
    counts where its end lies in the picture.
    """
    found = []
    for instance in np.unique(frame.instance_map):
        if instance == 0:
            continue
        mask = frame.instance_map == instance
        type_id = int(frame.type_map[mask][0])
        if type_id > len(TYPE_NAMES):  # a cut-out of unknown type
            continue
        if type_id == SUCTION:
            if mask.sum() >= 4 * least and _borders_touched(mask) == 1:
                found.append(int(instance))
            continue
        parts = frame.part_map[mask]
        if (parts == PART_CLASPER).sum() >= least and (parts == PART_WRIST).sum() >= least // 3:
            found.append(int(instance))
    return found


def sample_close_up(frame: SyntheticFrame, rng: np.random.Generator) -> tuple[SyntheticFrame, int] | None:
    """A close-up of one of the scene's instruments, and its type id; None where the scene allows none.

    Args:
        frame: The scene.
        rng: Draws which instrument, how close and how far off the centre.
    """
    for instance in rng.permutation(nameable_instruments(frame)):
        crop = instrument_crop(frame, int(instance), rng)
        if tells_its_type(crop, int(instance)):
            return crop, int(crop.type_map[crop.instance_map == instance][0])
    return None


def tells_its_type(crop: SyntheticFrame, instance: int) -> bool:
    """Whether a close-up shows `instance`, hardly anything of other instruments, and is not dark or fogged."""
    own = int((crop.instance_map == instance).sum())
    others = int((crop.type_map > 0).sum()) - own
    coarse = cv2.resize(crop.rgb, (24, 24), interpolation=cv2.INTER_AREA)  # noise is no detail
    low, high = np.percentile(coarse.mean(axis=2), (2, 98))
    return own > 0 and others <= _MOST_OF_OTHERS * own and bool(high - low >= _LEAST_RANGE)


def _borders_touched(mask: BoolArray) -> int:
    return sum(bool(edge.any()) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def instrument_crop(frame: SyntheticFrame, instance: int, rng: np.random.Generator) -> SyntheticFrame:
    """A close-up of one instrument's tip with some of its surroundings; the caption names its type alone.

    Args:
        frame: The scene.
        instance: One of `nameable_instruments`.
        rng: Draws how close and how far off the centre.
    """
    mask = frame.instance_map == instance
    type_id = int(frame.type_map[mask][0])
    box = _tip_box(mask, frame.part_map, type_id)
    extent = max(float((box[2:] - box[:2]).max()), 24.0)
    side = min(extent * rng.uniform(1.1, 1.7), float(min(mask.shape)))
    center = (box[:2] + box[2:]) / 2 + rng.uniform(-0.12, 0.12, 2) * side
    height, width = mask.shape
    left = int(np.clip(center[0] - side / 2, 0, width - side))
    top = int(np.clip(center[1] - side / 2, 0, height - side))
    window = (slice(top, top + int(side)), slice(left, left + int(side)))

    def cut(plane: ByteArray) -> ByteArray:
        return np.ascontiguousarray(plane[window])

    caption = f"a photo of a {TYPE_NAMES[type_id - 1]} in endoscopic surgery"
    return dataclasses.replace(frame.mapped(cut, cut), caption=caption)


def _tip_box(mask: BoolArray, parts: ByteArray, type_id: int) -> FloatArray:
    """Left, top, right, bottom of what tells the type."""
    if type_id == SUCTION:
        # The end of the tube: the pixels farthest from the border it comes in by.
        rows, columns = np.nonzero(mask)
        height, width = mask.shape
        distance = np.minimum.reduce((rows, columns, height - 1 - rows, width - 1 - columns))
        near = np.flatnonzero(distance >= distance.max() * 0.6)
        rows, columns = rows[near], columns[near]
    else:
        rows, columns = np.nonzero(mask & (parts >= PART_WRIST))
    return as_floats([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
