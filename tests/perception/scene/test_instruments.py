from __future__ import annotations

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelClass, LabelSpace, label_space_from_names, load_label_space
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.instruments import find_instruments
from clip_rl_perception.scene.label_map import full_size_maps, grid_winners
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Box, ContentArea, Instrument, Letterbox
from drawn_scenes import FRAME, NODE, bar, empty, log_probs_of, plain_view
from hypothesis import given, settings
from hypothesis import strategies as st

TYPES = label_space_from_names(["background", "forceps", "scissors", "probe"])
PARTS = load_label_space("endovis2017-parts")


def find(labels: ByteArray, space: LabelSpace = TYPES, view: Letterbox | None = None) -> tuple[Instrument, ...]:
    log_probs = log_probs_of(labels, len(space))
    view = view or plain_view()
    label_map, _ = full_size_maps(log_probs, view)
    return find_instruments(grid_winners(log_probs), log_probs, label_map, view, space)


def angle(instrument: Instrument, direction: tuple[float, float]) -> float:
    """Degrees between the axis and a direction."""
    unit = np.array(direction) / np.hypot(*direction)
    return float(np.rad2deg(np.arccos(np.clip(np.dot(instrument.axis, unit), -1, 1))))


def test_a_shaft_from_the_left() -> None:
    [seen] = find(bar(empty(), (-40, 300), (500, 300), 80, 1))
    assert seen.class_id == 1 and seen.touches_border
    assert angle(seen, (1, 0)) < 0.5
    np.testing.assert_allclose(seen.tip, (500, 300), atol=3)
    assert abs(seen.box.x) <= 1 and abs(seen.box.x + seen.box.width - 500) <= 3
    assert abs(seen.box.y - 260) <= 3 and abs(seen.box.height - 80) <= 5
    assert abs(seen.area / (500 * 80) - 1) < 0.04
    assert seen.confidence > 0.98
    assert seen.track_id == 0 and seen.age == 0 and seen.velocity == (0.0, 0.0)
    assert seen.footprint is not None and seen.footprint.shape == (88, 112)
    assert seen.footprint.sum() * NODE**2 == pytest.approx(seen.area)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((-60, 100), (400, 350)),
        ((930, 650), (480, 300)),
        ((450, -40), (430, 400)),
        ((300, 760), (420, 330)),
        ((-40, 740), (420, 330)),
        ((940, -30), (420, 330)),
        ((950, 360), (300, 352)),
    ],
)
def test_axis_and_tip_from_every_side(start: tuple[float, float], end: tuple[float, float]) -> None:
    [seen] = find(bar(empty(), start, end, 70, 2))
    direction = (end[0] - start[0], end[1] - start[1])
    assert seen.touches_border
    assert angle(seen, direction) < 1.5
    np.testing.assert_allclose(seen.tip, end, atol=6)


@settings(deadline=None, max_examples=40)
@given(degrees=st.floats(0, 360), reach=st.floats(30, 250), offset=st.floats(-40, 40), width=st.floats(50, 110))
def test_axis_and_tip_of_any_shaft(degrees: float, reach: float, offset: float, width: float) -> None:
    """From outside the frame past its middle, at any angle, with any of the usual widths."""
    direction = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    middle = np.array([448, 352]) + offset * np.array([-direction[1], direction[0]])
    end = middle + (reach - 60) * direction
    [seen] = find(bar(empty(), tuple(middle - 900 * direction), tuple(end), width, 1))
    assert angle(seen, tuple(direction)) < 4
    assert np.hypot(*(np.array(seen.tip) - end)) < 10
    edge = (seen.box.x, seen.box.y, seen.box.x + seen.box.width - 1, seen.box.y + seen.box.height - 1)
    assert edge[0] - 1 <= seen.tip[0] <= edge[2] + 1 and edge[1] - 1 <= seen.tip[1] <= edge[3] + 1


def test_open_claspers_do_not_turn_the_axis() -> None:
    labels = bar(empty(), (-40, 350), (420, 350), 80, 1)
    bar(labels, (410, 340), (520, 270), 26, 1)
    bar(labels, (410, 360), (560, 400), 26, 1)
    [seen] = find(labels)
    assert angle(seen, (1, 0)) < 2
    np.testing.assert_allclose(seen.tip, (560, 400), atol=16)  # the clasper that reaches farther
    assert labels[round(seen.tip[1]), round(seen.tip[0])] == 1


