# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, type-arg"
"""Compiled loops of `instance_votes`: which places mean the same instrument, and what line that is.

Notation: places and lines are float64 rows (n, 8) of the columns below; the foot is where the perpendicular from a
place meets its axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clip_rl_perception.kernels.compiled import compiled, helper

AXIS_X, AXIS_Y, END_X, END_Y, ALONG, RADIUS, FOOT_X, FOOT_Y = range(8)
"""Columns of a place and of a line; of a line the foot is its end."""


class Limits(NamedTuple):
    """Numbers of `instance_votes.VoteConfig`."""

    unit: float
    """Square of the chord of one deviation's angle."""
    across: float
    least_across: float
    along: float
    least_along: float
    limit: float
    """Square of the deviations up to which a place agrees."""
    seeds: int
    least_places: int
    substantial: float
    most: int


@compiled
def group(places, near_first, areas, limits):
    """Divide places into instruments.

    Args:
        places: float64 (n, 8), n > 0.
        near_first: places in the order of |along|, int64 (n,).
        areas: connected area of each, from 0, int64 (n,).
        limits: see `Limits`.

    Returns:
        Instrument of each place, from 0, int64 (n,); their lines, float64 (m, 8); share of each one's places that lie
        within half the limit of it, float64 (m,).
    """
    lines = _voted_lines(places, near_first, limits)
    count, n = len(lines), len(places)
    distance, owner = np.empty((n, count)), np.empty(n, np.int64)
    for i in range(n):
        best = 0
        for k in range(count):
            distance[i, k] = _squared(places, i, lines, k, limits)
            if distance[i, k] < distance[i, best]:
                best = k
        owner[i] = best
    _substantial(distance, owner, areas, limits)
    number = np.full(count, -1, np.int64)
    for i in range(n):
        number[owner[i]] = 0
    found = 0
    for k in range(count):
        if number[k] == 0:
            number[k] = found
            found += 1
    members, final, trust = np.empty(n, np.int64), np.empty((found, 8)), np.zeros(found)
    for i in range(n):
        owner[i] = number[owner[i]]
    for k in range(found):
        size = 0
        for i in range(n):
            if owner[near_first[i]] == k:
                members[size] = near_first[i]
                size += 1
        _middle(places, members, size, final, k)
        for j in range(size):
            trust[k] += 4 * _squared(places, members[j], final, k, limits) <= limits.limit
        trust[k] /= size
    return owner, final, trust


@helper
def _squared(places, i, lines, k, limits):
    """Square of how far a place is from a line; see `VoteConfig`.

    The distance across is measured at the foot of the place itself, not at the far end that it names: errors of the
    angle do not count twice.
    """
    x, y = lines[k, AXIS_X], lines[k, AXIS_Y]
    chord = 2.0 - 2.0 * (places[i, AXIS_X] * x + places[i, AXIS_Y] * y)
    across = (places[i, FOOT_X] - lines[k, END_X]) * y - (places[i, FOOT_Y] - lines[k, END_Y]) * x
    along = (places[i, END_X] - lines[k, END_X]) * x + (places[i, END_Y] - lines[k, END_Y]) * y
    radius = min(places[i, RADIUS], lines[k, RADIUS])
    across /= max(limits.across * radius, limits.least_across)
    along /= max(limits.along * max(abs(places[i, ALONG]), abs(lines[k, ALONG])), limits.least_along * radius)
    return max(chord, 0.0) / limits.unit + across * across + along * along


