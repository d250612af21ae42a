# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops that find connected areas of a grid's cells. Notation: (h, w) grid, cell number r * w + c."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import helper


@helper
def connected(covered, kind, number, height, width):
    """Areas of covered cells of one kind that touch at sides or corners, the area with the first cell first.

    Returns cells int32 (n,), in raster order within each area, and starts int64 of each area's. Writes each cell's area
    into `number`, which may be `kind`.
    """
    parent = np.full(height * width, -1, np.int32)
    total = 0
    for r in range(height):
        for c in range(width):
            cell = r * width + c
            if not covered[cell]:
                continue
            total += 1
            parent[cell] = cell
            for j in range(4):
                dr, dc = (0, -1) if j == 0 else (-1, j - 2)
                if r + dr < 0 or c + dc < 0 or c + dc >= width:
                    continue
                other = cell + dr * width + dc
                if parent[other] >= 0 and kind[other] == kind[cell]:
                    one, two = _root(parent, cell), _root(parent, other)
                    # The smaller number is the root: areas come in the order of their first cells.
                    parent[max(one, two)] = min(one, two)
    starts = np.zeros(total + 2, np.int64)
    count = 0
    for cell in range(height * width):
        if parent[cell] < 0:
            continue
        if parent[cell] == cell:
            number[cell] = count
            count += 1
        else:
            number[cell] = number[_root(parent, cell)]
        starts[number[cell] + 2] += 1
    # Shifted by one, so that filling moves each start to where it belongs.
    for i in range(1, count + 1):
        starts[i + 1] += starts[i]
    cells = np.empty(total, np.int32)
    for cell in range(height * width):
        if parent[cell] >= 0:
            cells[starts[number[cell] + 1]] = cell
            starts[number[cell] + 1] += 1
    return cells, starts[: count + 1]


@helper
def _root(parent, index):
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
