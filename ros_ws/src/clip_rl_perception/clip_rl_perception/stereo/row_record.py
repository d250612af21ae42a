"""Whether the rows of paired points run apart along the width, over many moments: a camera rolled about its own axis.

Right of a camera's middle, a roll by phi moves rows one way, left of it the other way: row of the left eye minus row of
the right one is a + x tan(phi), x along the width. At the middle nothing shows, so pairs go on to come about, while
their disparities are as wrong as the rows. Keypoints of tags err together while an instrument stays where it is: what
counts is how many different instruments and places agree, not how many moments.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.pairing import EyeTags, Pairs, other_name, shared_points

CELLS = 8
"""Parts of the picture's width, and of its height in the same size: a pair of tracks counts once in each."""
BLOCK = 2
"""Cells along each side of a block: within one, a pair's tags may err alike."""
REMEMBERED = 30
"""Newest moments of a pair of tracks in a cell whose median counts."""
MOST = 200
"""Cells of pairs that are remembered; those not seen for longest are forgotten."""
LEAST = 8
"""Cells of pairs from which on something is said."""
LEAST_BLOCKS = 6
"""Blocks of pairs, likewise: of fewer, no error can be told."""
SPREAD = 0.12
"""Standard deviation of their places along the width, part of it, from which on something is said."""
SURE = 6.0
"""Least slope, in its standard errors (docs/results/stereo.md says what good and rolled rigs come to)."""
SLOPE, MARGIN = math.tan(math.radians(1.0)), 3.0
"""What less than a slope does to disparities lies within what keypoints are off; and by how many standard errors more
it must be: tags that err alike beyond a cell make these too small."""
STEPS = 15
"""Of the fit, whose weights settle sooner."""
REACH = 2.385
"""Of Cauchy's weights, in scales of the residuals: 95 % efficient where these are normal."""
LEAST_SCALE_PX = 0.5
"""Of residuals, so that exact ones have weights too."""
EVERY, SELDOM = 5, 10
"""Moments with pairs from fit to fit: at least `EVERY`, and a `SELDOM`th of the cells, as more make a fit dearer and
change it less."""


@dataclasses.dataclass(frozen=True)
class PairedRow:
    """Where both eyes see a pair, by the median of the keypoints that they share, px of the virtual camera."""

    tracks: tuple[int, int]
    x: float
    """Middle of both eyes."""
    y: float
    apart: float
    """Row of the left eye minus row of the right one."""


@dataclasses.dataclass(frozen=True)
class RunningRows:
    """Rows that run apart along the width."""

    points: int
    """Pairs that say so, each moment's counted."""
    apart: tuple[float, float]
    """Row of the left eye minus row of the right one at the picture's left and right border, px."""
    degrees: float
    """The roll that does this; without its sign."""

    @property
    def words(self) -> str:
        """One line."""
        return (
            f"rows of {self.points} paired points run apart by {self.apart[0]:+.0f} to {self.apart[1]:+.0f} px along "
            f"the width: is a camera rolled by about {self.degrees:.1f} degrees, or the calibration another rig's? "
            "calibrate again"
        )


def paired_rows(left: EyeTags, right: EyeTags, pairs: Pairs) -> list[PairedRow]:
    """Of the pairs of a moment whose keypoints fit."""
    made = []
    for place in pairs.by_points:
        (one, other), swapped = pairs.pairs[place], pairs.swapped_jaws[place]
        ours, theirs = left.places[one], right.places[other]
        shared = shared_points(left, one, right, other, swapped)
        both = [(ours[name], theirs[other_name(name, swapped)]) for name in ours if name in shared]
        made.append(
            PairedRow(
                (left.tags[one].track_id, right.tags[other].track_id),
                statistics.median((here[0] + there[0]) / 2 for here, there in both),
                statistics.median((here[1] + there[1]) / 2 for here, there in both),
                statistics.median(here[1] - there[1] for here, there in both),
            )
        )
    return made


