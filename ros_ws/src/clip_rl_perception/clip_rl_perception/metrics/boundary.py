"""Boundary metrics: normalised surface Dice (NSD) at a tolerance, and the 95th percentile Hausdorff distance (HD95).

Ours: MONAI's own functions took over twenty times as long for the same values (two instruments, 1280x1024).

Boundaries and distances are MONAI's in two dimensions without sub-voxel correction: a mask's boundary is its pixels
that a 4-neighbour erosion removes, pixels outside the image being background, so a mask cut off by the image border
has boundary there. Distances run from boundary pixel to nearest boundary pixel, Euclidean, in pixels of the given maps.

NSD (Nikolov et al. 2018; tolerance 10 px in SAR-RARP50): the share of both boundaries within `tau` of the other one.
HD95: the larger of the two directed 95th percentiles. It exists only where truth and prediction both hold the class, so
it is worth nothing without the miss rate beside it: the share of frames with the class in truth and none predicted.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, CountArray, DoubleArray
from clip_rl_perception.metrics.confusion import IGNORED, MetricError

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


_FEW_POINTS = 30_000
"""Up to so many boundary pixels a search tree is quicker than the distance of every pixel; a ragged mask has more."""


def mask_boundary(mask: ByteArray) -> ByteArray:
    """Pixels of `mask`, uint8 0/1 (H, W), with a 4-neighbour outside it or outside the image; uint8 0/1 (H, W)."""
    inner = cv2.erode(mask, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask - inner, np.uint8)


def surface_distances(prediction: ByteArray, truth: ByteArray) -> tuple[DoubleArray, DoubleArray]:
    """Distances between the boundaries of two masks, px.

    Args:
        prediction: uint8 0/1 (H, W).
        truth: uint8 0/1 (H, W).

    Returns:
        For every boundary pixel of the prediction the distance to the truth's boundary, and the other way round;
        float32, infinite where the other mask is empty.
    """
    x, y, width, height = cv2.boundingRect(prediction | truth)
    if not width:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    # Only the joint bounding box matters: outside it both masks are background, as is everything beyond the image.
    box = np.s_[y : y + height, x : x + width]
    edges = [mask_boundary(np.ascontiguousarray(mask[box])) for mask in (prediction, truth)]
    points = [_points(edge) for edge in edges]
    if max(len(each) for each in points) <= _FEW_POINTS:
        return _distances_to(points[0], points[1]), _distances_to(points[1], points[0])
    return _distances_at(edges[0], edges[1]), _distances_at(edges[1], edges[0])


def _points(edge: ByteArray) -> DoubleArray:
    """(x, y) of the pixels of a boundary, float32 (N, 2)."""
    found = cv2.findNonZero(edge)
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2).astype(np.float32)


def _distances_to(points: DoubleArray, edge: DoubleArray) -> DoubleArray:
    if not len(edge):
        return np.full(len(points), math.inf, np.float32)
    from scipy.spatial import cKDTree  # here: its import takes half a second, and a node's processes score nothing

    return np.asarray(cKDTree(edge).query(points)[0], np.float32)


def _distances_at(points: ByteArray, edge: ByteArray) -> DoubleArray:
    where = points > 0
    if not edge.any():
        return np.full(int(where.sum()), math.inf, np.float32)
    # One row or column is below the smallest image of the precise transform: pad with pixels that are no edge.
    padded = cv2.copyMakeBorder(1 - edge, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    field = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(field[1:-1, 1:-1][where], np.float32)


def nsd_from_distances(forward: DoubleArray, backward: DoubleArray, tau: float) -> float:
    """NSD at `tau` px of the two arrays that `surface_distances` gives: both masks empty 1, one empty 0."""
    total = forward.size + backward.size
    if not total:
        return 1.0
    return float(((forward <= tau).sum() + (backward <= tau).sum()) / total)


def hd95_from_distances(forward: DoubleArray, backward: DoubleArray) -> float:
    """HD95 in px of the two arrays that `surface_distances` gives; NaN unless both masks have pixels."""
    if not forward.size or not backward.size:
        return math.nan
    return float(max(np.percentile(forward, 95), np.percentile(backward, 95)))


class BoundaryMetrics:
    """Streaming NSD, HD95 and miss rate per class.

    The background (class 0) has no values: its boundary is that of all other classes once more, and the image border.
    A class counts in a frame where it is in truth or prediction; in one of them only, its NSD is 0. Frames without the
    class are left out of its mean: counting them as 1 (as SAR-RARP50 does, see `sarrarp50`) rewards rare classes.
    """

    def __init__(self, classes: int, tau: float) -> None:
        """`classes` is K with the background, `tau` the NSD tolerance, px. Raises `MetricError` for a negative one."""
        if not tau >= 0:
            raise MetricError(f"NSD tolerance is {tau}; expected 0 or more, in pixels")
        self.classes = classes
        self.tau = tau
        self._nsd_sum: DoubleArray = np.zeros(classes)
        self._nsd_frames: CountArray = np.zeros(classes, np.int64)
        self._hd95_sum: DoubleArray = np.zeros(classes)
        self._hd95_frames: CountArray = np.zeros(classes, np.int64)
        self._truth_frames: CountArray = np.zeros(classes, np.int64)

    def frame_values(
        self, prediction: ByteArray, truth: ByteArray, confusion: CountArray
    ) -> tuple[DoubleArray, DoubleArray]:
        """NSD and HD95 of one frame per class, float64 (K,) each.

        NSD is NaN for a class in neither truth nor prediction, HD95 for one that is not in both.

        Args:
            prediction: class ids, uint8 (H, W); 255 is background.
            truth: class ids, uint8 (H, W); where it is 255 neither map holds any class.
            confusion: of this frame, int64 (K, K); tells which classes occur.
        """
        nsd, hd95 = np.full(self.classes, math.nan), np.full(self.classes, math.nan)
        counted = truth != IGNORED if (truth == IGNORED).any() else None
        for index in range(1, self.classes):
            if not (confusion[index].any() or confusion[:, index].any()):
                continue
            wanted = prediction == index
            if counted is not None:
                wanted &= counted
            forward, backward = surface_distances(wanted.view(np.uint8), (truth == index).view(np.uint8))
            nsd[index] = nsd_from_distances(forward, backward, self.tau)
            hd95[index] = hd95_from_distances(forward, backward)
        return nsd, hd95

    def add(self, nsd: DoubleArray, hd95: DoubleArray, confusion: CountArray) -> None:
        """Add one frame's values, (K,) each, from `frame_values`."""
        for value, total, frames in (
            (nsd, self._nsd_sum, self._nsd_frames),
            (hd95, self._hd95_sum, self._hd95_frames),
        ):
            known = ~np.isnan(value)
            total[known] += value[known]
            frames += known
        self._truth_frames += confusion.sum(axis=1) > 0

    def nsd(self) -> DoubleArray:
        """Mean NSD per class over the frames that hold it, float64 (K,); NaN where there is none."""
        return _mean(self._nsd_sum, self._nsd_frames)

    def hd95(self) -> DoubleArray:
        """Mean HD95 per class, px, over frames with it in truth and prediction, float64 (K,); NaN without any."""
        return _mean(self._hd95_sum, self._hd95_frames)

    def miss_rate(self) -> DoubleArray:
        """Share of the frames with the class in truth where none was predicted, float64 (K,); NaN without any."""
        rate = _mean((self._truth_frames - self._hd95_frames).astype(np.float64), self._truth_frames)
        rate[0] = math.nan  # nobody looked whether the background was predicted
        return rate


def _mean(total: DoubleArray, count: CountArray) -> DoubleArray:
    result = np.full(len(total), math.nan)
    np.divide(total, count, out=result, where=count > 0)
    return result