def test_a_bent_wrist_ends_at_its_claspers() -> None:
    labels = bar(empty(), (-40, 500), (460, 500), 80, 1)
    bar(labels, (430, 530), (430, 250), 60, 1)
    [seen] = find(labels)
    assert angle(seen, (1, 0)) < 3
    np.testing.assert_allclose(seen.tip, (430, 250), atol=40)  # on the end of the 60 px wide wrist


def test_an_instrument_just_coming_into_view_points_inwards() -> None:
    [seen] = find(bar(empty(), (450, -60), (450, 60), 130, 1))
    assert angle(seen, (0, 1)) < 3
    np.testing.assert_allclose(seen.tip, (450, 60), atol=5)


def test_without_contact_the_end_nearer_to_the_border_is_the_entry() -> None:
    [seen] = find(bar(empty(), (100, 300), (500, 340), 60, 3))
    assert not seen.touches_border
    assert angle(seen, (400, 40)) < 2
    np.testing.assert_allclose(seen.tip, (500, 340), atol=6)


def test_two_instruments_and_a_speck() -> None:
    labels = bar(empty(), (-40, 150), (300, 200), 70, 1)
    bar(labels, (940, 500), (500, 450), 70, 2)
    labels[600:608, 100:116] = 3
    seen = find(labels)
    assert sorted(item.class_id for item in seen) == [1, 2]
    assert seen[0].area >= seen[1].area


def test_touching_instruments_of_different_classes_stay_two() -> None:
    labels = bar(empty(), (-40, 300), (450, 350), 70, 1)
    bar(labels, (940, 360), (440, 352), 70, 2)
    one, two = sorted(find(labels), key=lambda item: item.class_id)
    assert (one.class_id, two.class_id) == (1, 2)
    assert angle(two, (-1, 0)) < 3
    np.testing.assert_allclose(two.tip, (440, 352), atol=12)


def test_a_confused_patch_does_not_make_an_instrument() -> None:
    labels = bar(empty(), (-40, 300), (500, 300), 80, 1)
    labels[270:330, 200:250] = 2  # 3000 px^2 of 40000
    [seen] = find(labels)
    assert seen.class_id == 1
    assert abs(seen.area / (500 * 80) - 1) < 0.04
    assert seen.confidence < 0.97


def test_crossing_instruments_of_one_class_are_told_apart() -> None:
    labels = bar(empty(), (-60, 150), (560, 480), 70, 1)
    bar(labels, (-60, 620), (580, 200), 70, 1)
    seen = find(labels)
    assert len(seen) == 2
    tips = sorted(item.tip[1] for item in seen)
    np.testing.assert_allclose(tips, [200, 480], atol=16)
    for item in seen:
        want = (620, 330) if item.tip[1] > 340 else (640, -420)
        assert angle(item, want) < 4
        assert item.touches_border


def test_crossing_instruments_made_of_parts() -> None:
    labels = bar(empty(), (-60, 100), (480, 396), 70, 1)
    bar(labels, (480, 396), (540, 429), 56, 2)
    bar(labels, (540, 429), (600, 462), 40, 3)
    bar(labels, (950, 80), (450, 440), 70, 1)
    bar(labels, (450, 440), (380, 490), 50, 3)
    seen = find(labels, PARTS)
    assert len(seen) == 2
    assert all(item.class_id == 1 for item in seen)  # the shaft shows most
    left, right = sorted(seen, key=lambda item: item.box.x)
    np.testing.assert_allclose(left.tip, (600, 462), atol=20)
    np.testing.assert_allclose(right.tip, (380, 490), atol=20)
    assert all(item.confidence > 0.95 for item in seen)


def test_touching_parts_are_one_instrument() -> None:
    labels = bar(empty(), (-40, 300), (300, 300), 80, 1)
    bar(labels, (300, 300), (360, 300), 60, 2)
    bar(labels, (360, 300), (440, 300), 30, 3)
    [seen] = find(labels, PARTS)
    assert seen.class_id == 1
    assert abs(seen.area / (300 * 80 + 60 * 60 + 80 * 30) - 1) < 0.05
    np.testing.assert_allclose(seen.tip, (440, 300), atol=4)


def test_an_instrument_that_another_hides_in_the_middle_is_one() -> None:
    labels = bar(empty(), (-40, 420), (640, 420), 70, 2)
    bar(labels, (330, -40), (330, 600), 90, 1)  # in front
    seen = {item.class_id: item for item in find(labels)}
    assert set(seen) == {1, 2} and len(find(labels)) == 2
    np.testing.assert_allclose(seen[2].tip, (640, 420), atol=5)
    np.testing.assert_allclose(seen[1].tip, (330, 600), atol=5)


