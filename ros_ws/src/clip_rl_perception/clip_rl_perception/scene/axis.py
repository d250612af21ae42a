"""Shaft axis and tip of instruments from the grid cells that they cover.

The axis is a robust line through the middles of slices across the long direction (cv2.fitLine with Huber's distance),
so that neither the oblique cut at the border nor open claspers turn it. The tip is the far end; where a bent wrist
takes the far end off the axis, the end of the line from the entry to the farthest cells. Where an instrument meets no
border, the end nearer to it counts as the one that it comes from.
"""

from __future__ import annotations

import cv2
import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.kernels import axis_kernels as kernels
from clip_rl_perception.scene.instances import Instances


def fit_axes(instances: Instances, border: tuple[float, float, float, float]) -> DoubleArray:
    """Fit axes and tips.

    Args:
        instances: m of them.
        border: the content's (left, top, right, bottom), cells.

    Returns:
        (m, 6), each (x, y) in grid coordinates: unit vector along the shaft, from the entry towards the tip; the tip;
        unit vector along which the tip is the last point, which is the first or that of a bent end.
    """
    height, width = instances.shape
    cells, starts, entries = instances.cells, instances.starts, instances.entries
    shapes, points, ends = kernels.measure_shapes(cells, starts, entries, height, width)
    lines = np.full((len(instances), 2), np.nan)
    for index, (first, last) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        if last > first:
            lines[index] = cv2.fitLine(points[first:last], cv2.DIST_HUBER, 0, 0.01, 0.01)[:2, 0]
    axes: DoubleArray = kernels.find_tips(cells, starts, entries, width, shapes, lines, *border)
    return axes
