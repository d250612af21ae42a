# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `instances`: which cells of the logit grid belong together.

One pass labels connected areas (`area_kernels`); everything after it works on lists of an area's cells, divided between
the instruments that enter there (`entry_kernels`). What is divided, and why, is told in `instances`.

Notation: (h, w) grid, cell number r * w + c; a group is what may form one instrument together. Loops are spelled out:
array expressions would run as fast and take several times as long to compile.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.area_kernels import connected
from clip_rl_perception.kernels.compiled import compiled, helper
from clip_rl_perception.kernels.entry_kernels import ENTRY, by_entry


@compiled
def divide(labels, content, group_of, least_area, substantial, entry_gap, straight):
    """Divide a grid into pieces: instruments, and fragments that `piece_kernels.join` may give to one.

    Args:
        labels: class ids, uint8 (h, w).
        content: nodes that show the patient, bool (h, w); nothing else is looked at.
        group_of: group of each class id, uint8 (256,); 0 is no instrument.
        least_area: `InstanceConfig.min_area`.
        substantial: of the same, like the following ones.
        entry_gap: cells.
        straight: cosine.

    Returns:
        Piece of each cell, int32 (h * w,), -1 for none; of each piece its group, int64 (p,), its entry (column, row),
        float64 (p, 2), NaN where there is none, and whether there is one, float64 (p,); cells of the smallest one.
    """
    height, width = labels.shape
    grouped = np.zeros(height * width, np.uint8)
    rim = np.zeros(height * width, np.uint8)
    everywhere = np.zeros(height * width, np.int32)
    smallest = max(1.0, least_area * _look(labels, content, group_of, grouped, rim))
    cells, starts = connected(grouped, everywhere, everywhere, height, width)

    piece_of = np.full(height * width, -1, np.int32)
    groups, entries, has_entry = np.zeros(len(cells), np.int64), np.full((len(cells), 2), np.nan), np.zeros(len(cells))
    own, found = np.empty(len(cells), np.int32), np.empty((len(cells), ENTRY))
    counts = np.zeros(256, np.int64)
    count = np.int64(0)
    for area in range(len(starts) - 1):
        first, last = starts[area], starts[area + 1]
        size = last - first
        counts[:] = 0
        for j in range(first, last):
            counts[grouped[cells[j]]] += 1
        most = 0
        for group in range(1, 256):
            if counts[group] > counts[most]:
                most = group
        least = min(float(size), max(smallest, substantial * size))
        kept = 0
        for group in range(1, 256):
            kept += counts[group] >= least
        if size < smallest or kept <= 1:
            kept = 1
            counts[most] = size
            least = float(size)
        else:
            _join_nearest(cells, first, last, grouped, counts, least, width)
        for group in range(1, 256):
            if counts[group] < least:
                continue
            n = np.int64(0)
            for j in range(first, last):
                if kept == 1 or grouped[cells[j]] == group:
                    own[n] = cells[j]
                    n += 1
            # What is no instrument by itself may be a fragment of one beside it, wherever it lies.
            n_found = 0
            if size >= smallest:
                n_found = by_entry(own, n, rim, everywhere, found, height, width, substantial, entry_gap, straight)
            for i in range(max(1, n_found)):
                groups[count + i] = group
                if n_found:
                    has_entry[count + i] = 1
                    entries[count + i, 0], entries[count + i, 1] = found[i, 0], found[i, 1]
            for j in range(n):
                piece_of[own[j]] = count + (everywhere[own[j]] if n_found > 1 else 0)
            count += max(1, n_found)
    return piece_of, groups[:count], entries[:count], has_entry[:count], smallest


@helper
def _look(labels, content, group_of, grouped, rim):
    """Write the group of each cell, and which cells touch the content's border; returns how many the content has."""
    height, width = labels.shape
    shown = 0
    for r in range(height):
        for c in range(width):
            if not content[r, c]:
                continue
            shown += 1
            grouped[r * width + c] = group_of[labels[r, c]]
            inner = 0 < r < height - 1 and 0 < c < width - 1
            if inner:
                inner = content[r - 1, c] and content[r + 1, c] and content[r, c - 1] and content[r, c + 1]
            rim[r * width + c] = not inner
    return shown


@helper
def _join_nearest(cells, first, last, grouped, counts, least, width):
    """Give cells of groups that cover too little to the group of the nearest cell of one that covers enough.

    Of several equally near ones, to the first.
    """
    nearest = np.zeros(last - first, np.uint8)
    for i in range(first, last):
        if counts[grouped[cells[i]]] >= least:
            continue
        r, c = cells[i] // width, cells[i] % width
        best = 1 << 40
        # Cells are in raster order: from here backwards and onwards, until all others lie in rows too far away.
        for j in range(i - 1, first - 1, -1):
            dr, dc = r - cells[j] // width, cells[j] % width - c
            if dr * dr > best:
                break
            if counts[grouped[cells[j]]] >= least and dr * dr + dc * dc <= best:
                best = dr * dr + dc * dc
                nearest[i - first] = grouped[cells[j]]
        for j in range(i + 1, last):
            dr, dc = cells[j] // width - r, cells[j] % width - c
            if dr * dr >= best:
                break
            if counts[grouped[cells[j]]] >= least and dr * dr + dc * dc < best:
                best = dr * dr + dc * dc
                nearest[i - first] = grouped[cells[j]]
    for i in range(first, last):
        if nearest[i - first]:
            grouped[cells[i]] = nearest[i - first]
