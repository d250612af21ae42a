"""A shaft as a straight line of places and disparities, in which straight lines in space are straight too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry
from clip_rl_perception.stereo.triangulation import points_of

OUTLIER = 3.5
"""Standard deviations from the line beyond which a disparity does not count."""
CROOKED = 3.0
"""Spread of the rest, in standard deviations, from which on it is no line."""
DELTA_PX = 0.05
"""Step of the numeric derivatives."""


@dataclasses.dataclass(frozen=True)
class ShaftLine:
    """``d = values @ [1 - t / length, t / length]``: the disparities at t = 0 and t = `length` px along the shaft."""

    length: float
    values: tuple[float, float]
    """px."""
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """px^2."""

    @property
    def slope(self) -> float:
        """Px per px."""
        return (self.values[1] - self.values[0]) / self.length

    def at(self, t: float) -> tuple[float, float]:
        """Disparity and its standard deviation at `t`, px."""
        b = t / self.length
        a = 1 - b
        (first, both), (_, second) = self.covariance
        return a * self.values[0] + b * self.values[1], math.sqrt(a * a * first + 2 * a * b * both + b * b * second)


def fit_line(
    t: Sequence[float], disparities: Sequence[float], stds: Sequence[float], length: float
) -> ShaftLine | None:
    """The line through disparities at t, px, each as sure as its standard deviation says.

    The one that fits the others worst is left out while it lies beyond `OUTLIER` and two others stay; None where fewer
    than two are left or where they lie too near to each other to tell a slope. Plain numbers: there are five of them.

    Args:
        t: places along the shaft.
        disparities: there.
        stds: their standard deviations.
        length: of the shaft in sight: the line is told at 0 and there.
    """
    use = list(zip(t, disparities, stds, strict=True))
    while len(use) >= 2 and max(use)[0] - min(use)[0] >= 0.15 * length:
        aa = ab = bb = ad = bd = 0.0
        for place, disparity, std in use:
            b = place / length
            a, weight = 1 - b, 1 / (std * std)
            aa, ab, bb = aa + weight * a * a, ab + weight * a * b, bb + weight * b * b
            ad, bd = ad + weight * a * disparity, bd + weight * b * disparity
        area = aa * bb - ab * ab
        first, second = (bb * ad - ab * bd) / area, (aa * bd - ab * ad) / area
        off = [(disparity - first - (second - first) * place / length) / std for place, disparity, std in use]
        spread = math.sqrt(sum(each * each for each in off) / max(len(use) - 2, 1))
        worst = max(range(len(use)), key=lambda n: abs(off[n]))
        if len(use) > 3 and abs(off[worst]) > OUTLIER:
            del use[worst]
            continue
        if spread >= CROOKED:
            return None
        scale = max(1.0, spread) ** 2 / area
        return ShaftLine(length, (first, second), ((bb * scale, -ab * scale), (-ab * scale, aa * scale)))
    return None


def axis_of(
    geometry: StereoGeometry,
    line: ShaftLine,
    origin: DoubleArray,
    along: DoubleArray,
    place_std: float,
    along_ray_m: tuple[float, float] = (0.0, 0.0),
) -> tuple[DoubleArray, DoubleArray, float]:
    """Direction of a shaft in space: unit vector (3,), its covariance (3, 3), and its greatest standard deviation, rad.

    Args:
        geometry: of the pair.
        line: disparities along it.
        origin: (2,) px, where t is 0.
        along: (2,) unit vector in the picture.
        place_std: of either end of the line in the picture, across it, px.
        along_ray_m: of both ends along their lines of sight beyond that, standard deviations.
    """
    aside = np.array([-along[1], along[0]])

    # Both ends as they are, and with each of four changes: disparity and place across, of both ends.
    changes = np.vstack([np.zeros(4), DELTA_PX * np.eye(4)])
    seen = np.empty((5, 2, 3))
    seen[:, 0, :2] = origin + changes[:, 2:3] * aside
    seen[:, 1, :2] = origin + along * line.length + changes[:, 3:] * aside
    seen[:, :, 2] = np.array(line.values) + changes[:, :2]
    ends = points_of(geometry, seen.reshape(10, 3)).reshape(5, 2, 3)
    ways = ends[:, 1] - ends[:, 0]
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    axis, jacobian = ways[0], (ways[1:] - ways[0]).T / DELTA_PX
    known = np.zeros((4, 4))
    known[:2, :2] = line.covariance
    known[2:, 2:] = np.eye(2) * place_std**2
    covariance = jacobian @ known @ jacobian.T
    length = float(np.linalg.norm(ends[0, 1] - ends[0, 0]))
    for end, std in zip(ends[0], along_ray_m, strict=True):
        ray = end / np.linalg.norm(end)
        turned = (ray - axis * (ray @ axis)) * (std / length)  # by so much along the ray, at this end
        covariance = covariance + np.outer(turned, turned)
    return axis, covariance, float(np.sqrt(max(np.linalg.eigvalsh(covariance)[-1], 0.0)))
