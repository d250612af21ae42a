"""Measures of instruments in space, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clip_rl_perception.arrays import Vector
from clip_rl_perception.metrics.space_evaluator import SpaceEvaluator, band_name
from clip_rl_perception.metrics.space_measures import REGION, SpaceMeasures, ToldInstrument, ToldPoint, measure_space
from clip_rl_perception.metrics.tag_measures import (
    FrameTags,
    TagMeasures,
    TagTruth,
    TrueInstrument,
    TruePoint,
    TrueSpace,
    measure_tags,
)
from scipy.stats import chi2

AXIS = (0.0, 0.0, 1.0)


def eye(*tracks: int, columns: tuple[int, ...] = (0, 20, 40)) -> TagMeasures:
    """Instruments 1, 2, 3 in a row; the tags of `tracks` lie on `columns` of 1, 2, 3, or on nothing (60)."""
    numbers = np.zeros((20, 80), np.uint8)
    for number in range(3):
        numbers[5:15, 20 * number : 20 * number + 10] = number + 1
    count = len(tracks)
    boxes = np.array([[columns[place], 5, 10, 10] for place in range(count)], np.float64).reshape(-1, 4)
    tags = FrameTags(boxes, np.ones(count), np.array(tracks, np.int64), ("",) * count, ({},) * count)
    return measure_tags(tags, TagTruth(numbers, {}))


def truth(**points: tuple[Vector, bool, bool]) -> TrueInstrument:
    return TrueInstrument("", {}, TrueSpace({name: TruePoint(*point) for name, point in points.items()}, AXIS))


def told(left: int, right: int, std: float = 0.001, axis: Vector | None = None, **points: Vector) -> ToldInstrument:
    covariance = np.eye(3) * std**2
    return ToldInstrument(left, right, {name: ToldPoint(at, covariance) for name, at in points.items()}, axis, 0.1)


def report(*moments: SpaceMeasures) -> dict:
    evaluator = SpaceEvaluator()
    for moment in moments:
        evaluator.add(moment, sequence="one")
    assert len(evaluator) == len(moments)
    return evaluator.report()


def test_the_region_is_that_of_a_normal_distribution_in_space() -> None:
    assert pytest.approx(float(chi2.ppf(0.9, 3)), rel=1e-12) == REGION
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0.2, 0.0], [0.0, 0.3, 0.1], [0.5, 0.0, 2.0]]) * 1e-3
    true = {1: truth(wrist=((0.0, 0.0, 0.1), True, True))}
    moments = []
    for _ in range(2000):
        at = (0.0, 0.0, 0.1) + root @ rng.normal(size=3)
        point = ToldPoint((float(at[0]), float(at[1]), float(at[2])), root @ root.T)
        moments.append(measure_space([ToldInstrument(7, 9, {"wrist": point})], true, eye(7), eye(9)))
    assert report(*moments)["points"]["wrist"]["inside_90"] == pytest.approx(0.9, abs=0.02)


def test_pairs_are_right_where_both_tags_are_of_one_instrument() -> None:
    left, right = eye(11, 12, 13), eye(21, 22, 23, columns=(20, 0, 60))
    # Left tags are of 1, 2, 3; right ones of 2, 1 and of nothing: two instruments are two-eyed.
    true = {1: truth(), 2: truth(), 3: truth()}
    found = measure_space([told(11, 22), told(12, 23), told(13, 0), told(0, 21)], true, left, right)
    assert (found.two_eyed, found.paired, found.pairs, found.wrong_pairs, found.stray_pairs) == (2, 1, 1, 0, 1)
    found = measure_space([told(11, 21), told(12, 22)], true, left, right)
    assert (found.two_eyed, found.paired, found.pairs, found.wrong_pairs, found.stray_pairs) == (2, 0, 2, 2, 0)
    scores = report(found, measure_space([told(11, 22), told(12, 21)], true, left, right))["pairing"]
    assert scores == {"two_eyed": 4, "right": 0.5, "pairs": 4, "precision": 0.5, "stray": 0}


def test_errors_are_told_in_mm_in_depth_and_across() -> None:
    true = {1: truth(wrist=((0.010, 0.0, 0.100), True, True), tip_1=((0.0, 0.0, 0.120), True, True))}
    found = measure_space(
        [told(7, 9, wrist=(0.013, 0.004, 0.112), tip_1=(0.0, 0.0, 0.119))], true, eye(7), eye(9)
    )  # fmt: skip
    scores = report(found)
    assert scores["points"]["wrist"] == pytest.approx(
        {
            "count": 1, "median_mm": 13.0, "p90_mm": 13.0, "across_mm": 5.0, "depth_mm": 12.0, "bias_mm": 12.0,
            "inside_90": 0.0,
        }
    )  # fmt: skip
    assert scores["points"]["tip"]["bias_mm"] == pytest.approx(-1.0)
    assert scores["points"]["tip"]["inside_90"] == 1.0
    assert scores["tips_by_depth"]["110 to 130"]["count"] == 1 and scores["tips_by_depth"]["90 to 110"]["count"] == 0
    assert scores["asked"] == {"tip": 1, "wrist": 1}


def test_tips_are_the_true_ones_nearest_in_the_picture() -> None:
    true = {1: truth(tip_1=((0.0, 0.0, 0.1), True, True), tip_2=((0.02, 0.0, 0.1), True, True))}
    swapped = measure_space([told(7, 9, tip_1=(0.021, 0.0, 0.1), tip_2=(0.0, 0.002, 0.1))], true, eye(7), eye(9))
    assert sorted(round(np.linalg.norm(point.offset) * 1000, 6) for point in swapped.points) == [1.0, 2.0]
    # Depth does not decide: the told tip is seen where tip_2 is.
    deep = measure_space([told(7, 9, tip_1=(0.04, 0.0, 0.2))], true, eye(7), eye(9))
    assert [point.offset for point in deep.points] == [pytest.approx((0.02, 0.0, 0.1))]


def test_what_a_picture_does_not_show_is_told_apart() -> None:
    true = {1: truth(wrist=((0.0, 0.0, 0.1), True, False), tip_1=((0.0, 0.01, 0.1), True, True))}
    found = measure_space([told(7, 9, wrist=(0.0, 0.0, 0.1), tip_1=(0.0, 0.01, 0.1))], true, eye(7), eye(9))
    scores = report(found)
    assert scores["hidden"] == {"wrist": 1} and list(scores["points"]) == ["tip"]
    assert scores["asked"] == {"tip": 1, "wrist": 0}


def test_points_by_the_width_of_a_shaft_are_told_apart() -> None:
    true = {1: truth(wrist=((0.0, 0.0, 0.1), True, True))}
    by_width = ToldInstrument(7, 0, {"wrist": ToldPoint((0.0, 0.0, 0.11), np.eye(3) * 1e-4, by_both=False)})
    scores = report(measure_space([by_width], true, eye(7), eye()))
    assert scores["points"] == {} and scores["points_by_width"]["wrist"]["bias_mm"] == pytest.approx(10.0)
    assert scores["pairing"] == {"two_eyed": 0, "right": None, "pairs": 0, "precision": None, "stray": 0}


def test_axes_are_told_in_degrees() -> None:
    axis = (math.sin(0.15), 0.0, math.cos(0.15))
    true = {1: truth(), 2: truth()}
    found = measure_space(
        [told(7, 9, axis=axis), told(8, 10, axis=(math.sin(0.3), 0.0, math.cos(0.3)))], true, eye(7, 8), eye(9, 10)
    )
    axes = report(found)["axes"]
    assert axes["count"] == 2 and axes["median_degrees"] == pytest.approx(math.degrees(0.225))
    assert axes["within_2_std"] == 0.5, "0.3 rad are three standard deviations of 0.1"


def test_a_covariance_that_is_none_holds_nothing() -> None:
    true = {1: truth(wrist=((0.0, 0.0, 0.1), True, True))}
    for covariance in (np.zeros((3, 3)), -np.eye(3)):
        point = ToldPoint((0.0, 0.0, 0.101), covariance)
        found = measure_space([ToldInstrument(7, 9, {"wrist": point})], true, eye(7), eye(9))
        assert report(found)["points"]["wrist"]["inside_90"] == 0.0


def test_nothing_told_and_nothing_true_is_undefined_and_no_error() -> None:
    assert [band_name(depth) for depth in (0.0, 100.0, 110.0)] == ["0 to 70", "90 to 110", "110 to 130"]
    with pytest.raises(ValueError, match="1000 mm lies in no band; expected 0 to 1000"):
        band_name(1000.0)
    empty = report(measure_space([], {}, eye(), eye()))
    assert empty["points"] == {} and empty["axes"]["median_degrees"] is None
    stranger = measure_space([told(5, 6, wrist=(0.0, 0.0, 0.1))], {}, eye(7), eye(9))
    assert stranger.points == () and stranger.stray_pairs == 1
    assert list(report(stranger)["sequences"]) == ["one"]
