"""Rates and percentiles over a window on a hand-driven clock, and what diagnostics conclude from them."""

from __future__ import annotations

import dataclasses
import math

import pytest
from clip_rl_perception.nodes.diagnostics import Level, NodeState, check
from clip_rl_perception.nodes.health import Health, percentiles
from clip_rl_perception.nodes.newest_frame import FrameCounts
from clip_rl_perception.scene.types import Validity


def test_rates_count_the_window_only() -> None:
    health = Health(window_s=10.0)
    health.begin(100.0)
    for k in range(200):  # 10 Hz for 20 s, every second one processed
        now = 100.0 + (k + 1) * 0.1
        health.arrived(now)
        if k % 2:
            health.published(now, Validity.OK, "", total_ms=20.0, age_ms=30.0)
    summary = health.summary(120.0)
    assert summary.input_hz == pytest.approx(10.0, abs=0.11)
    assert summary.output_hz == pytest.approx(5.0, abs=0.11)
    assert summary.silent_s == pytest.approx(0.0)
    assert health.summary(131.0).input_hz == 0.0


def test_rates_soon_after_activation_use_the_time_since_then() -> None:
    health = Health(window_s=10.0)
    health.begin(50.0)
    for k in range(20):
        health.arrived(50.0 + 0.1 * (k + 1))
    assert health.summary(52.0).input_hz == pytest.approx(10.0)


def test_rejected_frames_count_in_validity_but_not_in_latency() -> None:
    health = Health()
    health.begin(0.0)
    health.published(1.0, Validity.OK, "", 10.0, 12.0)
    health.published(2.0, Validity.INVALID_INPUT, "step 3 is too small", 1.0, 1.0)
    summary = health.summary(3.0)
    assert summary.total_ms.max == 10.0 and summary.age_ms.p50 == 12.0
    assert summary.validity == {Validity.OK: 1, Validity.INVALID_INPUT: 1}
    assert summary.last_problem == "INVALID_INPUT: step 3 is too small"
    assert summary.problem_age_s == pytest.approx(1.0)


def test_begin_forgets_frames_and_keeps_events() -> None:
    health = Health()
    health.begin(0.0)
    health.arrived(1.0)
    health.problem(1.0, "stalled")
    health.event("qos", "incompatible")
    health.begin(2.0)
    summary = health.summary(2.5)
    assert summary.input_hz == 0.0 and summary.last_problem == "" and math.isinf(summary.problem_age_s)
    assert summary.silent_s == pytest.approx(0.5)
    assert health.events == {"qos": "incompatible"}
    health.event("qos", "")
    assert health.events == {}


def test_percentiles_by_hand() -> None:
    spread = percentiles([float(k) for k in range(101)])
    assert (spread.p50, spread.p95, spread.p99, spread.max) == (50.0, 95.0, 99.0, 100.0)
    assert math.isnan(percentiles([]).p50)


def test_losses_count_in_the_window_only() -> None:
    health = Health(window_s=10.0)
    health.begin(0.0)
    health.missed(1.0, lost=5)
    health.missed(8.0, lost=2, replaced=1)
    assert (health.summary(9.0).lost, health.summary(9.0).replaced) == (7, 1)
    assert (health.summary(12.0).lost, health.summary(19.0).lost) == (2, 0)
    health.missed(20.0, replaced=3)
    health.begin(21.0)
    assert health.summary(21.0).replaced == 0


def test_a_dead_camera_is_not_ok_and_has_no_nan() -> None:
    health = Health()
    health.begin(0.0)
    health.arrived(1.0)
    health.published(1.0, Validity.OK, "", 20.0, 25.0)
    source, inference = check(active(summary=health.summary(100.0)))
    assert (source.level, inference.level) == (Level.WARN, Level.STALE)
    assert source.message == "no image for 99.0 s; if the camera sends, "
    assert inference.values["total p95 (ms)"] == "none"
    assert not any("nan" in value for report in (source, inference) for value in report.values.values())


