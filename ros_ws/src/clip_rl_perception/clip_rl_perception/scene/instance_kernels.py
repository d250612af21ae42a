# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `instances`: which cells of the logit grid belong together.

One pass labels connected areas; everything after it works on lists of an area's cells. What is divided, and why, is
told in `instances`.

Notation: (h, w) grid, cell number r * w + c; a group is what may form one instrument together; an entry is a row of
`_ENTRY` numbers: place x, y, direction x, y, cells in contact, connected piece. Loops are
spelled out: array expressions would run as fast and take several times as long to compile.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.scene.compiled import compiled, helper

_NEARNESS = 0.015
"""What a cell's distance from an entry counts, per cell, beside its distance from the shaft's line over the width."""
_ENTRY = 6
"""Numbers of an entry."""


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
    cells, starts = _connected(grouped, everywhere, everywhere, height, width)

    piece_of = np.full(height * width, -1, np.int32)
    groups, entries, has_entry = np.zeros(len(cells), np.int64), np.full((len(cells), 2), np.nan), np.zeros(len(cells))
    own, found = np.empty(len(cells), np.int32), np.empty((len(cells), _ENTRY))
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
                n_found = _by_entry(own, n, rim, everywhere, found, height, width, substantial, entry_gap, straight)
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
def _root(parent, index):
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


@helper
def _connected(covered, kind, number, height, width):
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


@helper
def _by_entry(cells, n, rim, owner, found, height, width, substantial, entry_gap, straight):
    """Divide n cells of one group between its entries at the border.

    Writes the entries into `found` and, where they are several, each cell's into `owner`; returns their number.
    """
    touching = np.empty(n, np.int32)
    run_of = np.empty(n, np.int32)
    runs, contacts = _contacts(cells, n, rim, width, entry_gap, touching, run_of)
    for i in range(runs):
        for j in range(_ENTRY):
            found[i, j] = 0
    for i in range(contacts):
        found[run_of[i], 0] += touching[i] % width
        found[run_of[i], 1] += touching[i] // width
        found[run_of[i], 4] += 1
    for i in range(runs):
        found[i, 0] /= found[i, 4]
        found[i, 1] /= found[i, 4]
    if runs <= 1:  # the usual case needs no direction
        return runs
    covered = np.zeros(height * width, np.uint8)
    for j in range(n):
        covered[cells[j]] = 1
        owner[cells[j]] = 0
    pieces, starts = _connected(covered, owner, owner, height, width)
    count = _distinct(touching, run_of, contacts, runs, pieces, starts, owner, found, width, straight)
    while count > 1:
        weakest, size = _own(found, count, pieces, starts, owner, width)
        # An entry that owns little is a frayed border, not an instrument: without the smallest, try again.
        if size >= substantial * n / count:
            break
        count -= 1
        for i in range(weakest, count):
            for j in range(_ENTRY):
                found[i, j] = found[i + 1, j]
    return count


