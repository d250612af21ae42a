"""From the grid label map to instruments as a robot needs them: class, confidence, box, area, shaft axis, tip.

The work is done on the logit grid, a node of which covers ``(stride / view.scale)**2`` px^2 of the frame: areas are
numbers of nodes times that. Box sides and the tip are then read off the full-size label map, to the pixel, in the cells
where the grid says that they are.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.axis import Axis, fit_axis
from clip_rl_perception.scene.instances import Instance, InstanceConfig, find_instances
from clip_rl_perception.scene.label_map import grid_label_map
from clip_rl_perception.scene.types import Box, ByteArray, FloatArray, Instrument, NetworkView
from clip_rl_perception.scene.view import frame_to_grid, grid_content_mask, grid_to_frame


def find_instruments(
    winners: ByteArray,
    log_probs: FloatArray,
    label_map: ByteArray,
    view: NetworkView,
    space: LabelSpace,
    *,
    temperature: float = 1.0,
    config: InstanceConfig | None = None,
) -> tuple[Instrument, ...]:
    """Find the instruments of a frame, not yet tracked, largest first.

    Confidence is the mean, over an instrument's nodes, of the calibrated probability of its class; for an instrument
    made of parts, of being any part, since `class_id` is then only the part that shows most.

    Args:
        winners: class with the largest value at each node, uint8 (h, w).
        log_probs: refined log-probabilities, float32 (K, h, w).
        label_map: label map of the frame, uint8 (height, width).
        view: where the grid lies in the frame.
        space: the K classes.
        temperature: of the calibration.
        config: limits of what is an instrument.
    """
    content = grid_content_mask(view, view.network_size[0] // winners.shape[0])
    labels = grid_label_map(winners, view)
    return tuple(
        _measure(instance, log_probs, label_map, view, temperature)
        for instance in find_instances(labels, content, space, config)
    )


def _measure(
    instance: Instance, log_probs: FloatArray, label_map: ByteArray, view: NetworkView, temperature: float
) -> Instrument:
    rows, columns = np.nonzero(instance.mask)
    stride = view.network_size[0] // instance.mask.shape[0]
    own = np.zeros(256, bool)
    own[list(instance.class_ids)] = True
    axis = fit_axis(np.stack([columns, rows], axis=-1).astype(np.float64), instance.entry, _border(view, stride))
    tip = _visible_tip(axis, own, label_map, view, stride)
    return Instrument(
        class_id=instance.class_id,
        confidence=_confidence(log_probs[:, rows, columns], instance.class_ids, temperature),
        box=_tight_box(instance.mask, own, label_map, view, stride),
        tip=tip,
        axis=(float(axis.direction[0]), float(axis.direction[1])),
        area=len(rows) * (stride / view.scale) ** 2,
        touches_border=instance.entry is not None,
        footprint=instance.mask.astype(np.uint8),
    )


def _confidence(log_probs: FloatArray, class_ids: tuple[int, ...], temperature: float) -> float:
    """Mean over nodes of the calibrated probability of any of the classes: (K, n) -> [0, 1]."""
    weights = np.exp((log_probs - log_probs.max(axis=0)) / np.float32(temperature))
    return float(np.mean(weights[list(class_ids)].sum(axis=0) / weights.sum(axis=0)))


def _place(column: float, row: float, view: NetworkView, stride: int) -> tuple[float, float]:
    """`grid_to_frame` of one point, without arrays."""
    x, y = (column + 0.5) * stride - view.pad_x, (row + 0.5) * stride - view.pad_y
    return x / view.scale - 0.5 + view.crop.x, y / view.scale - 0.5 + view.crop.y


def _border(view: NetworkView, stride: int) -> npt.NDArray[np.float64]:
    """The content's (left, top, right, bottom) in grid coordinates, (4,)."""
    crop = view.crop
    far = [crop.x + crop.width - 1, crop.y + crop.height - 1]
    return frame_to_grid([[crop.x, crop.y], far], view, stride).reshape(4)


def _visible_tip(
    axis: Axis, own: npt.NDArray[np.bool_], label_map: ByteArray, view: NetworkView, stride: int
) -> tuple[float, float]:
    """Last pixel of the instrument on the line through the tip, (x, y) px."""
    height, width = label_map.shape
    ends = [axis.tip - 3.0 * axis.reach, axis.tip + 1.5 * axis.reach]
    start, stop = grid_to_frame(ends, view, stride)
    count = max(2, int(np.ceil(2 * np.hypot(*(stop - start)))) + 1)
    points = start + np.linspace(0, 1, count)[:, None] * (stop - start)
    x, y = np.rint(points[:, 0]).astype(int), np.rint(points[:, 1]).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    hits = np.flatnonzero(own[label_map[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]] & inside)
    place = points[hits[-1]] if hits.size else grid_to_frame(axis.tip, view, stride)
    return (float(np.clip(place[0], 0, width - 1)), float(np.clip(place[1], 0, height - 1)))


def _tight_box(
    mask: npt.NDArray[np.bool_], own: npt.NDArray[np.bool_], label_map: ByteArray, view: NetworkView, stride: int
) -> Box:
    """Bounding box of the visible pixels.

    A side of the box lies between the outermost nodes of the mask and the next ones beyond: the label map tells where.
    """
    crop = view.crop
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))

    def beyond(across: tuple[float, float], down: tuple[float, float]) -> tuple[int, int, npt.NDArray[np.bool_]]:
        """First pixel and instrument mask of the frame between grid columns and rows."""
        near = _place(across[0], down[0], view, stride)
        far = _place(across[1], down[1], view, stride)
        x0, y0 = max(crop.x, math.floor(near[0])), max(crop.y, math.floor(near[1]))
        x1 = min(crop.x + crop.width, math.ceil(far[0]) + 1)
        y1 = min(crop.y + crop.height, math.ceil(far[1]) + 1)
        return x0, y0, own[label_map[y0:y1, x0:x1]]

    def span(line: npt.NDArray[np.bool_]) -> tuple[float, float]:
        places = np.flatnonzero(line)
        return float(places[0] - 1), float(places[-1] + 1)

    left, right, top, bottom = float(columns[0]), float(columns[-1]), float(rows[0]), float(rows[-1])
    (fallback_left, fallback_top), (fallback_right, fallback_bottom) = np.rint(
        grid_to_frame([[left - 0.5, top - 0.5], [right + 0.5, bottom + 0.5]], view, stride)
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