def test_missed_deadlines_count_in_the_window_and_since_activation() -> None:
    health = Health(window_s=10.0)
    health.begin(0.0)
    assert health.late(1.0, 2), "news: told at once"
    assert not health.late(8.0, 1), "known: told by the next report"
    assert (health.summary(9.0).late, health.summary(9.0).late_ever) == (3, 3)
    assert (health.summary(12.0).late, health.summary(19.0).late) == (1, 0)
    assert health.summary(19.0).late_ever == 3
    assert health.late(19.0, 1), "news again"
    health.begin(20.0)
    assert (health.summary(20.0).late, health.summary(20.0).late_ever) == (0, 0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (5, "status missed its deadline of 0.5 s, 2 times of late; no image for 1.0 s"),
        (6, "status missed its deadline of 0.5 s, 2 times of late"),
    ],
    ids=["no image", "no status though there are images"],
)
def test_a_missed_deadline_is_told_with_its_cause(images: int, message: str) -> None:
    health = Health()
    health.begin(0.0)
    for k in range(images):
        health.arrived(k + 1.0)
    health.published(5.0, Validity.OK, "", 20.0, 25.0)
    health.late(6.0, 2)
    source, inference = check(active(summary=health.summary(6.0), status_deadline_s=0.5))
    assert (inference.level, inference.message) == (Level.WARN, message)
    assert inference.values["deadlines missed"] == "2"
    assert source.level is Level.OK, "2 s of silence is its own limit"


def test_the_bond_is_told() -> None:
    assert check(active())[1].values["bond"] == "none"
    assert check(active(bond="formed"))[1].values["bond"] == "formed"


def active(**changes: object) -> NodeState:
    health = Health()
    health.begin(0.0)
    for k in range(10):
        health.arrived(k + 1.0)
        health.published(k + 1.0, Validity.OK, "", 20.0, 25.0)
    state = NodeState(
        lifecycle="active",
        topic="/image",
        publishers=1,
        counts=FrameCounts(10, 10, 0, 0),
        summary=health.summary(10.0),
    )
    return dataclasses.replace(state, **changes)


def test_a_healthy_node_is_ok() -> None:
    source, inference = check(active())
    assert (source.level, inference.level) == (Level.OK, Level.OK)
    assert source.values["received"] == "10" and inference.values["total p95 (ms)"] == "20.0"


def lossy(lost: int, replaced: int = 0, received: int = 10) -> object:
    health = Health()
    health.begin(0.0)
    for k in range(received):
        health.arrived(k * 0.1)
        health.published(k * 0.1, Validity.OK, "", 20.0, 25.0)
    health.missed(1.0, lost=lost, replaced=replaced)
    return health.summary(1.0)


def summary_with(validity: Validity, reason: str, silent_until: float = 1.0) -> object:
    health = Health()
    health.begin(0.0)
    health.arrived(1.0)
    health.published(1.0, validity, reason, 1.0, 1.0)
    return health.summary(silent_until)


