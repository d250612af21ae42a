"""What speaks against a continuation, against loops over pairs; and where instruments enter."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.track_costs import NEVER, CostConfig, Past, assignment_costs, content_px, entry_of
from clip_rl_perception.scene.tracks import TrackMemory, track_instruments
from clip_rl_perception.scene.types import Box, ContentArea, Instrument, Keypoint

VIEW = make_letterbox((160, 208), (80, 104))
SHAPE = (20, 26)


def sample(generator: np.random.Generator) -> Instrument:
    angle = generator.uniform(0, 2 * np.pi)
    x, y, sure = generator.uniform(0, (207, 30, 1)).tolist()
    return Instrument(
        class_id=int(generator.integers(0, 2)),
        confidence=0.9,
        box=Box(0, 0, 9, 9),
        tip=(float(generator.uniform(0, 207)), float(generator.uniform(0, 159))),
        axis=(math.cos(angle), math.sin(angle)),
        area=900.0,
        touches_border=True,
        keypoints=(Keypoint("entry", x, y, sure, True),) if generator.random() < 0.7 else (),
        footprint=(generator.random(SHAPE) < 0.3).astype(np.uint8),
    )


def moved(footprint: ByteArray, columns: int, rows: int) -> ByteArray:
    """A footprint shifted; what leaves the grid is lost."""
    out = np.zeros_like(footprint)
    for row, column in np.argwhere(footprint):
        if 0 <= row + rows < out.shape[0] and 0 <= column + columns < out.shape[1]:
            out[row + rows, column + columns] = 1
    return out


def overlap(one: ByteArray, other: ByteArray) -> float:
    """Intersection over union."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


def expected_cost(one: Instrument, track: Past, on_one_grid: bool, config: CostConfig) -> float:
    """By the words of `CostConfig`."""
    diagonal, fresh = math.hypot(160, 208), 0.5 / (0.5 + track.unseen_s)
    found = []
    for x, y in track.moves:
        away = math.dist(one.tip, (track.instrument.tip[0] + x, track.instrument.tip[1] + y))
        far = min(1.0, away / (0.25 * diagonal))
        shared = 1 - far
        if on_one_grid:
            assert one.footprint is not None and track.instrument.footprint is not None
            shared = overlap(one.footprint, moved(track.instrument.footprint, round(x / 8), round(y / 8)))
        tip_weight = config.tip_weight * fresh + config.tip_weight_unseen * (1 - fresh)
        found.append(tip_weight * far + config.overlap_weight * fresh * (1 - shared))
    entries = min(1.0, math.dist(entry_of(one, VIEW), track.entry) / (0.15 * diagonal))
    sure = one.keypoints[0].confidence if one.keypoints else 0
    other = track.class_id not in (-1, one.class_id)
    cost = min(found) + config.entry_weight * (1 - fresh) * entries + config.class_weight * other
    cost += config.axis_weight * (1 - np.dot(one.axis, track.axis)) / 2
    if cost > config.max_cost * fresh + config.max_cost_unseen * (1 - fresh):
        return NEVER
    return cost + config.entry_weight * fresh * sure * entries


@pytest.mark.parametrize("on_one_grid", [True, False])
def test_costs_are_what_is_said(on_one_grid: bool) -> None:
    generator, possible = np.random.default_rng(4), 0
    for _ in range(60):
        seen = [sample(generator) for _ in range(3)]
        past = []
        for place in range(4):
            before = sample(generator)
            if place == 3:
                before = dataclasses.replace(before, footprint=np.zeros(SHAPE, np.uint8))
            x, y = generator.normal(0, 60, 2).tolist()
            entry = (float(generator.uniform(0, 207)), 0.0)
            class_id, unseen = int(generator.integers(-1, 2)), float(generator.choice([0.04, 0.2, 1.5]))
            past.append(Past(before, before.axis, entry, class_id, ((0.0, 0.0), (x, y)), unseen))
        costs = assignment_costs(seen, past, VIEW, SHAPE if on_one_grid else None, CostConfig())
        for (n, one), (t, track) in itertools.product(enumerate(seen), enumerate(past)):
            assert costs[n, t] == pytest.approx(expected_cost(one, track, on_one_grid, CostConfig()), abs=1e-6)
        possible += int((costs < NEVER).sum())
    assert 30 < possible < 700


