"""Which pixels of a label map belong to which instrument."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, WordArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.letterbox import frame_to_grid
from clip_rl_perception.scene.nearest import nearest_owner
from clip_rl_perception.scene.types import Instrument, Scene

REACH = 2.0
"""Cells from an instrument's own up to which pixels of its class are its own: interpolation moves borders by one."""

MOST = 255
"""Instruments that a byte can number; those after them own nothing."""


def instrument_owners(scene: Scene, space: LabelSpace) -> ByteArray:
    """Instruments at the size of the frame: i + 1 where a pixel belongs to ``scene.instruments[i]``, else 0.

    A pixel belongs to the nearest instrument of those that are made of its class. One that votes told apart, which has
    keypoints, is made of all classes of its kind, as its footprint is; others of their own class, or of all parts.

    Args:
        scene: as the pipeline made it, with the footprints of its instruments.
        space: its classes.

    Returns:
        uint8 (height, width).
    """
    owners = np.zeros(scene.label_map.shape, np.uint8)
    grid = scene.refined.shape[1:]
    columns, rows = (_cells(scene, axis, grid[1 - axis]) for axis in (0, 1))
    groups: dict[tuple[int, ...], ByteArray] = {}
    for place, tag in enumerate(scene.instruments[:MOST], start=1):
        groups.setdefault(_own_classes(tag, space), np.zeros(grid, np.uint8))[np.asarray(tag.footprint) > 0] = place
    for classes, cells in groups.items():
        owner = nearest_owner(cells, REACH).astype(np.uint8)
        chosen = np.zeros(256, np.uint8)
        chosen[list(classes)] = 255
        # Column by column on the grid, then whole rows: indexing every pixel takes ten times as long.
        cv2.copyTo(owner[:, columns][rows], cv2.LUT(scene.label_map, chosen), owners)
    return owners


def _own_classes(tag: Instrument, space: LabelSpace) -> tuple[int, ...]:
    part = space.classes[tag.class_id].part
    if part or tag.keypoints:
        return tuple(entry.id for entry in space.classes if entry.instrument and entry.part == part)
    return (tag.class_id,)


def track_numbers(owners: ByteArray, instruments: Sequence[Instrument]) -> WordArray:
    """Track ids by pixel, uint16: of its owner as of `instrument_owners`; 0 for none, or one without a track yet.

    Ids beyond 65535 begin again at 1.

    Args:
        owners: uint8 (height, width), of any size.
        instruments: of the same scene.
    """
    numbers = np.zeros(256, np.uint16)
    for place, tag in enumerate(instruments[:MOST], start=1):
        numbers[place] = (tag.track_id - 1) % 0xFFFF + 1 if tag.track_id else 0
    return np.asarray(cv2.LUT(owners, numbers), np.uint16)


def _cells(scene: Scene, axis: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The nearest cell of every pixel along an axis: 0 columns, 1 rows."""
    pixels = np.zeros((scene.label_map.shape[1 - axis], 2))
    pixels[:, axis] = np.arange(len(pixels))
    stride = scene.view.network_size[0] // scene.refined.shape[1]
    return np.clip(np.rint(frame_to_grid(pixels, scene.view, stride)[:, axis]), 0, count - 1).astype(np.intp)
