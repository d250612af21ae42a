"""The two borders of a shaft in one eye's picture, as straight lines of the virtual camera."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray

SCANS = 24
"""Lines across the shaft on which its borders are looked for."""
SAMPLES = 65
"""Places along each."""
LEAST_SCANS = 6
"""Fewest lines that show both borders."""
STRAIGHT = 3.0
"""Distances from a border's line, in standard deviations, beyond which a place does not count."""


@dataclasses.dataclass(frozen=True)
class ShaftOutline:
    """Borders ``offset = a + b t`` on both sides of a line that runs along the shaft."""

    origin: DoubleArray
    """(2,) px: where t is 0, the end of the shaft."""
    along: DoubleArray
    """(2,) unit vector from the entry to there."""
    ends: tuple[float, float]
    """t of the first and last line across, px."""
    offsets: DoubleArray
    """(2, 2) px: of both borders at both ends, the negative side first."""
    covariance: DoubleArray
    """(2, 2, 2) px^2: of each border's two offsets."""

    @property
    def width(self) -> float:
        """At the middle, px."""
        return float((self.offsets[1] - self.offsets[0]).mean())

    @property
    def aside(self) -> DoubleArray:
        """(2,) unit vector across, along which offsets count."""
        return np.array([-self.along[1], self.along[0]])

    def border_points(self, offsets: DoubleArray) -> DoubleArray:
        """(2, 2, 2): points of both borders at both ends, for `offsets` like its own."""
        at = self.origin + np.array(self.ends)[:, None] * self.along  # (2 ends, 2)
        return np.asarray(at + offsets[..., None] * self.aside, np.float64)


def scan_places(
    origin: DoubleArray, along: DoubleArray, length: float, reach: float
) -> tuple[DoubleArray, DoubleArray]:
    """Where to look: (t, (SCANS, SAMPLES, 2) px of the virtual camera), from near the shaft's end back along it.

    Args:
        origin: the shaft's end.
        along: unit vector from the entry to there.
        length: of the shaft in sight, px.
        reach: how far to either side, px.
    """
    t = -np.linspace(0.12, 0.92, SCANS) * length
    s = np.linspace(-reach, reach, SAMPLES)
    aside = np.array([-along[1], along[0]])
    return t, origin + t[:, None, None] * along + s[None, :, None] * aside


def outline_of(
    owners: npt.NDArray[np.uint16],
    number: int,
    inside: npt.NDArray[np.bool_],
    t: DoubleArray,
    reach: float,
    origin: DoubleArray,
    along: DoubleArray,
    border_std: float,
) -> ShaftOutline | str:
    """The borders that the lines across show; a reason where they show none.

    Args:
        owners: (SCANS, SAMPLES), numbers of tracks at the places of `scan_places`.
        number: the instrument's own.
        inside: (SCANS, SAMPLES), which of them lie inside the picture.
        t: of each line.
        reach: as given to `scan_places`.
        origin: likewise.
        along: likewise.
        border_std: how far the mask's border lies from the shaft's, px; what both ends of a border share.
    """
    own = owners == number
    middle = SAMPLES // 2
    step = 2 * reach / (SAMPLES - 1)
    sides = []
    good = own[:, middle].copy()
    for direction in (-1, 1):
        way = own[:, middle::direction]
        outside = ~way
        first = outside.argmax(axis=1)  # the first place that is another's
        there = middle + direction * first
        rows = np.arange(SCANS)
        clear = outside.any(axis=1) & inside[rows, there] & (owners[rows, there] == 0)
        good &= clear
        sides.append(direction * (first - 0.5) * step)
    if good.sum() < LEAST_SCANS:
        return "too little of the shaft is in sight to measure its width"
    span = (float(t[good].min()), float(t[good].max()))
    if span[1] - span[0] < 2 * step:
        return "too little of the shaft is in sight to measure its width"
    design = np.column_stack([span[1] - t, t - span[0]]) / (span[1] - span[0])  # of the offsets at both ends
    lines = _straight(design, np.stack(sides), good, step)
    if lines is None or (lines[1] > (0.08 * reach) ** 2).any():
        return "the shaft's borders are not straight"
    offsets, variances, normals = lines
    # Neighbours err alike: masks are made on a grid four pixels or so wide. What all share is border_std.
    covariances = 2.0 * variances[:, None, None] * np.linalg.inv(normals) + border_std**2
    return ShaftOutline(origin, along, span, offsets, covariances)


def _straight(
    design: DoubleArray, sides: DoubleArray, good: npt.NDArray[np.bool_], step: float
) -> tuple[DoubleArray, DoubleArray, DoubleArray] | None:
    """Lines through both borders, without what lies off them; None where that leaves too little.

    Args:
        design: (SCANS, 2), of the offsets at both ends.
        sides: (2, SCANS) px, offsets of the borders.
        good: (SCANS,), lines across that count.
        step: between samples, px.

    Returns:
        Offsets at both ends, variances and normal matrices of both borders: (2, 2), (2,), (2, 2, 2).
    """
    use = np.stack([good, good])
    products = design[:, :, None] * design[:, None, :]  # (SCANS, 2, 2)
    for _ in range(3):
        normals = np.tensordot(use.astype(np.float64), products, axes=1)
        if (normals[:, 0, 0] * normals[:, 1, 1] - normals[:, 0, 1] ** 2 < 1e-9).any():
            return None
        right: DoubleArray = (use * sides) @ design
        ends = np.asarray(np.linalg.solve(normals, right[:, :, None])[:, :, 0], np.float64)
        residuals = sides - ends @ design.T
        scales = np.maximum(_median(np.abs(residuals), use) * 1.4826, step / 4)
        use = good & (np.abs(residuals) < STRAIGHT * scales[:, None])
        if (use.sum(axis=1) < LEAST_SCANS).any():
            return None
    squares = (use * residuals**2).sum(axis=1)
    variances: DoubleArray = np.maximum(squares / np.maximum(use.sum(axis=1) - 2, 1), step**2 / 12)
    return ends, variances, np.tensordot(use.astype(np.float64), products, axes=1)


def _median(values: DoubleArray, use: npt.NDArray[np.bool_]) -> DoubleArray:
    """Of the values of each row that are in use; at least one is."""
    ordered, count = np.sort(np.where(use, values, np.inf), axis=1), use.sum(axis=1)
    rows = np.arange(len(values))
    return np.asarray((ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2, np.float64)
