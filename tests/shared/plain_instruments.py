"""What `kernels.instrument_kernels` computes, written down plainly with arrays: yardstick of test_compiled_scene.py."""

from __future__ import annotations

import math

import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray
from clip_rl_perception.scene.letterbox import grid_to_frame
from clip_rl_perception.scene.types import Box, Letterbox


def visible_tip(
    tip: DoubleArray, reach: DoubleArray, own: BoolArray, label_map: ByteArray, view: Letterbox
) -> tuple[float, float]:
    """Last pixel of the instrument on the line through the tip, (x, y) px."""
    height, width = label_map.shape
    ends = [tip - 3.0 * reach, tip + 1.5 * reach]
    start, stop = grid_to_frame(ends, view)
    count = max(2, int(np.ceil(2 * np.hypot(*(stop - start)))) + 1)
    points = start + np.linspace(0, 1, count)[:, None] * (stop - start)
    x, y = np.rint(points[:, 0]).astype(int), np.rint(points[:, 1]).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    hits = np.flatnonzero(own[label_map[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]] & inside)
    place = points[hits[-1]] if hits.size else grid_to_frame(tip, view)
    return (float(np.clip(place[0], 0, width - 1)), float(np.clip(place[1], 0, height - 1)))


def tight_box(mask: BoolArray, own: BoolArray, label_map: ByteArray, view: Letterbox) -> Box:
    """Bounding box of the visible pixels.

    A side of the box lies between the outermost nodes of the mask and the next ones beyond: the label map tells where.
    """
    crop = view.crop
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))

    def beyond(across: tuple[float, float], down: tuple[float, float]) -> tuple[int, int, BoolArray]:
        """First pixel and instrument mask of the frame between grid columns and rows."""
        near, far = grid_to_frame([[across[0], down[0]], [across[1], down[1]]], view).tolist()
        x0, y0 = max(crop.x, math.floor(near[0])), max(crop.y, math.floor(near[1]))
        x1 = min(crop.x + crop.width, math.ceil(far[0]) + 1)
        y1 = min(crop.y + crop.height, math.ceil(far[1]) + 1)
        return x0, y0, own[label_map[y0:y1, x0:x1]]

    def span(line: BoolArray) -> tuple[float, float]:
        places = np.flatnonzero(line)
        return float(places[0] - 1), float(places[-1] + 1)

    left, right, top, bottom = float(columns[0]), float(columns[-1]), float(rows[0]), float(rows[-1])
    (fallback_left, fallback_top), (fallback_right, fallback_bottom) = np.rint(
        grid_to_frame([[left - 0.5, top - 0.5], [right + 0.5, bottom + 0.5]], view)
    ).astype(int)
    x0, _, seen = beyond((left - 1, left), span(mask[:, columns[0]]))
    box_left = x0 + int(seen.any(axis=0).argmax()) if seen.any() else fallback_left
    x0, _, seen = beyond((right, right + 1), span(mask[:, columns[-1]]))
    box_right = x0 + int(np.flatnonzero(seen.any(axis=0))[-1]) if seen.any() else fallback_right
    _, y0, seen = beyond(span(mask[rows[0]]), (top - 1, top))
    box_top = y0 + int(seen.any(axis=1).argmax()) if seen.any() else fallback_top
    _, y0, seen = beyond(span(mask[rows[-1]]), (bottom, bottom + 1))
    box_bottom = y0 + int(np.flatnonzero(seen.any(axis=1))[-1]) if seen.any() else fallback_bottom
    box_left = min(max(int(box_left), crop.x), crop.x + crop.width - 1)
    box_top = min(max(int(box_top), crop.y), crop.y + crop.height - 1)
    box_right = min(max(int(box_right), box_left), crop.x + crop.width - 1)
    box_bottom = min(max(int(box_bottom), box_top), crop.y + crop.height - 1)
    return Box(box_left, box_top, box_right - box_left + 1, box_bottom - box_top + 1)
