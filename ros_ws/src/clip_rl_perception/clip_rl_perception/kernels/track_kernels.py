# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of `tracks`: what it costs to take instruments for the continuations of tracks, and which to take."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper


@compiled
def assignment_costs(seen, footprints, known, moves, shifts, past, overlaps_count, weights, tip_scale, most, never):
    """Smallest cost, over the moves that a track may have made, of each pair.

    Args:
        seen: of each instrument tip x, y, axis x, y and class id, float64 (n, 5).
        footprints: of each, uint8 0 or 1 (n, h, w).
        known: the same of each track, float64 (t, 5); class id -1 where it has none.
        moves: what is added to a track's tip, float64 (t, 2, 2).
        shifts: the same in nodes of the grid, (columns, rows), int64 (t, 2, 2).
        past: footprints of tracks, uint8 (t, h, w).
        overlaps_count: whether footprints lie on one grid; otherwise the tips stand in for them.
        weights: of 1 - overlap, the tips' distance over its scale, the angle between the axes, and disagreeing classes.
        tip_scale: distance of tips that counts as far.
        most: pairs that cost more are different instruments.
        never: cost of those.

    Returns:
        float64 (n, t).
    """
    overlap, tip, axis, other_class = weights
    costs = np.full((len(seen), len(known)), never)
    bounds, cells = _bounds(footprints)
    past_bounds, _ = _bounds(past)
    for t in range(len(known)):
        for m in range(2):
            if m == 1 and moves[t, 0, 0] == moves[t, 1, 0] and moves[t, 0, 1] == moves[t, 1, 1]:
                continue
            x, y = known[t, 0] + moves[t, m, 0], known[t, 1] + moves[t, m, 1]
            columns, rows = shifts[t, m, 0], shifts[t, m, 1]
            total = _inside(past, past_bounds, t, columns, rows) if overlaps_count else 0
            for n in range(len(seen)):
                far = min(1.0, np.sqrt((seen[n, 0] - x) ** 2 + (seen[n, 1] - y) ** 2) / tip_scale)
                facing = seen[n, 2] * known[t, 2] + seen[n, 3] * known[t, 3]
                cost = tip * far + axis * (1 - facing) / 2
                if known[t, 4] >= 0 and known[t, 4] != seen[n, 4]:
                    cost += other_class
                if cost > most or cost >= costs[n, t]:
                    continue  # whatever they have in common: spare counting it
                shared = 1.0 - far
                if overlaps_count:
                    both = _both(footprints, bounds, n, past, past_bounds, t, columns, rows)
                    union = cells[n] + total - both
                    shared = both / union if union else 0.0
                cost += overlap * (1 - shared)
                if cost <= most:
                    costs[n, t] = min(costs[n, t], cost)
    return costs


@compiled
def cheapest_assignment(costs):
    """The column that each row is paired with where all pairs together cost least, int64 (n,); -1 for none.

    Every row or every column is paired, whichever are fewer; columns are paired once. As scipy's
    `linear_sum_assignment`, whose import would double what the rest of a node takes to start: shortest augmenting paths
    (Crouse 2016, On implementing 2D rectangular assignment algorithms, IEEE T-AES 52(4)).

    Args:
        costs: finite, float64 (n, t).
    """
    if costs.shape[0] <= costs.shape[1]:
        return _columns_of_rows(costs)
    rows_of_columns = _columns_of_rows(np.ascontiguousarray(costs.T))
    result = np.full(costs.shape[0], -1)
    for column in range(len(rows_of_columns)):
        result[rows_of_columns[column]] = column
    return result


@helper
def _columns_of_rows(costs):
    """The column of each row; there are no more rows than columns."""
    count, columns = costs.shape
    of_row, of_column = np.full(count, -1), np.full(columns, -1)
    row_price, column_price = np.zeros(count), np.zeros(columns)
    for start in range(count):
        # Dijkstra from the row over pairs that hold so far, to the nearest column that is free.
        distance, before = np.full(columns, np.inf), np.full(columns, -1)
        reached, left = np.zeros(columns, np.bool_), np.arange(columns)[::-1].copy()
        visited = np.zeros(count, np.bool_)
        row, total, open_columns, end = start, 0.0, columns, -1
        while end < 0:
            visited[row] = True
            nearest, place = np.inf, -1
            for index in range(open_columns):
                column = left[index]
                through = total + costs[row, column] - row_price[row] - column_price[column]
                if through < distance[column]:
                    distance[column], before[column] = through, row
                if distance[column] < nearest or (distance[column] == nearest and of_column[column] < 0):
                    nearest, place = distance[column], index
            total, column = nearest, left[place]
            reached[column] = True
            open_columns -= 1
            left[place] = left[open_columns]
            if of_column[column] < 0:
                end = column
            else:
                row = of_column[column]
        row_price[start] += total
        for row in range(count):
            if visited[row] and row != start:
                row_price[row] += total - distance[of_row[row]]
        for column in range(columns):
            if reached[column]:
                column_price[column] -= total - distance[column]
        while True:  # along the path, each row takes the column by which it was reached
            row = before[end]
            of_column[end] = row
            of_row[row], end = end, of_row[row]
            if row == start:
                break
    return of_row


@helper
def _bounds(footprints):
    """First and last row, first and last column of each footprint, one beyond the last; and its cells."""
    count, height, width = footprints.shape
    bounds, cells = np.zeros((count, 4), np.int64), np.zeros(count, np.int64)
    for i in range(count):
        bounds[i, 0], bounds[i, 2] = height, width
        for r in range(height):
            for c in range(width):
                if footprints[i, r, c]:
                    cells[i] += 1
                    bounds[i, 0], bounds[i, 1] = min(bounds[i, 0], r), r + 1
                    bounds[i, 2], bounds[i, 3] = min(bounds[i, 2], c), max(bounds[i, 3], c + 1)
    return bounds, cells


@helper
def _inside(past, bounds, t, columns, rows):
    """Cells of a track's footprint that a shift leaves on the grid."""
    _, height, width = past.shape
    total = 0
    for r in range(max(bounds[t, 0], -rows), min(bounds[t, 1], height - rows)):
        for c in range(max(bounds[t, 2], -columns), min(bounds[t, 3], width - columns)):
            total += past[t, r, c]
    return total


@helper
def _both(footprints, bounds, n, past, past_bounds, t, columns, rows):
    """Cells that an instrument's footprint shares with a track's shifted one."""
    both = 0
    left, right = max(bounds[n, 2], past_bounds[t, 2] + columns), min(bounds[n, 3], past_bounds[t, 3] + columns)
    for r in range(max(bounds[n, 0], past_bounds[t, 0] + rows), min(bounds[n, 1], past_bounds[t, 1] + rows)):
        for c in range(left, right):
            both += footprints[n, r, c] & past[t, r - rows, c - columns]
    return both
