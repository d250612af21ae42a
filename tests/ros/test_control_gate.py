"""The decision of examples/control_node.py, which has no ROS in it: events by hand, what may be acted on after each."""

from __future__ import annotations

import itertools
import runpy
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import InstrumentTag, InstrumentTagArray, SceneStatus
from control_trials import EXAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

MODULE = runpy.run_path(str(EXAMPLE))
KINDS = ("mask", "instruments", "status")
NS = 10**9
LIMIT_S = 0.3


class Events:
    """A gate, its two clocks in seconds, and messages for it. Stamps are seconds of the first clock."""

    def __init__(self) -> None:
        self.gate = MODULE["Gate"](LIMIT_S)
        self.now = self.steady = 100.0

    def message(self, kind: str, stamp: float, *, validity: int = SceneStatus.OK, frame_id: str = "left") -> Any:
        made = MODULE["TYPES"][kind]()
        nanoseconds = round(stamp * NS)
        made.header.stamp, made.header.frame_id = Time(sec=nanoseconds // NS, nanosec=nanoseconds % NS), frame_id
        if kind == "status":
            made.validity = validity
        return made

    def come(self, *kinds: str, stamp: float, **more: Any) -> None:
        for kind in kinds:
            self.gate.add(kind, self.message(kind, stamp, **more), round(self.now * NS), self.steady)

    def wait(self, seconds: float) -> None:
        self.now, self.steady = self.now + seconds, self.steady + seconds

    @property
    def acts_on(self) -> float | None:
        """Stamp of the frame that may be acted on; its parts are of that stamp, all of them."""
        frame = self.gate.frame(round(self.now * NS), self.steady)
        if frame is None:
            return None
        headers = [frame[kind].header for kind in KINDS]
        assert headers[0] == headers[1] == headers[2]
        assert frame["status"].validity == SceneStatus.OK
        return headers[0].stamp.sec + headers[0].stamp.nanosec / NS


@pytest.fixture
def events() -> Events:
    return Events()


def test_nothing_is_acted_on_before_all_has_come(events: Events) -> None:
    assert events.acts_on is None
    for kind in KINDS[:2]:
        events.come(kind, stamp=99.9)
        assert events.acts_on is None
    events.come("status", stamp=99.9)
    assert events.acts_on == 99.9


@pytest.mark.parametrize("order", list(itertools.permutations(KINDS)), ids=lambda order: " ".join(order))
def test_parts_may_come_in_any_order(events: Events, order: tuple[str, ...]) -> None:
    events.come(*order, stamp=99.9)
    assert events.acts_on == 99.9


def test_the_newest_counts_and_none_before_it(events: Events) -> None:
    events.come(*KINDS, stamp=99.9)
    events.come(*KINDS, stamp=99.8)
    assert events.acts_on == 99.9, "an older frame that comes later"
    events.come(*KINDS, stamp=99.95)
    assert events.acts_on == 99.95


@pytest.mark.parametrize("odd", KINDS)
def test_parts_of_other_stamps_make_no_frame(events: Events, odd: str) -> None:
    events.come(*(kind for kind in KINDS if kind != odd), stamp=99.9)
    events.come(odd, stamp=99.9 + 1e-6)
    events.come(odd, stamp=99.9 - 1e-6)
    events.come(odd, stamp=99.9, frame_id="right")
    assert events.acts_on is None
    events.come(odd, stamp=99.9)
    assert events.acts_on == 99.9


@pytest.mark.parametrize("again", ["mask", "instruments"])
@pytest.mark.parametrize("before", [2, 3], ids=["not yet whole", "whole"])
def test_a_part_that_comes_again_mixes_no_two_frames(events: Events, again: str, before: int) -> None:
    first = {kind: events.message(kind, 99.9) for kind in KINDS}
    for kind in KINDS[:before]:
        events.gate.add(kind, first[kind], round(events.now * NS), events.steady)
    events.come(again, stamp=99.9)
    events.gate.add("status", first["status"], round(events.now * NS), events.steady)
    assert events.acts_on == 99.9
    frame = events.gate.frame(round(events.now * NS), events.steady)
    assert all(frame[kind] is first[kind] for kind in KINDS)


@pytest.mark.parametrize("validity", range(1, 6))
def test_anything_but_ok_stops_at_once_until_the_next_ok(events: Events, validity: int) -> None:
    events.come(*KINDS, stamp=99.9)
    events.come("mask", "instruments", stamp=99.95)
    events.come("status", stamp=99.95, validity=validity)
    assert events.acts_on is None
    events.come(*KINDS, stamp=99.96)
    assert events.acts_on == 99.96


def test_a_frame_that_is_whole_only_after_a_later_one_was_not_ok_is_not_acted_on(events: Events) -> None:
    events.come("mask", "status", stamp=99.9)
    events.come("status", stamp=99.95, validity=SceneStatus.OUT_OF_BODY)
    events.come("instruments", stamp=99.9)
    assert events.acts_on is None


def test_not_ok_with_a_stamp_far_ahead_does_not_last(events: Events) -> None:
    events.come("status", stamp=4e9 / 2, validity=SceneStatus.INVALID_INPUT)
    events.come(*KINDS, stamp=99.9)
    assert events.acts_on == 99.9


def test_it_ages(events: Events) -> None:
    events.come(*KINDS, stamp=99.9)
    events.wait(0.2)
    assert events.acts_on == 99.9, "0.3 s old"
    events.wait(0.001)
    assert events.acts_on is None
    events.wait(-0.1)
    assert events.acts_on is None, "what was too old stays so"


def test_a_frame_that_comes_too_old_or_too_early_is_not_acted_on(events: Events) -> None:
    events.come(*KINDS, stamp=99.6)
    assert events.acts_on is None
    events.come(*KINDS, stamp=100.1)
    assert events.acts_on is None
    events.come(*KINDS, stamp=100.01)
    assert events.acts_on == 100.01, "clocks may differ a little"


def test_a_frame_whose_last_part_is_late_counts_from_its_first(events: Events) -> None:
    """Where the clock of stamps stands still, the other one goes on."""
    events.come("mask", "instruments", stamp=100.0)
    events.steady += 0.29
    events.come("status", stamp=100.0)
    assert events.acts_on == 100.0
    events.steady += 0.02
    assert events.acts_on is None


def test_a_clock_that_jumps_ahead_makes_all_old(events: Events) -> None:
    events.come(*KINDS, stamp=99.9)
    events.now += 10
    assert events.acts_on is None
    events.come(*KINDS, stamp=99.95)
    assert events.acts_on is None, "on its way when the clock jumped"
    events.come(*KINDS, stamp=109.95)
    assert events.acts_on == 109.95


def test_a_clock_that_jumps_back_makes_all_future(events: Events) -> None:
    events.come(*KINDS, stamp=99.9)
    events.now -= 10
    events.come(*KINDS, stamp=99.95)
    assert events.acts_on is None
    events.come(*KINDS, stamp=89.95)
    assert events.acts_on == 89.95, "the first of the new time, at once"
    events.come(*KINDS, stamp=99.97)
    assert events.acts_on == 89.95


def test_a_clock_that_stands_still_stops_within_the_limit(events: Events) -> None:
    events.come(*KINDS, stamp=100.0)
    for _ in range(4):
        events.steady += 0.1
        events.come(*KINDS, stamp=100.0)
    assert events.acts_on is None


def test_parts_that_never_become_whole_are_forgotten(events: Events) -> None:
    for number in range(10_000):
        events.come("mask", stamp=99.9 + number / 1e6)
    assert len(events.gate._parts) <= MODULE["KEPT"]
    events.come(*KINDS, stamp=99.95)
    assert events.acts_on == 99.95


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*KINDS, "not ok"]),
            st.integers(-40, 10),
            st.floats(0, 0.2),
            st.sampled_from([0.0, 0.0, 0.0, -5.0, 5.0]),
        ),
        max_size=60,
    )
)
def test_whatever_comes_what_is_acted_on_is_whole_ok_and_young(steps: list[tuple[str, int, float, float]]) -> None:
    """Against the rule told straight, on events by chance: parts, waits, jumps of the clock."""
    events, since_bad, came = Events(), -1, []
    for count, (kind, offset, wait, jump) in enumerate(steps):
        events.wait(wait)
        events.now += jump
        stamp = round(events.now * 100 + offset) / 100  # a grid, so that parts meet
        if kind == "not ok":
            events.come("status", stamp=stamp, validity=SceneStatus.STALE)
            since_bad = count
        else:
            events.come(kind, stamp=stamp)
            came.append((count, kind, stamp, events.steady))
        acted = events.acts_on
        if acted is not None:
            parts = [part for part in came if part[0] > since_bad and abs(part[2] - acted) < 1e-6]
            assert {part[1] for part in parts} == set(KINDS)
            assert -MODULE["FUTURE_S"] - 1e-6 <= events.now - acted <= LIMIT_S + 1e-6
            assert max(part[3] for part in parts) >= events.steady - LIMIT_S - 1e-6


def tags(*tips: tuple[float, float], confirmed: bool = True) -> InstrumentTagArray:
    made = InstrumentTagArray()
    for x, y in tips:
        tag = InstrumentTag(confirmed=confirmed)
        tag.tip.x, tag.tip.y = x, y
        made.instruments.append(tag)
    return made


def test_the_law_by_hand() -> None:
    velocity, mask = MODULE["velocity"], Image(width=100, height=50)
    assert velocity(mask, tags()) is None
    assert velocity(mask, tags((10, 10), confirmed=False)) is None
    assert velocity(mask, tags((50, 25))) == (0.0, 0.0)
    assert velocity(mask, tags((100, 0), (0, 0))) == pytest.approx((0.025, -0.025))
