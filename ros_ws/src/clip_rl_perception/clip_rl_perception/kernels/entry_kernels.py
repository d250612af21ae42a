# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops that divide connected cells between the instruments that enter the picture there.

An entry is a row of `ENTRY` numbers: place x, y, direction x, y, cells in contact, connected piece. Notation as in
`instance_kernels`.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.area_kernels import connected
from clip_rl_perception.kernels.compiled import helper

ENTRY = 6
"""Numbers of an entry."""
_NEARNESS = 0.015
"""What a cell's distance from an entry counts, per cell, beside its distance from the shaft's line over the width."""


@helper
def by_entry(cells, n, rim, owner, found, height, width, substantial, entry_gap, straight):
    """Divide n cells of one group between its entries at the border.

    Writes the entries into `found` and, where they are several, each cell's into `owner`; returns their number.
    """
    touching = np.empty(n, np.int32)
    run_of = np.empty(n, np.int32)
    runs, contacts = _contacts(cells, n, rim, width, entry_gap, touching, run_of)
    for i in range(runs):
        for j in range(ENTRY):
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
    pieces, starts = connected(covered, owner, owner, height, width)
    count = _distinct(touching, run_of, contacts, runs, pieces, starts, owner, found, width, straight)
    while count > 1:
        weakest, size = _own(found, count, pieces, starts, owner, width)
        # An entry that owns little is a frayed border, not an instrument: without the smallest, try again.
        if size >= substantial * n / count:
            break
        count -= 1
        for i in range(weakest, count):
            for j in range(ENTRY):
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
            for k in range(ENTRY):
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
            for k in range(ENTRY):
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