@helper
def _voted_lines(places, near_first, limits):
    """Lines that places, evenly drawn, agree on, those with the most votes first; at least one, float64 (m, 8)."""
    n = len(places)
    count = min(n, limits.seeds)
    seeds, is_seed = np.empty(count, np.int64), np.full(n, -1, np.int64)
    for j in range(count):
        seeds[j] = j * (n - 1) // max(1, count - 1)
        is_seed[seeds[j]] = j
    near = np.empty(count, np.int64)
    size = 0
    for i in range(n):
        if is_seed[near_first[i]] >= 0:
            near[size] = is_seed[near_first[i]]
            size += 1
    agree, votes = np.empty((count, count), np.bool_), np.zeros(count, np.int64)
    for i in range(count):
        for j in range(count):
            agree[i, j] = _squared(places, seeds[i], places, seeds[j], limits) <= limits.limit
            votes[i] += agree[i, j]
    left, untried = np.ones(count, np.bool_), np.ones(count, np.bool_)
    inside, members = np.empty(count, np.bool_), np.empty(count, np.int64)
    lines, found = np.empty((limits.most + 1, 8)), 0
    while found < limits.most:
        best = -1
        for i in range(count):
            if untried[i] and left[i] and (best < 0 or votes[i] > votes[best]):
                best = i
        if best < 0:
            break
        untried[best] = False
        for j in range(count):
            inside[j] = left[j] and agree[best, j]
        for _ in range(2):
            size = 0
            for j in near:
                if inside[j]:
                    members[size] = seeds[j]
                    size += 1
            if size == 0:
                break
            _middle(places, members, size, lines, found)
            size = 0
            for j in range(count):
                inside[j] = left[j] and _squared(places, seeds[j], lines, found, limits) <= limits.limit
                size += inside[j]
        if size >= min(2, count):
            found += 1
            for j in range(count):
                if inside[j]:
                    left[j] = False
                    for i in range(count):
                        votes[i] -= agree[i, j]
    if found == 0:
        _middle(places, near_first, n, lines, 0)
        found = 1
    return lines[:found]


@helper
def _middle(places, members, size, lines, k):
    """Write one line through places that mean the same instrument; near ones, which come first, tell its end best."""
    x = y = 0.0
    for j in range(size):
        x += places[members[j], AXIS_X]
        y += places[members[j], AXIS_Y]
    norm = max(np.sqrt(x * x + y * y), 1e-9)
    x, y = x / norm, y / norm
    across, radius, ahead = np.empty(size), np.empty(size), np.empty(max(1, size // 4))
    for j in range(size):
        i = members[j]
        across[j] = places[i, FOOT_Y] * x - places[i, FOOT_X] * y
        radius[j] = places[i, RADIUS]
        if j < len(ahead):
            ahead[j] = places[i, END_X] * x + places[i, END_Y] * y
    # Of two middle values the upper one.
    off, end = np.sort(across)[size // 2], np.sort(ahead)[len(ahead) // 2]
    lines[k, AXIS_X], lines[k, AXIS_Y] = x, y
    lines[k, END_X] = lines[k, FOOT_X] = end * x - off * y
    lines[k, END_Y] = lines[k, FOOT_Y] = end * y + off * x
    lines[k, ALONG], lines[k, RADIUS] = 0.0, np.sort(radius)[size // 2]


@helper
def _substantial(distance, owner, areas, limits):
    """Give the places of instruments that are too small to others of their connected area, the smallest first."""
    n, count = distance.shape
    shares = np.zeros((count, areas.max() + 1), np.int64)
    area_size = np.zeros(shares.shape[1], np.int64)
    for i in range(n):
        shares[owner[i], areas[i]] += 1
        area_size[areas[i]] += 1
    while True:
        least, ratio = -1, 1.0
        for k in range(count):
            size, at = 0, 0
            for area in range(len(area_size)):
                size += shares[k, area]
                if shares[k, area] > shares[k, at]:
                    at = area
            company = 0
            for other in range(count):
                company += shares[other, at] > 0
            if size > 0 and company > 1:  # alone in its area it has nobody to be a part of
                part = size / max(float(limits.least_places), limits.substantial * area_size[at])
                if part < ratio:
                    least, ratio = k, part
        if least < 0:
            return
        for i in range(n):
            if owner[i] != least:
                continue
            best, homeless = -1, True
            for k in range(count):
                homeless &= k == least or shares[k, areas[i]] == 0
            for k in range(count):
                # Pieces of it elsewhere, alone there, may go to anyone.
                if k == least or not (homeless or shares[k, areas[i]] > 0):
                    continue
                if best < 0 or distance[i, k] < distance[i, best]:
                    best = k
            owner[i] = best
        shares[:] = 0
        for i in range(n):
            shares[owner[i], areas[i]] += 1
