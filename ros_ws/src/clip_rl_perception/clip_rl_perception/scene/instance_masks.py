"""Which pixels of a label map belong to which instrument."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray, WordArray
from clip_rl_perception.kernels.instance_kernels import paint_owners
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
    return _painted(scene, space, np.arange(MOST + 1, dtype=np.uint8))


def track_numbers(scene: Scene, space: LabelSpace) -> WordArray:
    """Track ids by pixel, uint16 (height, width): of its owner; 0 for none, or one without a track yet.

    Ids beyond 65535 begin again at 1. Arguments as of `instrument_owners`.
    """
    numbers = np.zeros(MOST + 1, np.uint16)
    for place, tag in enumerate(scene.instruments[:MOST], start=1):
        numbers[place] = (tag.track_id - 1) % 0xFFFF + 1 if tag.track_id else 0
    return _painted(scene, space, numbers)


def warm_up() -> None:
    """Compile what `track_numbers` and `instrument_owners` need, so that the first frame does not wait for it."""
    labels, group, cells = np.zeros((1, 1), np.uint8), np.zeros(256, np.uint8), np.zeros(1, np.intp)
    for kind in (np.uint8, np.uint16):
        paint_owners(labels, group, np.zeros((1, 1, 1), kind), cells, cells, np.zeros((1, 1), kind))


def _painted(scene: Scene, space: LabelSpace, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`numbers` of owners by pixel: number 0 where nobody is, i + 1 where it is instrument i."""
    grid = scene.refined.shape[1:]
    tags = scene.instruments[:MOST]
    made_of = [_own_classes(tag, space) for tag in tags]
    group = np.zeros(256, np.uint8)
    groups: dict[tuple[int, ...], int] = {}  # instruments that may own a pixel, to their number; classes share them
    for class_id in {class_id for classes in made_of for class_id in classes}:
        members = tuple(place for place, classes in enumerate(made_of) if class_id in classes)
        group[class_id] = groups.setdefault(members, len(groups) + 1)
    owners = np.zeros((len(groups), *grid), numbers.dtype)
    for members, number in groups.items():
        cells = np.zeros(grid, np.uint8)
        for place in members:
            cells[np.asarray(tags[place].footprint) > 0] = place + 1
        owners[number - 1] = numbers[nearest_owner(cells, REACH)]
    columns, rows = (_cells(scene, axis, grid[1 - axis]) for axis in (0, 1))
    painted = np.empty(scene.label_map.shape, numbers.dtype)
    paint_owners(scene.label_map, group, owners, columns, rows, painted)
    return painted


def _own_classes(tag: Instrument, space: LabelSpace) -> tuple[int, ...]:
    part = space.classes[tag.class_id].part
    if part or tag.keypoints:
        return tuple(entry.id for entry in space.classes if entry.instrument and entry.part == part)
    return (tag.class_id,)


def _cells(scene: Scene, axis: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The nearest cell of every pixel along an axis: 0 columns, 1 rows."""
    pixels = np.zeros((scene.label_map.shape[1 - axis], 2))
    pixels[:, axis] = np.arange(len(pixels))
    stride = scene.view.network_size[0] // scene.refined.shape[1]
    return np.clip(np.rint(frame_to_grid(pixels, scene.view, stride)[:, axis]), 0, count - 1).astype(np.intp)
