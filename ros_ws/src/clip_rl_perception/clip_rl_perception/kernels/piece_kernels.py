# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `instances`: from pieces to instruments, with their fragments."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper


@compiled
def join(piece_of, groups, entries, has_entry, smallest, labels, group_of, parts, fragment_gap):
    """Join fragments with their instruments, and list the cells of those that are large enough.

    Args:
        piece_of: from `instance_kernels.divide`, as `groups`, `entries`, `has_entry` and `smallest`.
        groups: the same.
        entries: the same.
        has_entry: the same.
        smallest: the same.
        labels: class ids, uint8 (h, w).
        group_of: group of each class id, uint8 (256,).
        parts: the group of all part classes.
        fragment_gap: `InstanceConfig.fragment_gap`.

    Returns:
        cells int32 (n,) of all instruments, in raster order within each; starts int64 (m + 1) of each instrument's;
        groups int64 (m,); class ids int64 (m,); entries float64 (m, 2) of (column, row), NaN where there is none.
        Largest instrument first.
    """
    height, width = labels.shape
    count = len(groups)
    joined = _join_fragments(piece_of, groups, has_entry, count, height, width, fragment_gap)
    sizes, order, place = np.zeros(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    for cell in range(height * width):
        if piece_of[cell] >= 0:
            sizes[joined[piece_of[cell]]] += 1
    kept = 0
    for i in range(count):
        place[i] = -1
        if sizes[i] < smallest:
            continue
        j = kept
        # Those with an entry come first among equals.
        while j > 0 and 2 * sizes[order[j - 1]] + has_entry[order[j - 1]] < 2 * sizes[i] + has_entry[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
        kept += 1
    starts, out_groups, out_entries = np.zeros(kept + 2, np.int64), np.empty(kept, np.int64), np.empty((kept, 2))
    for i in range(kept):
        place[order[i]] = i
        starts[i + 2] = starts[i + 1] + sizes[order[i]]
        out_groups[i] = groups[order[i]]
        out_entries[i, 0], out_entries[i, 1] = entries[order[i], 0], entries[order[i], 1]
    cells, votes = np.empty(starts[kept + 1], np.int32), np.zeros((kept, 256), np.int32)
    for cell in range(height * width):
        if piece_of[cell] < 0:
            continue
        i = place[joined[piece_of[cell]]]
        if i >= 0:
            cells[starts[i + 1]] = cell
            starts[i + 1] += 1
            votes[i, labels[cell // width, cell % width]] += 1
    class_ids = np.empty(kept, np.int64)
    for i in range(kept):
        class_ids[i] = out_groups[i] - 1
        if out_groups[i] == parts:
            class_ids[i] = -1
            for k in range(256):
                if group_of[k] == parts and (class_ids[i] < 0 or votes[i, k] > votes[i, class_ids[i]]):
                    class_ids[i] = k
    return cells, starts[: kept + 1], out_groups, class_ids, out_entries


@helper
def _join_fragments(piece_of, groups, has_entry, count, height, width, gap):
    """Give pieces without an entry to the instrument of their group that they lie beside: claspers to their wrist.

    Returns which piece each piece becomes a part of.
    """
    joined, seen = np.empty(count, np.int64), np.empty(count, np.int64)
    whole = 0
    for i in range(count):
        joined[i], seen[i] = i, -1
        whole += has_entry[i] > 0
    if whole == 0 or whole == count:
        return joined
    beside = np.zeros((count, count), np.int32)
    for cell in range(height * width):
        piece = piece_of[cell]
        if piece < 0 or has_entry[piece]:
            continue
        r, c = cell // width, cell % width
        for y in range(max(0, r - gap - 1), min(height, r + gap + 2)):
            for x in range(max(0, c - gap - 1), min(width, c + gap + 2)):
                other = piece_of[y * width + x]
                if other >= 0 and has_entry[other] and groups[other] == groups[piece] and seen[other] != cell:
                    seen[other] = cell
                    beside[piece, other] += 1
    for i in range(count):
        most = 0
        for j in range(count):
            if beside[i, j] > most:
                most = beside[i, j]
                joined[i] = j
    return joined
