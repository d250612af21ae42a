from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.tracks import TrackConfig, TrackMemory, track_instruments
from clip_rl_perception.scene.types import Box, Instrument
from drawn_scenes import FRAME, NODE, plain_view

VIEW = plain_view()
MS = 1_000_000


def shaft(
    tip: tuple[float, float], class_id: int = 1, length: float = 240, width: float = 64, confidence: float = 0.9
) -> Instrument:
    """A bar from the left that ends at `tip`, with its footprint."""
    footprint = np.zeros((FRAME[0] // NODE, FRAME[1] // NODE), np.uint8)
    x0, x1 = max(0, round((tip[0] - length) / NODE)), max(0, round(tip[0] / NODE))
    y0, y1 = max(0, round((tip[1] - width / 2) / NODE)), max(0, round((tip[1] + width / 2) / NODE))
    footprint[y0:y1, x0:x1] = 1
    box = Box(x0 * NODE, y0 * NODE, max(1, (x1 - x0) * NODE), max(1, (y1 - y0) * NODE))
    area = float(footprint.sum() * NODE**2)
    return Instrument(class_id, confidence, box, tip, (1.0, 0.0), area, True, footprint=footprint)


class Stream:
    """Feeds frames 40 ms apart and remembers the tags."""

    def __init__(self, config: TrackConfig | None = None) -> None:
        self.memory, self.stamp, self.config = TrackMemory(), 0, config

    def see(self, *instruments: Instrument, after_ms: float = 40) -> tuple[Instrument, ...]:
        self.stamp += round(after_ms * MS)
        tags, self.memory = track_instruments(instruments, self.stamp, VIEW, self.memory, self.config)
        return tags


def ids(tags: Sequence[Instrument]) -> list[int]:
    return [tag.track_id for tag in tags]


def test_identities_begin_at_one_and_stay() -> None:
    stream = Stream()
    [first] = stream.see(shaft((300, 200)))
    assert (first.track_id, first.age, first.velocity, first.visibility) == (1, 0, (0.0, 0.0), 1.0)
    for age in range(1, 6):
        [tag] = stream.see(shaft((300 + 4 * age, 200)))
        assert (tag.track_id, tag.age) == (1, age)
    tags = stream.see(shaft((324, 200)), shaft((500, 500)))
    assert ids(tags) == [1, 2]
    assert [tag.age for tag in tags] == [6, 0]


def test_velocity_is_pixels_per_second_of_the_stamps() -> None:
    stream = Stream(TrackConfig(velocity_time_s=0.1))
    stream.see(shaft((300, 200)))
    [tag] = stream.see(shaft((310, 195)), after_ms=50)
    assert tag.velocity == pytest.approx((200.0, -100.0))
    [tag] = stream.see(shaft((330, 185)), after_ms=100)  # the same speed, at another rate
    assert tag.velocity == pytest.approx((200.0, -100.0))
    [tag] = stream.see(shaft((330, 185)), after_ms=100)  # at rest: smoothed over 100 ms
    assert tag.velocity == pytest.approx((200 * math.exp(-1), -100 * math.exp(-1)))


def test_velocities_that_are_told_are_taken_and_smoothed() -> None:
    def see(x: float, stamp_ms: int, velocity: tuple[float, float] | None, memory: TrackMemory) -> TrackMemory:
        tags, after = track_instruments((shaft((x, 200)),), stamp_ms * MS, VIEW, memory, velocities=[velocity])
        told.append(tags[0].velocity)
        return after

    told: list[tuple[float, float]] = []
    memory = see(300, 0, (50.0, 0.0), TrackMemory())
    memory = see(340, 100, (50.0, 20.0), memory)  # the tip trembles, points on it hardly move
    memory = see(300, 100, None, memory)  # the same moment
    memory = see(300, 200, None, memory)  # not known: after a cut
    see(300, 300, (-8.0, 0.0), memory)
    assert told[0] == (50.0, 0.0) and told[1] == pytest.approx((50.0, 20 * (1 - math.exp(-100 / 30))))
    assert told[2] == told[1] and told[3] == (0.0, 0.0) and told[4] == (-8.0, 0.0)


def test_a_repeated_stamp_moves_nothing() -> None:
    stream = Stream()
    stream.see(shaft((300, 200)))
    stream.see(shaft((310, 200)))
    [tag] = stream.see(shaft((316, 200)), after_ms=0)
    assert tag.track_id == 1 and tag.velocity == pytest.approx((250.0, 0.0))
    [tag] = stream.see(shaft((316, 200)), after_ms=-20)  # a little late: the same moment
    assert tag.track_id == 1 and tag.age == 3 and tag.velocity == pytest.approx((250.0, 0.0))


def test_time_set_back_begins_anew() -> None:
    stream = Stream()
    stream.see(shaft((300, 200)), after_ms=10_000)
    assert ids(stream.see(shaft((300, 200)), shaft((500, 500)))) == [1, 2]
    [tag] = stream.see(shaft((500, 500)), after_ms=-9_000)
    assert (tag.track_id, tag.age) == (1, 0)


def test_a_short_occlusion_keeps_the_identity() -> None:
    stream = Stream()
    stream.see(shaft((300, 200)), shaft((500, 500)))
    for _ in range(8):
        assert ids(stream.see(shaft((500, 500)))) == [2]
    tags = stream.see(shaft((310, 205)), shaft((500, 500)))
    assert ids(tags) == [1, 2]
    assert tags[0].age == 9  # frames since it began, seen or not


def test_after_a_long_absence_it_is_another_one_and_identities_are_not_reused() -> None:
    stream = Stream()
    stream.see(shaft((300, 200)))
    stream.see()
    stream.see(after_ms=2000)
    [tag] = stream.see(shaft((300, 200)))
    assert tag.track_id == 2 and tag.age == 0


def test_absence_counts_in_time_not_in_frames() -> None:
    stream = Stream()
    stream.see(shaft((300, 200)))
    [tag] = stream.see(shaft((300, 200)), after_ms=2100)  # no frame in between: a slow stream
    assert tag.track_id == 2
    stream = Stream(TrackConfig(max_unseen_s=2.5))
    stream.see(shaft((300, 200)))
    [tag] = stream.see(shaft((300, 200)), after_ms=2100)
    assert tag.track_id == 1


def test_a_fast_motion_is_followed_by_prediction() -> None:
    """75 px a frame at 40 ms: after two frames the next place is foreseen."""
    stream = Stream()
    for step in range(6):
        [tag] = stream.see(shaft((250 + 75 * step, 200 + 40 * step), width=50))
        assert tag.track_id == 1


def test_crossing_paths_do_not_swap_identities() -> None:
    """Two of one class, one going up and one down through each other: nearest place alone would swap them."""
    stream = Stream()
    for step in range(21):
        one, two = shaft((420, 200 + 15 * step)), shaft((520, 500 - 15 * step))
        tags = stream.see(two, one) if step % 2 else stream.see(one, two)
        by_id = {tag.track_id: tag for tag in tags}
        assert set(by_id) == {1, 2}
        assert by_id[1].tip == one.tip and by_id[2].tip == two.tip


def test_a_trembling_tip_at_a_low_rate_keeps_its_identity() -> None:
    """40 px to and fro in each frame: going on as before would be 80 px off every time."""
    stream = Stream()
    for step in range(10):
        [tag] = stream.see(shaft((300 + 40 * (step % 2), 200 + 40 * (step % 2)), width=40))
        assert tag.track_id == 1


def test_instruments_that_meet_tip_to_tip_keep_to_their_sides() -> None:
    """They come together, are one area for two frames, and part: who points where tells who is who."""

    def facing_left(tip: tuple[float, float]) -> Instrument:
        mirrored = shaft((FRAME[1] - tip[0], tip[1]))
        assert mirrored.footprint is not None
        return dataclasses.replace(mirrored, tip=tip, axis=(-1.0, 0.0), footprint=mirrored.footprint[:, ::-1])

    stream = Stream()
    for gap in (60, 30, 10):
        stream.see(shaft((440 - gap, 300)), facing_left((440 + gap, 300)))
    for _ in range(2):
        stream.see(shaft((452, 300)))
    tags = stream.see(facing_left((444, 300)), shaft((436, 300)))
    assert [(tag.track_id, tag.axis[0]) for tag in tags] == [(1, 1.0), (2, -1.0)]


def test_classes_decide_when_places_do_not() -> None:
    stream = Stream()
    stream.see(shaft((300, 200), class_id=1), shaft((300, 280), class_id=2))
    tags = stream.see(shaft((300, 236), class_id=2), shaft((300, 244), class_id=1))
    assert [(tag.track_id, tag.class_id) for tag in tags] == [(1, 1), (2, 2)]


def test_a_jump_across_the_view_is_another_instrument() -> None:
    stream = Stream()
    stream.see(shaft((300, 100)))
    assert ids(stream.see(shaft((800, 600)))) == [2]


def test_the_class_does_not_flicker() -> None:
    stream = Stream()
    seen = [stream.see(shaft((300, 200), class_id=k))[0].class_id for k in (1, 1, 1, 2, 1, 2, 1, 1, 2)]
    assert seen == [1] * 9
    seen = [stream.see(shaft((300, 200), class_id=2))[0].class_id for _ in range(12)]
    assert seen[0] == 1 and seen[-1] == 2  # but it follows when the evidence lasts
    assert seen == sorted(seen)


def test_a_confident_class_outvotes_hesitant_ones() -> None:
    stream = Stream()
    stream.see(shaft((300, 200), class_id=1, confidence=0.3))
    stream.see(shaft((300, 200), class_id=1, confidence=0.3))
    [tag] = stream.see(shaft((300, 200), class_id=2, confidence=0.95))
    assert tag.class_id == 2


def test_visibility_compares_with_the_last_second() -> None:
    stream = Stream()
    [tag] = stream.see(shaft((320, 200), length=320))
    full = tag.area
    [tag] = stream.see(shaft((320, 200), length=160))
    assert tag.visibility == pytest.approx(tag.area / full) and tag.visibility == pytest.approx(0.5)
    for _ in range(24):
        [tag] = stream.see(shaft((320, 200), length=160))
    assert tag.visibility == pytest.approx(0.5)  # 960 ms after the large one
    stream.see(shaft((320, 200), length=160))
    [tag] = stream.see(shaft((320, 200), length=160))
    assert tag.visibility == pytest.approx(1.0)


def test_another_view_keeps_identities() -> None:
    memory = TrackMemory()
    tags, memory = track_instruments((shaft((300, 200)), shaft((500, 500))), 0, VIEW, memory)
    other = make_letterbox(FRAME, (320, 448))
    tags, memory = track_instruments((shaft((504, 500)), shaft((304, 200))), 40 * MS, other, memory)
    assert [(tag.track_id, tag.tip) for tag in tags] == [(1, (304, 200)), (2, (504, 500))]


def test_forgotten_classes_do_not_weigh() -> None:
    stream = Stream()
    stream.see(shaft((300, 200), class_id=1))
    stream.memory = stream.memory.without_classes()
    [tag] = stream.see(shaft((300, 200), class_id=5))
    assert (tag.track_id, tag.class_id, tag.age) == (1, 5, 1)


def test_memory_is_not_changed_by_use() -> None:
    """The same frame from the same memory gives the same result."""
    stream = Stream()
    stream.see(shaft((300, 200)), shaft((500, 500)))
    before = stream.memory
    first = track_instruments((shaft((306, 200)),), 80 * MS, VIEW, before)
    again = track_instruments((shaft((306, 200)),), 80 * MS, VIEW, before)
    assert first[0] == again[0] and first[1].next_id == again[1].next_id


def test_empty_frames_are_fine() -> None:
    stream = Stream()
    assert stream.see() == ()
    assert ids(stream.see(shaft((300, 200)))) == [1]
    assert stream.see() == ()


def speck(place: tuple[float, float], size: int = 32) -> Instrument:
    """A square of tissue or light that is none."""
    found = shaft((place[0] + size / 2, place[1]), length=size, width=size)
    return dataclasses.replace(found, axis=(0.0, 1.0), touches_border=False)


@pytest.mark.parametrize("after_ms", [16, 40, 200])
def test_a_speck_gets_no_number(after_ms: float) -> None:
    stream = Stream()
    for step in range(8):
        specks = [speck((500, 400), 96)] if step in (2, 3, 4) else []
        tags = stream.see(shaft((300, 200)), *specks, after_ms=after_ms)
        assert [(tag.track_id, tag.confirmed) for tag in tags] == [(0, False)] * len(specks) + [(1, True)]
    assert stream.memory.next_id == 2


def test_what_comes_and_goes_at_one_place_stays_a_speck() -> None:
    stream = Stream()
    for _ in range(6):
        for _ in range(3):
            assert ids(stream.see(speck((500, 400), 96))) == [0]
        for _ in range(6):
            stream.see()


@pytest.mark.parametrize("after_ms", [20, 40, 200])
def test_an_instrument_that_comes_in_is_confirmed_in_its_fifth_frame(after_ms: float) -> None:
    stream = Stream()
    for age in range(5):
        [tag] = stream.see(speck((400 + age, 300), 96), after_ms=after_ms)
        assert (tag.confirmed, tag.track_id, tag.age) == ((True, 1, 4) if age == 4 else (False, 0, age))
    [tag] = stream.see(speck((405, 300), 96), after_ms=after_ms)
    assert (tag.confirmed, tag.track_id) == (True, 1), "from then on"


def test_what_is_large_and_reaches_the_border_is_confirmed_at_once() -> None:
    large = shaft((300, 200))
    assert ids(Stream().see(large)) == [1]
    assert ids(Stream().see(dataclasses.replace(large, touches_border=False))) == [0]
    assert ids(Stream().see(speck((300, 200), 64))) == [0]


def test_a_small_one_has_to_last() -> None:
    stream = Stream()
    for step in range(60):
        tiny, small = sorted(stream.see(speck((300, 200), 48), speck((600, 500), 24)), key=lambda tag: tag.area)
        assert (small.track_id, tiny.track_id) == ((1, 0) if step >= 50 else (0, 0))


def test_the_time_out_of_sight_is_told() -> None:
    stream = Stream()
    assert stream.see(shaft((300, 200)))[0].unseen_s == 0
    assert stream.see(shaft((300, 200)))[0].unseen_s == pytest.approx(0.04)
    for _ in range(9):
        stream.see()
    assert stream.see(shaft((300, 200)))[0].unseen_s == pytest.approx(0.4)
    assert stream.see(shaft((300, 200)))[0].unseen_s == pytest.approx(0.04)


@pytest.mark.parametrize("after_ms", [40, 200])
def test_one_that_leaves_and_comes_back_where_it_left_is_the_same(after_ms: float) -> None:
    stream = Stream()
    for step in range(20):
        stream.see(shaft((400 - 20 * step, 300), length=500), after_ms=after_ms)  # out of the picture
    for _ in range(round(1500 / after_ms) - 1):
        assert stream.see(after_ms=after_ms) == ()
    tags = [stream.see(shaft((40 + 40 * step, 330), length=500), after_ms=after_ms) for step in range(10)]
    assert [found[0].track_id for found in tags][-1] == 1
    assert {tag.track_id for found in tags for tag in found} <= {0, 1}


def test_another_that_comes_in_elsewhere_is_another_one() -> None:
    stream = Stream()
    for step in range(20):
        stream.see(shaft((400 - 20 * step, 150), length=500))
    for _ in range(10):
        stream.see()
    for step in range(10):
        tags = stream.see(shaft((40 + 40 * step, 500), length=500))
    assert ids(tags) == [2]


def test_a_speck_elsewhere_does_not_take_the_number_of_one_that_is_hidden() -> None:
    stream = Stream()
    for _ in range(10):
        stream.see(shaft((400, 200), length=400))
    for _ in range(20):
        assert ids(stream.see(speck((760, 560)))) == [0]
    assert ids(stream.see(shaft((420, 210), length=420))) == [1]


def test_one_that_comes_back_far_from_where_it_was_is_known_once_it_is_confirmed() -> None:
    """The first bit of it points elsewhere, which is too little to say at once; by its entry it is known then."""
    stream = Stream()
    for _ in range(10):
        stream.see(shaft((700, 300), length=700))
    for _ in range(5):
        stream.see()
    bit, more = dataclasses.replace(shaft((120, 300), length=120), touches_border=False), []
    for step in range(6):
        more += ids(stream.see(dataclasses.replace(bit, axis=(0.0, 1.0)) if step < 2 else bit))
    assert more == [0, 0, 0, 0, 1, 1] and stream.memory.next_id == 2


def tilted(tip: tuple[float, float], entry: tuple[float, float], over: Instrument | None = None) -> Instrument:
    """A bar of 48 px from `entry` to `tip`, but for what lies under another."""
    grid = np.zeros((FRAME[0] // NODE, FRAME[1] // NODE), np.uint8)
    ends = [tuple(round(value / NODE) for value in point) for point in (entry, tip)]
    cv2.line(grid, ends[0], ends[1], 1, 48 // NODE)
    if over is not None:
        grid[np.asarray(over.footprint) > 0] = 0
    length = math.dist(tip, entry)
    axis = ((tip[0] - entry[0]) / length, (tip[1] - entry[1]) / length)
    box = Box(*(NODE * value for value in cv2.boundingRect(grid)))
    return Instrument(1, 0.9, box, tip, axis, float(grid.sum() * NODE**2), True, footprint=grid)


@pytest.mark.parametrize("after_ms", [40, 200])
@pytest.mark.parametrize("merged", [False, True])
def test_instruments_that_cross_keep_their_identities(after_ms: float, merged: bool) -> None:
    """From left and right, over each other and back; `merged`: for a while one of them is all that is found."""
    stream = Stream()
    for step in range(40):
        reach = 300 + 250 * math.sin(math.pi * step / 39)
        one = tilted((100 + reach, 350 + 0.2 * reach), (0, 350))
        two = tilted((780 - reach, 350 + 0.2 * reach), (880, 350), over=one)
        pair = (
            (one,) if merged and 15 <= step < (25 if after_ms == 40 else 20) else (two, one) if step % 2 else (one, two)
        )
        tags = stream.see(*pair, after_ms=after_ms)
        by_id = {tag.track_id: tag for tag in tags}
        assert by_id[1].tip == one.tip
        assert len(tags) == len(pair) and (len(pair) == 1 or by_id[2].tip == two.tip)
