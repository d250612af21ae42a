"""One frame's tags against its truth: overlaps, who is asked for, who is excused, keypoints; by hand."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.metrics.confusion import MetricError
from clip_rl_perception.metrics.tag_measures import (
    FrameTags,
    Overlap,
    TagTruth,
    TrueInstrument,
    box_iou,
    kept,
    matched,
    measure_tags,
)


def tags(*boxes: tuple[int, int, int, int], owners: np.ndarray | None = None, points: tuple = ()) -> FrameTags:
    count = len(boxes)
    return FrameTags(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.linspace(0.9, 0.5, count),
        np.arange(1, count + 1),
        ("",) * count,
        points or ({},) * count,
        owners,
    )


def drawn(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.zeros(shape, np.uint8)
    for number, (x, y, width, height) in enumerate(boxes, start=1):
        picture[y : y + height, x : x + width] = number
    return picture


def test_iou_of_boxes_is_that_of_their_pixels() -> None:
    one = np.array([(0, 0, 4, 4), (10, 10, 2, 3)], np.float64)
    other = np.array([(2, 0, 4, 4), (10, 10, 2, 3), (100, 0, 5, 5)], np.float64)
    np.testing.assert_allclose(box_iou(one, other), [[8 / 24, 0, 0], [0, 1, 0]])
    assert box_iou(one[:0], other).shape == (0, 3)


def test_the_matching_of_largest_total_iou_is_taken() -> None:
    rows, columns = matched(np.array([[0.9, 0.8], [0.7, 0.49], [0.1, 0.2]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_boxes_and_pixels_overlap_as_drawn() -> None:
    truth = drawn((40, 60), (4, 4, 10, 10), (30, 4, 10, 20))
    truth[30:34, 4:8] = 1  # a piece that something cut off: the box grows with it
    told = ((4, 4, 10, 10), (30, 14, 10, 20))
    measures = measure_tags(tags(*told, owners=drawn((40, 60), *told)), TagTruth(truth, {}))
    assert measures.truths.tolist() == [1, 2]
    np.testing.assert_allclose(measures.boxes.iou, [[100 / 300, 0], [0, 100 / 300]])
    assert measures.masks is not None
    np.testing.assert_allclose(measures.masks.iou, [[100 / 116, 0], [0, 100 / 300]])
    assert not measures.boxes.excused.any() and not measures.masks.excused.any()
    assert measures.diagonal == pytest.approx(np.hypot(40, 60))


def test_small_instruments_are_not_asked_for_and_excuse_the_tags_on_them() -> None:
    shape, boxes = (100, 100), ((10, 10, 30, 30), (60, 60, 4, 4), (80, 80, 4, 4))  # 16 px of 10 000 are 0.16 %
    told = (boxes[0], (60, 60, 4, 5), (82, 80, 4, 4), (0, 90, 5, 5))
    measures = measure_tags(tags(*told, owners=drawn(shape, *told)), TagTruth(drawn(shape, *boxes), {}))
    assert measures.truths.tolist() == [1]
    # The third lies on the small one with just half of its pixels and overlaps by a third: it is wrong, as the last is.
    assert measures.boxes.excused.tolist() == [False, True, False, False]
    assert measures.masks is not None and measures.masks.excused.tolist() == [False, True, False, False]
    assert kept(measures.boxes).tolist() == [0, 2, 3]
    # Of a smaller content the same pixels are a larger share.
    smaller = measure_tags(tags(*told), TagTruth(drawn(shape, *boxes), {}), content_area=8000)
    assert smaller.truths.tolist() == [1, 2, 3] and smaller.masks is None


def test_ignored_pixels_count_for_nobody() -> None:
    truth, told = drawn((40, 60), (0, 0, 20, 20)), ((0, 0, 30, 20), (40, 0, 10, 20))
    ignored = np.zeros(truth.shape, np.bool_)
    ignored[:, 20:44] = True
    measures = measure_tags(tags(*told, owners=drawn(truth.shape, *told)), TagTruth(truth, {}, ignored))
    assert measures.masks is not None
    np.testing.assert_allclose(measures.masks.iou, [[1, 0]])
    np.testing.assert_allclose(measures.boxes.iou, [[2 / 3, 0]])
    assert measures.boxes.excused.tolist() == [False, False]
    ignored[:, 44:46] = True  # now six of the second one's ten columns
    assert measure_tags(tags(*told), TagTruth(truth, {}, ignored)).boxes.excused.tolist() == [False, True]


def test_an_excused_tag_that_matches_counts() -> None:
    overlap = Overlap(np.array([[0.6, 0.3, 0.0]]), np.array([True, True, False]))
    assert kept(overlap).tolist() == [0, 2]


def test_keypoints_are_those_of_the_matched_tag_and_tips_the_nearest() -> None:
    truth = TagTruth(
        drawn((80, 80), (0, 0, 20, 20), (40, 40, 20, 20)),
        {
            1: TrueInstrument("forceps", {"entry": (0.0, 0.0), "tip_1": (20.0, 20.0), "tip_2": (20.0, 10.0)}),
            2: TrueInstrument("", {"tip_1": (60.0, 60.0)}),
        },
    )
    told = tags((0, 0, 20, 20), points=({"tip_1": (20.0, 13.0), "wrist": (1.0, 1.0)},))
    measures = measure_tags(told, truth)
    assert [each.name for each in measures.keypoints] == ["entry", "tip", "tip", "tip"]
    np.testing.assert_allclose([each.px for each in measures.keypoints], [np.nan, 7, 3, np.nan])
    assert measures.true_types == ("forceps", "")


def test_numbers_of_16_bits_no_instruments_and_no_tags() -> None:
    truth = np.zeros((20, 20), np.uint16)
    assert measure_tags(tags((0, 0, 5, 5)), TagTruth(truth, {})).boxes.iou.shape == (0, 1)
    truth[:, :] = 40_000  # fills the picture
    measures = measure_tags(tags(), TagTruth(truth, {}))
    assert measures.truths.tolist() == [40_000] and measures.boxes.iou.shape == (1, 0)
    assert measure_tags(tags(), TagTruth(np.zeros((20, 20), np.uint8), {})).truths.size == 0


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(MetricError, match=r"tags' pixels are \(10, 20\) but the truth of tags is \(20, 20\)"):
        measure_tags(tags(owners=np.zeros((10, 20), np.uint8)), TagTruth(np.zeros((20, 20), np.uint8), {}))