def test_an_entry_lies_behind_the_tip_on_the_border_of_the_content() -> None:
    one = dataclasses.replace(sample(np.random.default_rng(0)), tip=(100.0, 60.0), axis=(0.6, 0.8), keypoints=())
    assert entry_of(one, VIEW) == pytest.approx((100 - 0.6 * 75, 0.0))
    assert entry_of(dataclasses.replace(one, axis=(1.0, 0.0)), VIEW) == pytest.approx((0.0, 60.0))
    assert entry_of(dataclasses.replace(one, axis=(0.0, -1.0)), VIEW) == pytest.approx((100.0, 159.0))
    outside = entry_of(dataclasses.replace(one, tip=(-5.0, 60.0), axis=(1.0, 0.0)), VIEW)
    assert outside == (-5.0, 60.0)
    round_view = make_letterbox((160, 208), (80, 104), ContentArea(Box(24, 0, 160, 160), (103.5, 79.5, 80.0)))
    x, y = entry_of(one, round_view)
    assert math.dist((x, y), (103.5, 79.5)) == pytest.approx(80.0)
    assert (100 - x) * 0.8 == pytest.approx((60 - y) * 0.6)
    far = dataclasses.replace(one, tip=(300.0, 79.5), axis=(0.0, 1.0))  # beside the circle: there is no crossing
    assert entry_of(far, round_view) == (300.0, 79.5)


def test_a_keypoint_tells_the_entry() -> None:
    points = (Keypoint("entry", 3.0, 4.0, 0.5, True), Keypoint("wrist", 9.0, 9.0, 0.5, True))
    assert entry_of(dataclasses.replace(sample(np.random.default_rng(0)), keypoints=points), VIEW) == (3.0, 4.0)


def test_content_is_measured_in_pixels_of_the_frame() -> None:
    assert content_px(VIEW) == pytest.approx(160 * 208)
    circle = ContentArea(Box(24, 0, 160, 160), (103.5, 79.5, 80.0))
    assert content_px(make_letterbox((160, 208), (160, 160), circle)) == pytest.approx(math.pi * 80**2, rel=0.03)


def test_footprints_of_another_grid_overlap_nothing() -> None:
    """A track unseen since the view changed has a footprint of another size; its tip still tells who it is."""

    def shaft(tip: tuple[float, float], shape: tuple[int, int]) -> Instrument:
        return Instrument(1, 0.9, Box(0, 0, 9, 9), tip, (1.0, 0.0), 900.0, True, footprint=np.ones(shape, np.uint8))

    small, large = make_letterbox((64, 64), (64, 64)), make_letterbox((64, 64), (128, 128))
    step = 30_000_000
    tags, memory = track_instruments((shaft((5, 5), (16, 16)), shaft((50, 50), (16, 16))), 0, small, TrackMemory())
    tags, memory = track_instruments((shaft((5, 5), (32, 32)),), step, large, memory)
    tags, memory = track_instruments((shaft((5, 5), (32, 32)), shaft((50, 50), (32, 32))), 2 * step, large, memory)
    assert [(tag.track_id, tag.tip) for tag in tags] == [(1, (5, 5)), (2, (50, 50))]


def test_footprints_of_another_view_overlap_nothing_though_the_grid_has_their_size() -> None:
    def shaft(tip: tuple[float, float], columns: slice) -> Instrument:
        footprint = np.zeros((16, 16), np.uint8)
        footprint[:, columns] = 1
        return Instrument(1, 0.9, Box(0, 0, 9, 9), tip, (1.0, 0.0), 9e4, True, footprint=footprint)

    whole, part = (
        make_letterbox((640, 640), (64, 64)),
        make_letterbox((640, 640), (64, 64), ContentArea(Box(320, 320, 320, 320))),
    )
    left, right = slice(0, 4), slice(8, 16)
    step = 30_000_000
    tags, memory = track_instruments((shaft((80, 80), left), shaft((500, 500), right)), 0, whole, TrackMemory())
    assert [tag.track_id for tag in tags] == [1, 2]
    tags, memory = track_instruments((shaft((500, 500), right),), step, part, memory)
    assert [tag.track_id for tag in tags] == [2]
    # Far from where the first one was seen, on the cells of the new grid that had its numbers on the old one.
    tags, memory = track_instruments((shaft((350, 340), left), shaft((500, 500), right)), 2 * step, part, memory)
    assert [tag.track_id for tag in tags] == [2, 3]


@pytest.mark.parametrize(("sure", "order"), [(0.9, [1, 2]), (0.0, [2, 1])])
def test_entries_tell_who_is_who_where_footprints_change_hands(sure: float, order: list[int]) -> None:
    """Two over each other: a frame later each has what the other covered, as far as entries are not known."""

    def one(entry: tuple[float, float], columns: slice) -> Instrument:
        footprint = np.zeros((16, 16), np.uint8)
        footprint[4:12, columns] = 1
        points = (Keypoint("entry", *entry, sure, True),)
        return Instrument(1, 0.9, Box(0, 0, 9, 9), (320, 320), (0, 1), 9e4, True, keypoints=points, footprint=footprint)

    view, left, right = make_letterbox((640, 640), (64, 64)), (100.0, 0.0), (540.0, 0.0)
    _, memory = track_instruments((one(left, slice(2, 8)), one(right, slice(6, 14))), 0, view, TrackMemory())
    later = one(left, slice(6, 14)), one(right, slice(2, 8))
    tags, _ = track_instruments(later, 40_000_000, view, memory)
    number = {tag.keypoints[0].x: tag.track_id for tag in tags}
    assert [number[100.0], number[540.0]] == order