def test_a_clasper_apart_from_its_wrist_belongs_to_it() -> None:
    labels = bar(empty(), (-40, 300), (400, 300), 80, 1)
    bar(labels, (420, 300), (500, 300), 30, 1)  # 20 px further: thin metal in between was missed
    [seen] = find(labels)
    np.testing.assert_allclose(seen.tip, (500, 300), atol=5)
    bar(labels, (560, 300), (640, 300), 30, 1)  # 60 px further: something else
    assert len(find(labels)) == 2
    bar(labels, (420, 300), (500, 300), 30, 2)  # another class
    assert len(find(labels)) == 3


def test_an_instrument_across_the_whole_view_is_one() -> None:
    [seen] = find(bar(empty(), (-40, 300), (940, 380), 70, 1))
    assert seen.touches_border
    assert abs(np.dot(seen.axis, (980, 80)) / np.hypot(980, 80)) > 0.999


def test_tissue_and_thread_make_no_tags() -> None:
    space = LabelSpace(
        "test", (LabelClass(0, "background"), LabelClass(1, "kidney"), LabelClass(2, "tool", instrument=True))
    )
    labels = bar(empty(), (-40, 300), (500, 300), 80, 1)
    assert find(labels, space) == ()
    assert find(empty()) == ()


def test_small_instruments_are_kept_or_dropped_by_area() -> None:
    labels = empty()
    labels[320:352, 400:440] = 1  # 1280 px^2, 20 nodes of 9856
    log_probs = log_probs_of(labels, 4)
    label_map, _ = full_size_maps(log_probs, plain_view())
    for limit, count in ((0.0015, 1), (0.003, 0)):
        found = find_instruments(
            grid_winners(log_probs), log_probs, label_map, plain_view(), TYPES, config=InstanceConfig(min_area=limit)
        )
        assert len(found) == count


def test_the_border_of_a_circle_is_a_border() -> None:
    content = ContentArea(Box(96, 0, 704, 704), circle=(447.5, 351.5, 352.0))
    view = make_letterbox(FRAME, (352, 448), content)  # half size, 48 columns of padding: the plain view's grid
    assert (view.scale, view.pad_x, view.pad_y) == (0.5, 48, 0)
    labels = bar(empty(), (0, 352), (420, 352), 70, 1)
    log_probs = log_probs_of(labels, 4)
    label_map, _ = full_size_maps(log_probs, view)
    [seen] = find_instruments(grid_winners(log_probs), log_probs, label_map, view, TYPES)
    assert seen.touches_border and angle(seen, (1, 0)) < 1
    assert 90 <= seen.box.x <= 105  # where the circle begins
    np.testing.assert_allclose(seen.tip, (420, 352), atol=4)


def test_confidence_is_the_calibrated_mean() -> None:
    log_probs = np.full((2, 88, 112), np.log(0.5), np.float32)
    log_probs[:, 20:40, 30:90] = np.log([[[0.2]], [[0.8]]])
    label_map, _ = full_size_maps(log_probs, plain_view())
    space = label_space_from_names(["background", "tool"])
    winners = grid_winners(log_probs)
    [seen] = find_instruments(winners, log_probs, label_map, plain_view(), space)
    assert seen.confidence == pytest.approx(0.8, abs=1e-5)
    [seen] = find_instruments(winners, log_probs, label_map, plain_view(), space, temperature=2.0)
    assert seen.confidence == pytest.approx(2 / 3, abs=1e-5)  # odds 4 become sqrt 4


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**16), frame=st.tuples(st.integers(16, 400), st.integers(16, 400)))
def test_noise_gives_sane_tags(seed: int, frame: tuple[int, int]) -> None:
    """Whatever the network says: boxes and tips inside the frame, unit axes, finite numbers."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(4, 6, 8))
    logits = np.stack([cv2.resize(plane, (28, 22), interpolation=cv2.INTER_CUBIC) for plane in coarse]) * 4
    logits = (logits + rng.normal(size=logits.shape)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(axis=0))
    view = make_letterbox(frame, (88, 112))
    label_map, _ = full_size_maps(log_probs, view)
    for seen in find_instruments(grid_winners(log_probs), log_probs, label_map, view, TYPES):
        assert seen.box.x >= 0 and seen.box.x + seen.box.width <= frame[1] and seen.box.width >= 1
        assert seen.box.y >= 0 and seen.box.y + seen.box.height <= frame[0] and seen.box.height >= 1
        assert 0 <= seen.tip[0] <= frame[1] - 1 and 0 <= seen.tip[1] <= frame[0] - 1
        assert np.hypot(*seen.axis) == pytest.approx(1)
        assert 0 <= seen.confidence <= 1 and seen.area > 0