class RowRecord:
    """What the moments of a rig say of its rows.

    Args:
        width: of the picture, px of the virtual camera.
        calibration_px: how far a calibration that is as it should be may shift places, standard deviation, px.
    """

    def __init__(self, width: float, calibration_px: float) -> None:
        self._width, self._calibration_px = width, calibration_px
        self._cells: collections.OrderedDict[tuple[int, ...], collections.deque[PairedRow]] = collections.OrderedDict()
        self._medians: dict[tuple[int, ...], tuple[float, float, float]] = {}
        self._moments = 0
        """With pairs, since the last fit."""
        self.running: RunningRows | None = None
        """Rows that run apart, surely; None while they do not, or not enough is known."""

    def add(self, rows: Iterable[PairedRow]) -> None:
        """A moment's pairs."""
        cell, any_row = self._width / CELLS, False
        for row in rows:
            any_row = True
            key = (*row.tracks, math.floor(row.x / cell), math.floor(row.y / cell))
            kept = self._cells.setdefault(key, collections.deque(maxlen=REMEMBERED))
            kept.append(row)
            self._cells.move_to_end(key)
            self._medians[key] = (
                statistics.median(each.x for each in kept),
                statistics.median(each.y for each in kept),
                statistics.median(each.apart for each in kept),
            )
        while len(self._cells) > MOST:
            oldest, _ = self._cells.popitem(last=False)
            del self._medians[oldest]
        self._moments += any_row
        if self._moments >= max(EVERY, len(self._cells) // SELDOM):
            self._moments = 0
            self.running = self._fitted()

    def _fitted(self) -> RunningRows | None:
        if len(self._medians) < LEAST:
            return None
        x, y, apart = np.array(list(self._medians.values())).T
        if float(x.std()) < SPREAD * self._width:
            return None
        blocks = [(*key[:2], key[2] // BLOCK, key[3] // BLOCK) for key in self._medians]
        _, block = np.unique(np.array(blocks), axis=0, return_inverse=True)
        if int(block.max()) + 1 < LEAST_BLOCKS:
            return None
        (offset, slope, _), error = _fit(
            np.column_stack([np.ones_like(x), x - self._width / 2, y - float(y.mean())]),
            apart, block.reshape(-1), self._calibration_px,
        )  # fmt: skip
        if abs(slope) < max(SURE * error, SLOPE + MARGIN * error):
            return None
        half = slope * self._width / 2
        points = sum(map(len, self._cells.values()))
        return RunningRows(points, (offset - half, offset + half), math.degrees(math.atan(abs(slope))))


def _fit(
    columns: DoubleArray, apart: DoubleArray, block: npt.NDArray[np.intp], least_px: float
) -> tuple[tuple[float, float, float], float]:
    """The plane apart = a + b x + c y by Cauchy's weights.

    Args:
        columns: (n, 3): 1, x, y.
        apart: (n,) px.
        block: (n,) who errs alike, numbered from 0.
        least_px: error of each that is there in any case, px.

    Returns:
        a, b, c, and the standard error of b: by the residuals as they are (White's sandwich, summed by block), and by
        `least_px`.
    """
    weights, found, left = np.ones_like(apart), np.zeros(3), apart
    inverse: DoubleArray = np.eye(3)
    for _ in range(STEPS):
        inverse = np.asarray(np.linalg.pinv((columns * weights[:, None]).T @ columns), np.float64)
        found = inverse @ (columns.T @ (weights * apart))
        left = apart - columns @ found
        scale = max(1.4826 * float(np.median(np.abs(left))), LEAST_SCALE_PX)
        weights = 1 / (1 + (left / (REACH * scale)) ** 2)
    count = int(block.max()) + 1
    scores = np.zeros((count, 3))
    np.add.at(scores, block, columns * (weights * left)[:, None])
    spread = inverse @ (scores.T @ scores) @ inverse * count / max(count - 3, 1)
    error = math.sqrt(max(float(spread[1, 1]), 0.0) + least_px**2 * float(inverse[1, 1]))
    a, b, c = found.tolist()
    return (a, b, c), error
