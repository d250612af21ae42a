"""Rows of paired points that run apart along the width: a rolled camera is told, and nothing else is."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.scene.types import Box, Instrument, Keypoint
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.pairing import END, EyeTags, Pairs
from clip_rl_perception.stereo.row_record import EVERY, LEAST, MOST, PairedRow, RowRecord, paired_rows
from clip_rl_perception.stereo.stereo_geometry import stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoMatcher
from stereo_scene import Rig

WIDTH, HEIGHT = 1280.0, 1024.0
MOMENTS = 100
NAMES = ("wrist", "tip_1", "tip_2")
RIG = Rig(size=(1280, 1024), focal=914.0)


def walks(seed: int, slope: float, *, off_px: float = 8.0, tools: int = 3, moments: int = MOMENTS) -> RowRecord:
    """Instruments that wander over the picture; each place of one has an error of its own, `off_px`, that stays.

    A tenth of all pairs is of two instruments.
    """
    rng, record = np.random.default_rng(seed), RowRecord(WIDTH, 0.3)
    at = rng.uniform((0, 0), (WIDTH, HEIGHT), (tools, 2))
    errors: dict[tuple[int, ...], float] = {}
    for _ in range(moments):
        at = np.clip(at + rng.normal(0, 40.0, at.shape), 0, (WIDTH, HEIGHT))
        rows = []
        for tool, (x, y) in enumerate(at.tolist()):
            error = errors.setdefault((tool, round(x / 160), round(y / 160)), float(rng.normal(0, off_px)))
            wild = float(rng.uniform(-38, 38)) if rng.uniform() < 0.1 else 0.0
            apart = slope * (x - WIDTH / 2) + error + wild + float(rng.normal(0, 3.0))
            rows.append(PairedRow((tool + 1, tool + 11), x, y, apart))
        record.add(rows)
    return record


@pytest.mark.parametrize("degrees", [3.0, -3.0])
def test_a_roll_of_three_degrees_is_told_with_its_size_and_way(degrees: float) -> None:
    slope = math.tan(math.radians(degrees))
    for seed in range(5):
        running = walks(seed, slope, moments=2 * MOMENTS).running
        assert running is not None
        assert running.degrees == pytest.approx(3.0, abs=0.8)
        assert np.sign(running.apart[1]) == np.sign(slope) == -np.sign(running.apart[0])


def test_tags_that_err_do_not_look_like_a_roll() -> None:
    for seed in range(15):
        assert walks(seed, 0.0).running is None
        assert walks(seed, 0.0, off_px=16.0).running is None
    for seed in range(10):
        assert walks(seed, math.tan(math.radians(0.5)), off_px=1.0).running is None, "less than what matters"


def test_one_place_says_nothing_however_long() -> None:
    record = RowRecord(WIDTH, 0.3)
    for _ in range(500):
        record.add([PairedRow((1, 11), 200.0, 500.0, 20.0), PairedRow((2, 12), 1100.0, 500.0, -20.0)])
    assert record.running is None


def test_many_places_close_together_say_nothing() -> None:
    record = RowRecord(WIDTH, 0.3)
    for number in range(10 * EVERY):
        record.add([PairedRow((number, number), 600.0 + number, 100.0, 0.06 * number)])
    assert record.running is None


def test_exact_rows_are_enough_once_there_are_several_places() -> None:
    record, told = RowRecord(WIDTH, 0.3), []
    for number in range(LEAST):
        for _ in range(EVERY):
            x = 1200.0 * number / LEAST
            record.add([PairedRow((number, number), x, 300.0 + 5.0 * (number % 3), 0.05 * (x - WIDTH / 2))])
        told.append(record.running)
    assert told[:-1] == [None] * (LEAST - 1)
    assert told[-1] is not None and told[-1].words == (
        f"rows of {LEAST * EVERY} paired points run apart by -32 to +32 px along the width: is a camera rolled by "
        "about 2.9 degrees, or the calibration another rig's? calibrate again"
    )


def test_what_is_long_ago_is_forgotten() -> None:
    record = walks(0, math.tan(math.radians(3.0)), moments=2 * MOMENTS)
    assert record.running is not None
    rng = np.random.default_rng(0)
    for number in range(2 * MOST):
        x, y = rng.uniform((0, 0), (WIDTH, HEIGHT)).tolist()
        record.add([PairedRow((1000 + number, 1), x, y, float(rng.normal(0, 2.0)))])
    assert record.running is None and len(record._cells) == len(record._medians) == MOST


BOX = (0.0, 0.0, 1.0, 1.0)


def test_a_pair_stands_where_its_median_keypoint_is() -> None:
    tag = Instrument(1, 0.9, Box(0, 0, 1, 1), (0.0, 0.0), (1.0, 0.0), 1.0, True, track_id=3)
    ours = {"wrist": (10.0, 20.0), "tip_1": (30.0, 40.0), "tip_2": (50.0, 60.0), END: (0.0, 0.0)}
    theirs = {"wrist": (6.0, 18.0), "tip_2": (26.0, 37.0), "tip_1": (46.0, 56.0), END: (0.0, 9.0)}
    left, right = (EyeTags((tag,), (places,), ((1.0, 0.0),), (BOX,)) for places in (ours, theirs))
    (row,) = paired_rows(left, right, Pairs(((0, 0),), (True,), 0, (False,)))
    assert row == PairedRow((3, 3), 28.0, 38.5, 3.0)
    only = EyeTags((tag,), ({END: (4.0, 9.0)},), ((1.0, 0.0),), (BOX,))
    (row,) = paired_rows(left, only, Pairs(((0, 0),), (False,), 0, (False,)))
    assert row == PairedRow((3, 3), 2.0, 4.5, -9.0)
    assert paired_rows(left, right, Pairs((), (), 0, ())) == []


def moment(rng: np.random.Generator, tools: DoubleArray) -> tuple[EyeView, EyeView]:
    """Tags of both eyes of instruments (n, 3), wrists in m; keypoints are 1 px off. No pixels: rows need none."""
    made = []
    for eye in (0, 1):
        tags = []
        for number, wrist in enumerate(tools, start=1):
            ends = np.add(wrist, ((0.0, 0.0, 0.0), (0.0, -0.004, 0.004), (0.006, -0.004, 0.004)))
            at = (RIG.pixels(eye, ends) + rng.normal(0, 1.0, (3, 2))).tolist()
            points = [Keypoint(name, x, y, 0.9, True) for name, (x, y) in zip(NAMES, at, strict=True)]
            tags.append(
                Instrument(1, 0.9, Box(0, 0, 9, 9), (at[1][0], at[1][1]), (0.0, -1.0), 99.0, True,
                           track_id=number + 10 * eye, age=5, keypoints=tuple(points))
            )  # fmt: skip
        image = np.broadcast_to(np.uint8(90), (RIG.size[1], RIG.size[0]))
        made.append(EyeView(image, None, tuple(tags), ("instrument",) * len(tags)))
    return made[0], made[1]


@pytest.mark.parametrize("degrees", [0.0, 3.0, -3.0])
def test_a_calibration_that_has_the_right_camera_rolled_is_said_of_the_moment(degrees: float) -> None:
    turn = math.radians(degrees)
    rolled = (math.cos(turn), -math.sin(turn), 0.0, math.sin(turn), math.cos(turn), 0.0, 0.0, 0.0, 1.0)
    right = dataclasses.replace(RIG.info(1), r=rolled)
    matcher = StereoMatcher(stereo_geometry(RIG.info(0), right, RIG.size, RIG.size, rectified=False))
    rng, reasons = np.random.default_rng(4), []
    for _ in range(80):
        reasons.append(
            matcher.match(*moment(rng, rng.uniform((-0.04, -0.012, 0.07), (0.04, 0.02, 0.1), (2, 3)))).reason
        )
    told = [reason for reason in reasons if "run apart" in reason]
    if not degrees:
        assert told == []
        return
    assert told and reasons[-1] == told[-1] and "is a camera rolled by about " in told[-1]
    assert float(told[-1].split(" degrees")[0].rpartition(" ")[2]) == pytest.approx(3.0, abs=0.4)
