# mypy: disable-error-code="no-untyped-def"
"""The compiled loop of `instance_masks`: whose each pixel is."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled


@compiled
def paint_owners(labels, group, owners, columns, rows, painted):
    """Paint the frame with what cells of the grid hold.

    Args:
        labels: the label map, uint8 (height, width).
        group: g + 1 for classes whose instruments are those of `owners[g]`, 0 for others, uint8 (256,).
        owners: what a pixel gets in each cell, (G, h, w).
        columns: cell of every column, int64 (width,).
        rows: cell of every row, int64 (height,).
        painted: gets (height, width), of the type of `owners`.
    """
    height, width = labels.shape
    line = np.zeros((owners.shape[0] + 1, width), owners.dtype)  # a row of cells, drawn out to pixels; line 0 is empty
    drawn, empty = -1, True
    for y in range(height):
        if rows[y] != drawn:
            drawn, empty = rows[y], True
            for g in range(owners.shape[0]):
                for x in range(width):
                    line[g + 1, x] = owners[g, drawn, columns[x]]
                    if line[g + 1, x] != 0:
                        empty = False
        if empty:
            painted[y] = 0
        else:
            for x in range(width):
                painted[y, x] = line[group[labels[y, x]], x]
