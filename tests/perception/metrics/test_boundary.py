"""Boundary metrics by hand, against scipy and brute force, and with every empty case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clip_rl_perception.metrics.boundary import (
    BoundaryMetrics,
    hd95_from_distances,
    mask_boundary,
    nsd_from_distances,
    surface_distances,
)
from clip_rl_perception.metrics.confusion import MetricError, frame_confusion
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage


def block(rows: slice, columns: slice, shape: tuple[int, int] = (12, 12)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = 1
    return mask


def nsd(prediction: np.ndarray, truth: np.ndarray, tau: float) -> float:
    return nsd_from_distances(*surface_distances(prediction, truth), tau)


def hd95(prediction: np.ndarray, truth: np.ndarray) -> float:
    return hd95_from_distances(*surface_distances(prediction, truth))


def test_boundary_of_a_block_is_its_ring_also_at_the_image_border() -> None:
    assert mask_boundary(block(slice(3, 6), slice(3, 6))).sum() == 8
    whole = np.ones((4, 5), np.uint8)
    assert mask_boundary(whole).sum() == 4 * 5 - 2 * 3
    assert mask_boundary(np.ones((1, 1), np.uint8)).sum() == 1


def test_equal_masks() -> None:
    mask = block(slice(2, 8), slice(3, 9))
    assert nsd(mask, mask, 0) == 1
    assert hd95(mask, mask) == 0


def test_single_pixels_by_hand() -> None:
    truth, prediction = block(slice(2, 3), slice(2, 3)), block(slice(5, 6), slice(6, 7))  # 3 down, 4 right: 5 px
    assert hd95(prediction, truth) == pytest.approx(5)
    assert nsd(prediction, truth, 4.9) == 0
    assert nsd(prediction, truth, 5) == 1


def test_shifted_line_by_hand() -> None:
    # Rows 2 and 4, 10 px long each: every distance is 2.
    truth, prediction = block(slice(2, 3), slice(0, 10)), block(slice(4, 5), slice(0, 10))
    assert nsd(prediction, truth, 1) == 0
    assert nsd(prediction, truth, 2) == 1
    assert hd95(prediction, truth) == 2


def test_longer_line_by_hand() -> None:
    # Truth 4 px, prediction the same and 4 more to the right, at distances 1, 2, 3, 4.
    truth, prediction = block(slice(2, 3), slice(0, 4)), block(slice(2, 3), slice(0, 8))
    assert nsd(prediction, truth, 2) == pytest.approx((4 + 6) / 12)
    # 95 % between the 7th (3 px) and the 8th (4 px) of 0 0 0 0 1 2 3 4: rank 6.65.
    assert hd95(prediction, truth) == pytest.approx(3.65)


def test_empty_masks() -> None:
    empty, full = block(slice(0, 0), slice(0, 0)), block(slice(2, 5), slice(2, 5))
    assert nsd(empty, empty, 10) == 1
    assert nsd(empty, full, 1e9) == nsd(full, empty, 1e9) == 0
    for pair in ((empty, empty), (empty, full), (full, empty)):
        assert math.isnan(hd95(*pair))


masks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_distances_against_scipy_and_brute_force(data: st.DataObject) -> None:
    truth = data.draw(masks)
    prediction = data.draw(hnp.arrays(np.uint8, truth.shape, elements=st.integers(0, 1)))
    edges = [mask.astype(bool) & ~ndimage.binary_erosion(mask) for mask in (prediction, truth)]
    points = [np.argwhere(edge) for edge in edges]
    forward, backward = surface_distances(prediction, truth)
    for got, own, other in ((forward, 0, 1), (backward, 1, 0)):
        assert len(got) == len(points[own])
        if not len(points[other]):
            assert np.isinf(got).all()
            continue
        if len(got):
            gaps = np.linalg.norm(points[own][:, None] - points[other][None], axis=2).min(axis=1)
            assert got == pytest.approx(gaps, abs=1e-5)
            assert got == pytest.approx(ndimage.distance_transform_edt(~edges[other])[edges[own]], abs=1e-5)


def test_distances_stay_exact_on_a_large_frame() -> None:
    random = np.random.default_rng(0)
    truth, prediction = np.zeros((2, 700, 900), np.uint8)
    for mask in (truth, prediction):
        for _ in range(6):
            y, x = random.integers(0, 650), random.integers(0, 850)
            mask[y : y + random.integers(1, 200), x : x + random.integers(1, 200)] = 1
    edge = truth.astype(bool) & ~ndimage.binary_erosion(truth)
    own = prediction.astype(bool) & ~ndimage.binary_erosion(prediction)
    expected = ndimage.distance_transform_edt(~edge)[own]
    assert surface_distances(prediction, truth)[0] == pytest.approx(expected, abs=1e-3)


def add(metrics: BoundaryMetrics, prediction: np.ndarray, truth: np.ndarray) -> None:
    confusion = frame_confusion(prediction, truth, metrics.classes)
    metrics.add(*metrics.frame_values(prediction, truth, confusion), confusion)


def test_stream_leaves_out_absent_counts_misses_and_false_alarms() -> None:
    metrics = BoundaryMetrics(3, tau=1)
    hit = block(slice(2, 6), slice(2, 6))
    add(metrics, hit, hit)  # hit
    add(metrics, np.zeros_like(hit), hit)  # miss
    add(metrics, hit, np.zeros_like(hit))  # false alarm
    add(metrics, np.zeros_like(hit), np.zeros_like(hit))  # class 1 absent
    assert metrics.nsd()[1] == pytest.approx(1 / 3)
    assert metrics.hd95()[1] == 0
    assert metrics.miss_rate()[1] == pytest.approx(1 / 2)
    for values in (metrics.nsd(), metrics.hd95(), metrics.miss_rate()):
        assert math.isnan(values[2])
        assert math.isnan(values[0]), "the background has no values"


def test_ignored_pixels_belong_to_no_class_and_unlabelled_prediction_is_background() -> None:
    truth = block(slice(2, 6), slice(2, 6))
    prediction = truth.copy()
    prediction[2:6, 6:9] = 1
    truth[2:6, 6:9] = 255
    metrics = BoundaryMetrics(2, tau=0)
    add(metrics, prediction, truth)
    assert metrics.nsd()[1] == 1
    prediction[0, 0] = 255
    metrics = BoundaryMetrics(2, tau=0)
    add(metrics, prediction, truth)
    assert metrics.nsd()[1] == 1


def test_background_has_no_boundary_values() -> None:
    metrics = BoundaryMetrics(2, tau=0)
    add(metrics, block(slice(1, 2), slice(1, 2)), block(slice(1, 2), slice(1, 2)))
    assert math.isnan(metrics.nsd()[0]) and math.isnan(metrics.hd95()[0])


def test_negative_tolerance_is_refused() -> None:
    with pytest.raises(MetricError, match="tolerance is -1"):
        BoundaryMetrics(2, tau=-1)
