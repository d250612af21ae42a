"""Drawn bars, of which every place knows its axis, width and end."""

from __future__ import annotations

import numpy as np

PLACES = (36, 44)
"""(g, u): of 288 x 352 network pixels."""


class Bars:
    """Straight instruments on a grid of places; later ones cover earlier ones."""

    def __init__(self) -> None:
        self.said = np.zeros((9, *PLACES), np.float32)
        self.said[0] = 1.0
        self.said[6:] = -8.0
        self.owner = np.zeros(PLACES, int)
        self.count = 0

    def add(self, entry: tuple[float, float], end: tuple[float, float], radius: float, *, tip: bool = True) -> Bars:
        """From `entry` to `end`, (column, row), the shaft's end two thirds of the way; `tip` raises its peak."""
        self.count += 1
        y, x = np.indices(PLACES, float)
        axis = np.subtract(end, entry) / np.hypot(*np.subtract(end, entry))
        wrist = np.add(entry, np.subtract(end, entry) * 2 / 3)
        ahead = (x - entry[0]) * axis[0] + (y - entry[1]) * axis[1]
        across = (x - entry[0]) * axis[1] - (y - entry[1]) * axis[0]
        own = (np.abs(across) <= radius) & (ahead >= -1) & (ahead <= np.hypot(*np.subtract(end, entry)))
        along = (wrist[0] - x) * axis[0] + (wrist[1] - y) * axis[1]
        foot = np.stack([wrist[0] - x, wrist[1] - y]) - along * axis[:, None, None]
        words = np.stack(
            [np.full(PLACES, axis[0]), np.full(PLACES, axis[1]), foot[0], foot[1],
             np.sign(along) * np.log1p(np.abs(along) / 2), np.full(PLACES, np.log(radius))]
        )  # fmt: skip
        self.said[:6, own] = words[:, own]
        self.owner[own] = self.count
        self.said[7, round(wrist[1]), round(wrist[0])] = 4.0
        if tip:
            self.said[8, round(end[1]), round(end[0])] = 4.0
        return self

    @property
    def nodes(self) -> np.ndarray:
        return self.owner.repeat(2, axis=0).repeat(2, axis=1)
