"""Plain measures of a small picture that tell a body from a room and both from what is no camera's picture at all.

They say what the eye goes by: colours and how far they spread, light that falls off towards the rim, edges and whether
they run along rows and columns, flat areas, few grey levels. A classifier of a checkpoint knows them by name and order.
"""

from __future__ import annotations

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray

MEASURES = (
    "lightness",
    "lightness_spread",
    "green_to_red",
    "green_to_red_spread",
    "blue_to_yellow",
    "blue_to_yellow_spread",
    "glare",
    "detail",
    "edges",
    "edge_peaks",
    "edges_along_axes",
    "edges_one_way",
    "flat",
    "strong_edges",
    "entropy",
    "largest_level",
    "column_profile",
    "row_profile",
    "center",
    "fineness",
)
"""Names of what `measure_picture` gives, in its order."""

_LEVELS = 32


def measure_picture(small: ByteArray, mask: BoolArray, detail: float) -> FloatArray:
    """Measures of the content of a frame, float32 (M,), all finite; names: `MEASURES`.

    Args:
        small: the content, reduced to about 64 px, uint8 (height, width, 3), RGB.
        mask: which of its pixels are content, bool (height, width); at least one.
        detail: mean absolute Laplacian (3x3) of the middle at the network's size, grey levels.
    """
    inside = mask.view(np.uint8)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    lab_mean, lab_spread = (found.ravel() for found in cv2.meanStdDev(lab, mask=inside))
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    spread = max(1.0, float(lab_spread[0]))

    across = np.abs(cv2.Sobel(gray, cv2.CV_32F, 1, 0, scale=0.125, borderType=cv2.BORDER_REPLICATE))
    down = np.abs(cv2.Sobel(gray, cv2.CV_32F, 0, 1, scale=0.125, borderType=cv2.BORDER_REPLICATE))
    if not mask.all():  # the rim of a circle is an edge of the optics
        core = cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
        chosen = (core if core.any() else inside).view(np.bool_)
        across, down = across[chosen], down[chosen]
    slope = across + down
    sum_across, sum_down = float(across.sum()) + 1e-3, float(down.sum()) + 1e-3
    total, count = sum_across + sum_down, slope.size
    mean_slope = total / count
    root_slope = float(np.sqrt(np.dot(slope.ravel(), slope.ravel()) / count)) + 1e-3

    share = cv2.calcHist([gray], [0], inside, [_LEVELS], [0, 256]).ravel()
    share = share / share.sum()
    columns, rows = (cv2.reduce(gray, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F) for axis in (0, 1))
    height, width = gray.shape
    middle = gray[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return np.array(
        [
            lab_mean[0] / 255,
            lab_spread[0] / 128,
            lab_mean[1] / 128 - 1,
            lab_spread[1] / 32,
            lab_mean[2] / 128 - 1,
            lab_spread[2] / 32,
            float(share[-1]),
            np.log1p(detail),
            np.log1p(mean_slope),
            mean_slope / root_slope,
            float(np.abs(across - down).sum()) / total,
            abs(sum_across - sum_down) / total,
            np.count_nonzero(slope < 0.75) / count,
            np.count_nonzero(slope > 24) / count,
            -float(np.dot(share, np.log(share + 1e-6))),
            float(share.max()),
            float(columns.std()) / spread,
            float(rows.std()) / spread,
            (cv2.mean(middle)[0] + 8) / (cv2.mean(gray, inside)[0] + 8),
            np.log((detail + 0.5) / (mean_slope + 0.5)),
        ],
        np.float32,
    )
