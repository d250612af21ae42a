"""Instruments told apart by what their places say: drawn bars, of which every place knows its axis, width and end."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.scene.instance_votes import VoteConfig, group_places, read_places
from clip_rl_perception.scene.instruments import find_instruments
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Instrument
from clip_rl_perception.scene.voted_instances import FARTHEST, vote
from voted_bars import Bars


def divided(bars: Bars, config: VoteConfig | None = None) -> list[float]:
    """IoU of each bar's nodes with the instrument that covers it best."""
    found = vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0, config)
    ious = []
    for number in range(1, bars.count + 1):
        truth = bars.nodes == number
        overlaps = [
            (truth & (found.owners == own)).sum() / (truth | (found.owners == own)).sum() for own in range(1, 9)
        ]
        ious.append(max(overlaps))
    return ious


def test_crossing_instruments_stay_apart_and_the_covered_one_whole() -> None:
    bars = Bars().add((0, 30), (36, 6), 1.6).add((43, 30), (8, 6), 1.6)
    assert min(divided(bars)) > 0.85
    assert len(vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0).lines) == 2


def test_parallel_instruments_that_touch_stay_apart() -> None:
    bars = Bars().add((0, 12), (30, 12), 2.0).add((0, 17), (26, 17), 2.0)
    assert min(divided(bars, VoteConfig(across=0.8))) > 0.9


def test_one_that_smoke_cuts_in_two_is_one_instrument() -> None:
    bars = Bars().add((0, 18), (38, 18), 2.0)
    bars.owner[:, 14:20] = 0
    found = vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0)
    assert len(found.lines) == 1
    assert (found.owners == 1).sum() == (bars.nodes > 0).sum()


def test_eight_instruments_are_eight() -> None:
    bars = Bars()
    for row in (2, 8, 14, 20, 26, 32):
        bars.add((0, row), (16, row), 1.2)
    bars.add((43, 8), (26, 8), 1.2).add((43, 28), (26, 28), 1.2)
    assert len(vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0, VoteConfig(across=0.8)).lines) == 8


def test_keypoints_lie_where_their_peaks_are_and_the_entry_at_the_border_of_the_content() -> None:
    content = np.ones((72, 88), bool)
    content[:, :8] = False  # four places of black surround
    bars = Bars().add((0, 20), (30, 20), 2.0)
    [points] = vote((bars.nodes > 0) & content, content, bars.said, 3.0).points
    by_name = {point.name: point for point in points}
    assert list(by_name) == ["entry", "wrist", "tip_1"]
    assert by_name["tip_1"].place == (30, 20) and by_name["tip_1"].visible
    assert by_name["wrist"].place == (20, 20)
    assert by_name["entry"].place == pytest.approx((4, 20), abs=0.6) and by_name["entry"].visible


def test_without_a_peak_the_tip_is_the_farthest_place_and_says_that_it_is_unsure() -> None:
    bars = Bars().add((0, 20), (30, 20), 2.0, tip=False)
    [points] = vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0).points
    assert points[-1].name == "tip_1" and points[-1].confidence == FARTHEST
    assert points[-1].place[0] == 30


def test_a_peak_before_the_end_of_the_shaft_is_no_tip() -> None:
    bars = Bars().add((0, 20), (30, 20), 2.0, tip=False)
    bars.said[8, 20, 6] = 5.0
    [points] = vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0).points
    assert points[-1].confidence == FARTHEST


def test_no_mask_no_instrument_and_specks_are_none() -> None:
    bars = Bars()
    everywhere = np.ones((72, 88), bool)
    assert len(vote(bars.nodes > 0, everywhere, bars.said, 3.0).lines) == 0
    speck = np.zeros((72, 88), bool)
    speck[40, 40:42] = True
    assert len(vote(speck, everywhere, bars.said, 3.0).lines) == 0


def test_one_that_fills_the_picture_is_one() -> None:
    bars = Bars().add((0, 18), (43, 18), 19.0)
    everywhere = np.ones((72, 88), bool)
    assert (bars.nodes == 1).all()
    assert (vote(everywhere, everywhere, bars.said, 3.0).owners == 1).all()


def test_the_same_votes_give_the_same_instruments() -> None:
    bars = Bars().add((0, 30), (36, 6), 1.6).add((43, 30), (8, 6), 1.6)
    first, second = (vote(bars.nodes > 0, np.ones((72, 88), bool), bars.said, 3.0) for _ in range(2))
    np.testing.assert_array_equal(first.owners, second.owners)
    assert first.points == second.points


def test_no_places_give_no_groups() -> None:
    nothing = np.zeros(0, int)
    owner, lines = group_places(read_places(Bars().said, nothing, nothing), nothing)
    assert len(owner) == 0 and len(lines) == 0


def scene_of(bars: Bars, labels: np.ndarray, space: str) -> tuple[Instrument, ...]:
    """Instruments of a frame twice as large as the network's input."""
    classes = load_label_space(space)
    log_probs = np.full((len(classes), 72, 88), -9.0, np.float32)
    np.put_along_axis(log_probs, labels[None].astype(np.int64), -0.1, axis=0)
    view = make_letterbox((576, 704), (288, 352))
    label_map = labels.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return find_instruments(labels.astype(np.uint8), log_probs, label_map, view, classes, said=bars.said)


def test_instruments_have_boxes_axes_and_keypoints_in_pixels_of_the_frame() -> None:
    bars = Bars().add((0, 20), (30, 20), 2.0)
    [instrument] = scene_of(bars, (bars.nodes > 0).astype(int), "binary")
    assert instrument.axis == pytest.approx((1.0, 0.0), abs=1e-3)
    assert (instrument.box.x, instrument.box.y) == (0, 18 * 16)
    assert (instrument.box.width, instrument.box.height) == (31 * 16, 5 * 16)
    assert instrument.touches_border
    tip = instrument.keypoints[-1]
    # Place 30 covers the network's pixels 240 to 247, of the frame 480 to 495.
    assert (tip.x, tip.y) == pytest.approx((487.5, 327.5))
    assert instrument.tip == pytest.approx((487.5, 327.5), abs=0.1)
    assert [point.name for point in instrument.keypoints] == ["entry", "wrist", "tip_1"]


def test_parts_make_one_instrument_and_a_few_pixels_of_another_type_none() -> None:
    bars = Bars().add((0, 20), (30, 20), 2.0)
    parts = np.where(bars.nodes > 0, np.where(np.arange(88) < 40, 1, 3), 0)
    [instrument] = scene_of(bars, parts, "endovis2017-parts")
    assert instrument.class_id == 1 and instrument.confidence > 0.8
    types = np.where(bars.nodes > 0, np.where(np.arange(88) < 50, 2, 5), 0)
    [instrument] = scene_of(bars, types, "endovis2018-type")
    assert instrument.class_id == 2
    assert instrument.box.width == 31 * 16


def test_what_ends_before_the_border_does_not_touch_it_though_its_entry_lies_there() -> None:
    bars = Bars().add((0, 20), (30, 20), 2.0)
    bars.owner[:, :2] = 0
    [instrument] = scene_of(bars, (bars.nodes > 0).astype(int), "binary")
    entry = instrument.keypoints[0]
    assert entry.name == "entry" and entry.visible and entry.x < 16
    assert not instrument.touches_border