@helper
def _contacts(cells, n, rim, width, entry_gap, touching, run_of):
    """Write the cells in contact with the border and the stretch that each belongs to; returns both numbers.

    Cells up to a gap apart belong to one: dilated by half the gap from both sides, they would meet.
    """
    count = 0
    for j in range(n):
        if rim[cells[j]]:
            touching[count] = cells[j]
            run_of[count] = -1
            count += 1
    reach = 2 * ((entry_gap + 1) // 2) + 1
    waiting = np.empty(count, np.int32)
    runs = 0
    for first in range(count):
        if run_of[first] >= 0:
            continue
        run_of[first] = runs
        waiting[0] = first
        left = 1
        while left > 0:
            left -= 1
            r, c = touching[waiting[left]] // width, touching[waiting[left]] % width
            for i in range(first + 1, count):
                dr, dc = touching[i] // width - r, touching[i] % width - c
                if dr > reach:
                    break
                if run_of[i] < 0 and abs(dr) <= reach and abs(dc) <= reach:
                    run_of[i] = runs
                    waiting[left] = i
                    left += 1
        runs += 1
    return runs, count


@helper
def _distinct(touching, run_of, contacts, runs, pieces, starts, piece_of, found, width, straight):
    """Complete entries by their pieces and directions, and leave out second ends of one instrument.

    The longest entry comes first; opposite ones in line with each other count once. Returns how many remain.
    """
    for i in range(runs):
        votes = np.zeros(len(starts) - 1, np.int64)
        piece = -1
        for j in range(contacts):
            if run_of[j] == i:
                votes[piece_of[touching[j]]] += 1
        for k in range(len(votes)):
            if piece < 0 or votes[k] > votes[piece]:
                piece = k
        found[i, 5] = piece
        _set_direction(pieces, starts[piece], starts[piece + 1], width, found, i)
    for i in range(1, runs):
        j = i
        while j > 0 and found[j - 1, 4] < found[j, 4]:
            for k in range(_ENTRY):
                found[j - 1, k], found[j, k] = found[j, k], found[j - 1, k]
            j -= 1
    count = 0
    for i in range(runs):
        across = False
        for j in range(count):
            if found[j, 5] != found[i, 5] or found[j, 2] * found[i, 2] + found[j, 3] * found[i, 3] >= -straight:
                continue
            if _off_line(found[i, 0], found[i, 1], found, j) < 0.7 * max(found[j, 4], found[i, 4]):
                across = True
        if not across:
            for k in range(_ENTRY):
                found[count, k] = found[i, k]
            count += 1
    return count


@helper
def _set_direction(cells, first, last, width, found, i):
    """Unit vector from a contact into the instrument: the long axis of the cells near it, or their mean direction."""
    x, y, radius = found[i, 0], found[i, 1], max(4.0, 2.0 * found[i, 4])
    n = mean_x = mean_y = xx = xy = yy = 0.0
    for j in range(first, last):
        dx, dy = cells[j] % width - x, cells[j] // width - y
        if np.sqrt(dx * dx + dy * dy) <= radius:
            n += 1
            mean_x += dx
            mean_y += dy
            xx += dx * dx
            xy += dx * dy
            yy += dy * dy
    n = max(n, 1.0)
    mean_x /= n
    mean_y /= n
    xx -= n * mean_x * mean_x
    xy -= n * mean_x * mean_y
    yy -= n * mean_y * mean_y
    spread = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    # Variances along and across, with n - 1 degrees of freedom.
    if n >= 6 and xx + yy + spread > 2.0 * max(xx + yy - spread, 2e-9 * (n - 1)):
        # The eigenvector of the larger eigenvalue, from whichever row of the matrix is safer.
        if xx >= yy:
            axis_x, axis_y = xx - yy + spread, 2 * xy
        else:
            axis_x, axis_y = 2 * xy, yy - xx + spread
        norm = np.sqrt(axis_x * axis_x + axis_y * axis_y)
        if axis_x * mean_x + axis_y * mean_y < 0:
            norm = -norm
        found[i, 2], found[i, 3] = axis_x / norm, axis_y / norm
        return
    norm = np.sqrt(mean_x * mean_x + mean_y * mean_y)
    found[i, 2], found[i, 3] = 1.0, 0.0
    if norm > 1e-9:
        found[i, 2], found[i, 3] = mean_x / norm, mean_y / norm


@helper
def _off_line(x, y, found, i):
    """Distance of a place from the ray of an entry; behind its start, distance from the start."""
    dx, dy = x - found[i, 0], y - found[i, 1]
    if dx * found[i, 2] + dy * found[i, 3] >= 0:
        return abs(dx * found[i, 3] - dy * found[i, 2])
    return np.sqrt(dx * dx + dy * dy)


@helper
def _own(found, count, pieces, starts, owner, width):
    """Write into `owner` which entry each cell belongs to; returns the entry that owns least, and how many cells."""
    sizes, together = np.zeros(count, np.int64), np.empty(count)
    for piece in range(len(starts) - 1):
        inside = False
        for i in range(count):
            inside |= found[i, 5] == piece
            together[i] = 0
        for j in range(starts[piece], starts[piece + 1]):
            x, y = float(pieces[j] % width), float(pieces[j] // width)
            least = np.inf
            for i in range(count):
                if inside and found[i, 5] != piece:
                    continue  # a piece with entries of its own is divided between those
                # Widths differ: a cell belongs to the shaft that it lies deepest in; of two that meet head-on, to the
                # nearer.
                off = _off_line(x, y, found, i) / max(found[i, 4], 2.0)
                off += _NEARNESS * np.sqrt((x - found[i, 0]) ** 2 + (y - found[i, 1]) ** 2)
                together[i] += off
                if off < least:
                    least = off
                    owner[pieces[j]] = i
        best = 0
        for i in range(count):
            if together[i] < together[best]:
                best = i
        for j in range(starts[piece], starts[piece + 1]):
            if not inside:  # a piece that something in front cut off goes as a whole to the entry in line with it
                owner[pieces[j]] = best
            sizes[owner[pieces[j]]] += 1
    weakest = 0
    for i in range(count):
        if sizes[i] < sizes[weakest]:
            weakest = i
    return weakest, sizes[weakest]
