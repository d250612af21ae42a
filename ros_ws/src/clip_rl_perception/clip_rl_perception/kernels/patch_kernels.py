# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `stereo.patches`: parts of a picture in gray, and which of their samples belong to whom.

Ours, not cv2.resize and cv2.remap: a dozen parts of some thousand samples each cost more in calls than in work.
"""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper

THINNED = 4
"""Pixels of a block's side from which on half of them are read."""


@compiled
def read_parts(image, strides, size, instances, nodes, down, across, shrinks, numbers, reaches, gray, own, free):
    """Gray of parts, what their instruments cover, and what is in sight of them.

    Args:
        image: uint8 (n,), all bytes from the first pixel to the last.
        strides: bytes from one pixel to the one below and to the next one, int64 (2,).
        size: width and height of the image, int64 (2,).
        instances: numbers of instruments, uint16 (h, w), of the whole image at any size.
        nodes: x and y in the image at three rows and columns of each part, float64 (parts, 2, 3, 3), px.
        down: weights of the nodes at each row of a part, float64 (height, 3).
        across: the same of columns, float64 (width, 3).
        shrinks: side of the blocks of pixels that are read as one, int64 (parts,). Of those of four and more, which
            are even, every other row and column is read.
        numbers: of the instrument of each part, int64 (parts,); 0: none.
        reaches: how many columns of each part on either side of its middle are made gray, int64 (parts,).
        gray: gets 0 to 255, float32 (parts, height, width); zeros before, which stay where there is no picture.
        own: gets 1 where the part's instrument is, float32; zeros before.
        free: gets 1 inside the picture where no other instrument is, float32; zeros before.
    """
    height, width = len(down), len(across)
    x, y = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for part in range(len(nodes)):
        if not np.isfinite(nodes[part]).all():
            continue
        _places(nodes[part, 0], down, across, x)
        _places(nodes[part, 1], down, across, y)
        first, end = max(0, width // 2 - reaches[part]), min(width, width // 2 + reaches[part] + 1)
        _read(image, strides, size, x, y, first, end, shrinks[part], gray[part])
        _owners(instances, size, x, y, numbers[part], own[part], free[part])


@helper
def _places(nodes, down, across, places):
    """Parabolas through three rows and columns of `nodes`."""
    for i in range(len(down)):
        a = down[i, 0] * nodes[0, 0] + down[i, 1] * nodes[1, 0] + down[i, 2] * nodes[2, 0]
        b = down[i, 0] * nodes[0, 1] + down[i, 1] * nodes[1, 1] + down[i, 2] * nodes[2, 1]
        c = down[i, 0] * nodes[0, 2] + down[i, 1] * nodes[1, 2] + down[i, 2] * nodes[2, 2]
        for j in range(len(across)):
            places[i, j] = a * across[j, 0] + b * across[j, 1] + c * across[j, 2]


@helper
def _read(image, strides, size, x, y, first, end, shrink, gray):
    """The columns from `first` to before `end`."""
    low_x, high_x = _bounds(x, first, end)
    low_y, high_y = _bounds(y, first, end)
    # Whole blocks around what is needed, inside the picture.
    left = max(0, (math.floor(low_x) - shrink) // shrink * shrink)
    top = max(0, (math.floor(low_y) - shrink) // shrink * shrink)
    right = min(size[0], math.ceil(high_x) + 2 * shrink + 1)
    bottom = min(size[1], math.ceil(high_y) + 2 * shrink + 1)
    if right - left < shrink or bottom - top < shrink:
        return
    columns, rows = (right - left) // shrink, (bottom - top) // shrink
    # Of large blocks every other row and column: their mean is as good, and reading them is what takes time.
    every = 2 if shrink >= THINNED else 1
    blocks = _blocks(image, strides, left, top, columns, rows, shrink, every)
    # Pixels that are read lie half a step before the middle of what they stand for.
    start_x, start_y = np.float32(left - every / 2), np.float32(top - every / 2)
    scale = np.float32(1 / shrink)
    for i in range(gray.shape[0]):
        for j in range(first, end):
            at_x = (x[i, j] - start_x) * scale - np.float32(0.5)
            at_y = (y[i, j] - start_y) * scale - np.float32(0.5)
            column, row = math.floor(at_x), math.floor(at_y)
            b, d = at_x - np.float32(column), at_y - np.float32(row)
            # Beyond the border lies what is at it.
            c0, c1 = min(max(column, 0), columns - 1), min(max(column + 1, 0), columns - 1)
            r0, r1 = min(max(row, 0), rows - 1), min(max(row + 1, 0), rows - 1)
            upper = blocks[r0, c0] + b * (blocks[r0, c1] - blocks[r0, c0])
            lower = blocks[r1, c0] + b * (blocks[r1, c1] - blocks[r1, c0])
            gray[i, j] = upper + d * (lower - upper)


@helper
def _bounds(places, first, end):
    """Least and greatest of some columns, which lie on their border: the map is smooth."""
    low = high = places[0, first]
    for j in range(first, end):
        low = min(low, places[0, j], places[-1, j])
        high = max(high, places[0, j], places[-1, j])
    for i in range(len(places)):
        low = min(low, places[i, first], places[i, end - 1])
        high = max(high, places[i, first], places[i, end - 1])
    return low, high


@helper
def _blocks(image, strides, left, top, columns, rows, shrink, every):
    """Means of blocks of pixels, whole numbers, float32 (rows, columns)."""
    made = np.empty((rows, columns), np.float32)
    step, count = every * strides[1], shrink // every
    used = (columns * shrink - 1) * strides[1] + 1
    scale = np.float32(1 / (count * count))
    down = np.empty(used, np.uint16)
    for r in range(rows):
        # Rows first, all bytes of them though not all count: long vectors are faster than picking.
        at = (top + r * shrink) * strides[0] + left * strides[1]
        row = image[at : at + used]
        for i in range(used):
            down[i] = row[i]
        for _ in range(1, count):
            at += every * strides[0]
            row = image[at : at + used]
            for i in range(used):
                down[i] += row[i]
        i = 0
        for c in range(columns):
            total = 0
            for _ in range(count):
                total += down[i]
                i += step
            # Halves of four are rounded up, others to even: as of cv2.resize.
            made[r, c] = (total + 2) // 4 if count == 2 else np.rint(np.float32(total) * scale)
    return made


@helper
def _owners(instances, size, x, y, number, own, free):
    """By the nearest pixels of `instances`."""
    height, width = instances.shape
    scale_x, scale_y = np.float32(width / size[0]), np.float32(height / size[1])
    last_x, last_y = np.float32(size[0] - 1), np.float32(size[1] - 1)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if not (0 <= x[i, j] <= last_x and 0 <= y[i, j] <= last_y):
                continue
            column = min(int((x[i, j] + np.float32(0.5)) * scale_x), width - 1)
            row = min(int((y[i, j] + np.float32(0.5)) * scale_y), height - 1)
            owner = instances[row, column]
            if owner == 0:
                free[i, j] = 1
            elif owner == number:
                own[i, j] = free[i, j] = 1


@compiled
def border_weights(own, free, radii, weights):
    """What of each part counts: samples about the border of what is its own, where free.

    Args:
        own: 0 or 1, float32 (parts, height, width).
        free: the same.
        radii: how far inside the border samples count, int64 (parts,); outside it is one.
        weights: gets 0 or 1, float32 (parts, height, width).
    """
    count, height, width = own.shape
    near, far = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for part in range(count):
        for i in range(height):
            _most(own[part, i], near[i], 1)
            _least(own[part, i], far[i], radii[part])
        for i in range(height):
            most, least = near[i].copy(), far[i].copy()
            for k in range(max(i - 1, 0), min(i + 2, height)):
                for j in range(width):
                    most[j] = max(most[j], near[k, j])
            for k in range(max(i - radii[part], 0), min(i + radii[part] + 1, height)):
                for j in range(width):
                    least[j] = min(least[j], far[k, j])
            for j in range(width):
                weights[part, i, j] = (most[j] - least[j]) * free[part, i, j]


@helper
def _most(row, made, reach):
    """The most within `reach` of each value."""
    made[:] = row
    for k in range(1, reach + 1):
        for j in range(len(row) - k):
            made[j] = max(made[j], row[j + k])
        for j in range(len(row) - k):
            made[j + k] = max(made[j + k], row[j])


@helper
def _least(row, made, reach):
    """The least within `reach` of each value."""
    made[:] = row
    for k in range(1, reach + 1):
        for j in range(len(row) - k):
            made[j] = min(made[j], row[j + k])
        for j in range(len(row) - k):
            made[j + k] = min(made[j + k], row[j])
