# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, assignment, arg-type"
"""Compiled loops of `instruments`: boxes, tips and probabilities of all instruments of a frame.

Notation: instrument i covers `cells[starts[i] : starts[i + 1]]` of the (h, w) grid, cell number r * w + c; `own[i]`
tells which values of the label map are its own. `place` is what `letterbox.grid_to_frame` needs: stride, scale, pad.
"""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper


@compiled
def locate(cells, starts, own, axes, label_map, place, crop, footprints, boxes, tips):
    """Draw footprints on the grid, and read boxes and tips off the label map.

    Args:
        cells: int32 (n,).
        starts: int64 (m + 1,).
        own: bool (m, 256).
        axes: as of `axis.fit_axis`, float64 (m, 6).
        label_map: uint8 (height, width).
        place: float64 (4,).
        crop: x, y, width and height of the content in the frame, int64 (4,).
        footprints: gets uint8 0 or 1 (m, h, w); zeros before.
        boxes: gets x, y, width and height, int64 (m, 4).
        tips: gets (x, y), float64 (m, 2), px.
    """
    width = footprints.shape[2]
    for i in range(len(starts) - 1):
        for j in range(starts[i], starts[i + 1]):
            footprints[i, cells[j] // width, cells[j] % width] = 1
        _tight_box(cells, starts[i], starts[i + 1], width, own, i, label_map, place, crop, boxes)
        _visible_tip(axes, own, i, label_map, place, crop, tips)


@helper
def _to_frame(grid, place, axis, crop):
    """`grid_to_frame` of one coordinate: a column (axis 0) or a row (axis 1)."""
    return ((grid + 0.5) * place[0] - place[2 + axis]) / place[1] - 0.5 + crop[axis]


@helper
def _visible_tip(axes, own, i, label_map, place, crop, tips):
    """Last pixel of the instrument on the line through the tip, (x, y) px."""
    height, width = label_map.shape
    tip_x, tip_y, reach_x, reach_y = axes[i, 2], axes[i, 3], axes[i, 4], axes[i, 5]
    start_x, start_y = _to_frame(tip_x - 3 * reach_x, place, 0, crop), _to_frame(tip_y - 3 * reach_y, place, 1, crop)
    stop_x = _to_frame(tip_x + 1.5 * reach_x, place, 0, crop)
    stop_y = _to_frame(tip_y + 1.5 * reach_y, place, 1, crop)
    far_x, far_y = stop_x - start_x, stop_y - start_y
    count = max(2, math.ceil(2 * math.sqrt(far_x * far_x + far_y * far_y)) + 1)
    found_x, found_y = _to_frame(tip_x, place, 0, crop), _to_frame(tip_y, place, 1, crop)
    for k in range(count - 1, -1, -1):
        part = 1.0 if k == count - 1 else k * (1.0 / (count - 1))
        x, y = start_x + part * far_x, start_y + part * far_y
        column, row = int(np.rint(x)), int(np.rint(y))
        if 0 <= column < width and 0 <= row < height and own[i, label_map[row, column]]:
            found_x, found_y = x, y
            break
    tips[i, 0] = min(max(found_x, 0.0), width - 1.0)
    tips[i, 1] = min(max(found_y, 0.0), height - 1.0)


@helper
def _tight_box(cells, first, last, width, own, i, label_map, place, crop, boxes):
    """Bounding box of the visible pixels.

    A side of the box lies between the outermost nodes of the mask and the next ones beyond: the label map tells where.
    """
    left = right = cells[first] % width
    top, bottom = cells[first] // width, cells[last - 1] // width
    for j in range(first, last):
        left, right = min(left, cells[j] % width), max(right, cells[j] % width)
    # Where the outermost columns and rows begin and end.
    at_left, at_right, at_top, at_bottom = (1 << 30, -1), (1 << 30, -1), (1 << 30, -1), (1 << 30, -1)
    for j in range(first, last):
        r, c = cells[j] // width, cells[j] % width
        if c == left:
            at_left = (min(at_left[0], r), max(at_left[1], r))
        if c == right:
            at_right = (min(at_right[0], r), max(at_right[1], r))
        if r == top:
            at_top = (min(at_top[0], c), max(at_top[1], c))
        if r == bottom:
            at_bottom = (min(at_bottom[0], c), max(at_bottom[1], c))
    x0, _ = _seen(left - 1, left, at_left[0] - 1, at_left[1] + 1, 0, own, i, label_map, place, crop)
    _, x1 = _seen(right, right + 1, at_right[0] - 1, at_right[1] + 1, 0, own, i, label_map, place, crop)
    y0, _ = _seen(at_top[0] - 1, at_top[1] + 1, top - 1, top, 1, own, i, label_map, place, crop)
    _, y1 = _seen(at_bottom[0] - 1, at_bottom[1] + 1, bottom, bottom + 1, 1, own, i, label_map, place, crop)
    # Nothing of it to be seen there: the edges of the nodes.
    if x0 < 0:
        x0 = int(np.rint(_to_frame(left - 0.5, place, 0, crop)))
    if x1 < 0:
        x1 = int(np.rint(_to_frame(right + 0.5, place, 0, crop)))
    if y0 < 0:
        y0 = int(np.rint(_to_frame(top - 0.5, place, 1, crop)))
    if y1 < 0:
        y1 = int(np.rint(_to_frame(bottom + 0.5, place, 1, crop)))
    x0 = min(max(x0, crop[0]), crop[0] + crop[2] - 1)
    y0 = min(max(y0, crop[1]), crop[1] + crop[3] - 1)
    x1 = min(max(x1, x0), crop[0] + crop[2] - 1)
    y1 = min(max(y1, y0), crop[1] + crop[3] - 1)
    boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = x0, y0, x1 - x0 + 1, y1 - y0 + 1


@helper
def _seen(left, right, top, bottom, axis, own, i, label_map, place, crop):
    """First and last column (axis 0) or row (axis 1) with pixels of the instrument between grid columns and rows.

    (-1, -1) where there are none.
    """
    x0 = max(crop[0], math.floor(_to_frame(left, place, 0, crop)))
    y0 = max(crop[1], math.floor(_to_frame(top, place, 1, crop)))
    x1 = min(crop[0] + crop[2], math.ceil(_to_frame(right, place, 0, crop)) + 1)
    y1 = min(crop[1] + crop[3], math.ceil(_to_frame(bottom, place, 1, crop)) + 1)
    first, last = np.int64(-1), np.int64(-1)
    for y in range(y0, y1):
        for x in range(x0, x1):
            if own[i, label_map[y, x]]:
                at = x if axis == 0 else y
                first = at if first < 0 else min(first, at)
                last = max(last, at)
    return first, last


@compiled
def relative_log_probs(log_probs, cells, sharpness):
    """Calibrated log-probabilities at cells less the largest of each: float32 (h, w, K) -> float32 (K, n)."""
    _, width, classes = log_probs.shape
    found, most = np.empty((classes, len(cells)), np.float32), np.empty(len(cells), np.float32)
    for k in range(classes):
        for j in range(len(cells)):
            value = log_probs[cells[j] // width, cells[j] % width, k]
            found[k, j] = value
            most[j] = value if k == 0 else max(value, most[j])
    for k in range(classes):
        for j in range(len(cells)):
            found[k, j] = (found[k, j] - most[j]) * sharpness
    return found


@compiled
def mean_probabilities(weights, starts, own):
    """Mean over an instrument's cells of the share of its own classes: float32 (K, n) -> float64 (m,)."""
    means = np.zeros(len(starts) - 1)
    for i in range(len(starts) - 1):
        for j in range(starts[i], starts[i + 1]):
            mine = total = np.float32(0)
            for k in range(weights.shape[0]):
                total += weights[k, j]
                if own[i, k]:
                    mine += weights[k, j]
            means[i] += mine / total
        means[i] /= starts[i + 1] - starts[i]
    return means