@pytest.mark.parametrize(
    ("changes", "component", "level", "phrase"),
    [
        ({"publishers": 0}, 0, Level.WARN, "no publisher on /image"),
        ({"publishers": 0, "absence": "images are on /b"}, 0, Level.WARN, "images are on /b"),
        ({"publishers": 2}, 0, Level.WARN, "2 publishers on /image: their images take turns"),
        ({"events": {"qos /image": "offers best effort"}}, 0, Level.WARN, "offers best effort"),
        ({"summary": summary_with(Validity.OK, "", 9.0)}, 0, Level.WARN, "no image for 8.0 s"),
        ({"summary": summary_with(Validity.OK, "", 9.0), "matched_s": 2.5}, 0, Level.WARN, "no image for 2.5 s"),
        ({"summary": lossy(0, received=0), "matched_s": 1.0}, 0, Level.OK, "waiting for the first image"),
        ({"summary": summary_with(Validity.INVALID_INPUT, "zero size")}, 0, Level.WARN, "zero size"),
        (
            {"summary": summary_with(Validity.STALE, "900 ms old")},
            1,
            Level.WARN,
            "1 of 1 frames not OK: STALE: 900",
        ),
        ({"summary": lossy(90), "advice": "do it"}, 0, Level.WARN, "90 of 100 images were lost on their way: do it"),
        (
            {"summary": lossy(90, 5), "advice": "do it"},
            0,
            Level.WARN,
            "cannot follow, see inference; if losses stay then, do",
        ),
        ({"summary": lossy(3, received=0)}, 0, Level.WARN, "3 of 3 images were lost"),
        ({"summary": lossy(1)}, 0, Level.OK, "10.0 Hz"),
        ({"summary": lossy(90), "loss_warning": 1.0}, 0, Level.OK, "10.0 Hz"),
        ({"summary": lossy(0, 2)}, 1, Level.WARN, "2 of 10 images gave way to newer ones: the network is slower than"),
        ({"summary": lossy(0, 2), "engine": "torch fp32 288x352"}, 1, Level.WARN, "first of all, build an engine"),
        ({"summary": lossy(0, 2), "loss_warning": 0.2}, 1, Level.OK, "20.0 ms (p95)"),
        ({"summary": lossy(0, 2)}, 0, Level.OK, "10.0 Hz"),
        ({"summary": summary_with(Validity.OK, "", 9.0)}, 1, Level.STALE, "no image to work on for 8.0 s"),
        ({"summary": lossy(0, received=0)}, 0, Level.OK, "waiting for the first image"),
        ({"summary": lossy(0, received=0)}, 1, Level.OK, "waiting for the first image"),
        ({"stalled_s": 3.21}, 1, Level.ERROR, "in work for 3.2 s"),
        ({"fault": "no checkpoint 'x'", "lifecycle": "unconfigured"}, 1, Level.ERROR, "no checkpoint 'x'"),
        ({"lifecycle": "inactive", "publishers": 0}, 0, Level.OK, "inactive: activate the node"),
        ({"lifecycle": "unconfigured", "summary": None}, 1, Level.OK, "unconfigured: configure and activate the node"),
        ({"lifecycle": "configuring", "summary": None}, 0, Level.OK, "configuring"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, object], component: int, level: Level, phrase: str) -> None:
    report = check(active(**changes))[component]
    assert report.level is level
    assert phrase in report.message


def test_a_thread_that_has_ended_is_an_error_before_all_else() -> None:
    _, inference = check(active(working=False, stalled_s=3.0))
    assert inference.level is Level.ERROR
    assert inference.message == "the inference thread has ended; start the node again"


def seen(*changes: bool, period: float = 0.5) -> object:
    """A camera whose pictures change or not."""
    health = Health()
    health.begin(0.0)
    for k, changed in enumerate(changes):
        health.arrived(k * period)
        health.published(k * period, Validity.OK, "", 20.0, 25.0)
        health.pictured(k * period, changed)
    return health.summary((len(changes) - 1) * period)


def test_a_picture_that_stays_the_same_is_told_and_one_that_changes_is_not() -> None:
    source, inference = check(active(summary=seen(True, *[False] * 10)))
    assert source.level is Level.WARN and inference.level is Level.OK
    assert source.message == "images come, but the picture is the same for 5.0 s: the source is frozen"
    few, short = seen(True, *[False] * 9), seen(True, *[False] * 14, period=0.2)  # 10 pictures, 2.8 s
    for moving in (few, short, seen(True, *[False] * 12, True), seen(True), seen(*[True] * 12)):
        assert check(active(summary=moving))[0].level is Level.OK
    # From activation on, and not counting the time in which no image came.
    health = Health()
    health.begin(0.0)
    health.pictured(1.0, False)
    health.pictured(2.0, False)
    assert health.summary(60.0).unchanged_s == pytest.approx(1.0)
    health.begin(61.0)
    assert health.summary(62.0).unchanged_s == 0.0
