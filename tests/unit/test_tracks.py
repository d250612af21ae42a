from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clip_rl_perception.scene.tracks import TrackConfig, TrackMemory, track
from clip_rl_perception.scene.types import Box, Instrument
from clip_rl_perception.scene.view import make_view

VIEW = make_view((256, 320), (256, 320))
FRAME_NS = 40_000_000


def seen(x: int, y: int, *, class_id: int = 1, size: int = 40, confidence: float = 0.9) -> Instrument:
    """A square instrument whose tip is its centre; the footprint is exact on the 64x80 grid."""
    footprint = np.zeros((64, 80), np.uint8)
    footprint[max(0, y // 4) : (y + size) // 4, max(0, x // 4) : (x + size) // 4] = 1
    return Instrument(
        class_id=class_id,
        confidence=confidence,
        box=Box(x, y, size, size),
        tip=(x + size / 2, y + size / 2),
        axis=(1.0, 0.0),
        area=float(size * size),
        touches_border=False,
        footprint=footprint,
    )


def run(frames: list[list[Instrument]], config: TrackConfig | None = None) -> list[tuple[Instrument, ...]]:
    memory, results = None, []
    for index, frame in enumerate(frames):
        tags, memory = track(frame, index * FRAME_NS, VIEW, memory, config)
        results.append(tags)
    return results


def test_ids_start_at_one_and_follow_the_instruments() -> None:
    results = run([[seen(10, 10), seen(200, 100)], [seen(196, 104), seen(14, 12)]])
    assert [tag.track_id for tag in results[0]] == [1, 2]
    assert [(tag.track_id, tag.box.x) for tag in results[1]] == [(1, 14), (2, 196)]
    assert [tag.age for tag in results[1]] == [1, 1]


def test_velocity_is_the_tips_way_over_the_stamps() -> None:
    results = run([[seen(0, 100)], [seen(8, 104)]])
    assert results[0][0].velocity == (0.0, 0.0)
    assert results[1][0].velocity == pytest.approx((8 / 0.04, 4 / 0.04))


def test_instruments_that_pass_each_other_keep_their_ids() -> None:
    """They move 24 px a frame in opposite directions, 8 px apart in y: by place alone the ids would swap."""
    frames = [[seen(24 * i, 100), seen(264 - 24 * i, 108)] for i in range(12)]
    for index, tags in enumerate(run(frames)):
        assert {tag.track_id: tag.box.x for tag in tags} == {1: 24 * index, 2: 264 - 24 * index}


def test_a_short_absence_keeps_the_id_and_a_long_one_ends_it() -> None:
    present, absent = [seen(100, 100)], []
    config = TrackConfig(max_unseen_s=0.2)
    short = run([present, *[absent] * 4, present], config)
    long = run([present, *[absent] * 6, present], config)
    assert short[-1][0].track_id == 1
    assert long[-1][0].track_id == 2


def test_an_id_is_never_given_twice_until_memory_is_dropped() -> None:
    frames: list[list[Instrument]] = []
    for index in range(4):
        frames += [[seen(20 + 60 * index, 40)], *([[]] * 15)]
    assert [tags[0].track_id for tags in run(frames) if tags] == [1, 2, 3, 4]
    tags, _ = track([seen(0, 0)], 0, VIEW, None)
    assert tags[0].track_id == 1


def test_a_jump_across_the_frame_is_another_instrument() -> None:
    results = run([[seen(0, 0)], [seen(270, 200)]])
    assert results[1][0].track_id == 2


def test_a_flickering_class_does_not_reach_the_tag_but_a_lasting_change_does() -> None:
    classes = [1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2]
    results = run([[seen(100, 100, class_id=class_id)] for class_id in classes])
    assert [tags[0].class_id for tags in results[:7]] == [1] * 7
    assert results[-1][0].class_id == 2
    assert {tags[0].track_id for tags in results} == {1}


def test_visibility_compares_with_the_largest_area_of_the_last_second() -> None:
    half = dataclasses.replace(seen(100, 100), area=800.0)
    results = run([[seen(100, 100)], [half], *[[half]] * 30])
    assert [tags[0].visibility for tags in results[:2]] == [1.0, 0.5]
    assert results[25][0].visibility == 0.5  # the first frame is exactly one second ago
    assert results[26][0].visibility == 1.0


def test_overlap_does_not_count_once_the_view_has_changed() -> None:
    other = make_view((256, 320), (256, 320), None)
    moved = dataclasses.replace(other, pad_x=4)
    tags, memory = track([seen(100, 100)], 0, VIEW)
    tags, memory = track([seen(100, 100)], FRAME_NS, moved, memory)
    assert tags[0].track_id == 1  # by the tip
    assert memory.view == moved


def test_no_instruments_at_all() -> None:
    tags, memory = track([], 0, VIEW)
    assert tags == ()
    assert memory == TrackMemory((), 1, VIEW)
