"""Instruments whose keypoints are told elsewhere in the other eye, paired by the lines they lie on or their boxes."""

from __future__ import annotations

import dataclasses
import math

import pytest
from clip_rl_perception.scene.types import Box, Instrument
from clip_rl_perception.stereo.pairing import END, Corners, EyeTags, Pairs, pair_instruments
from clip_rl_perception.stereo.row_record import paired_rows

DISPARITIES, WIDTH = (15.0, 230.0), 1280.0


def eye(first: int, *lines: tuple[float, float, float], boxes: tuple[Corners, ...] = ()) -> EyeTags:
    """Tags whose working end is at (x, y) on a shaft of this direction, degrees; tracks count from `first`.

    Without `boxes` each has a small one at its end.
    """
    tags = tuple(
        Instrument(1, 0.9, Box(0, 0, 10, 10), (x, y), (1.0, 0.0), 100.0, True, track_id=first + place)
        for place, (x, y, _) in enumerate(lines)
    )
    ways = tuple((math.cos(math.radians(angle)), math.sin(math.radians(angle))) for *_, angle in lines)
    boxes = boxes or tuple((x - 5.0, y - 5.0, x + 5.0, y + 5.0) for x, y, _ in lines)
    return EyeTags(tags, tuple({END: (x, y)} for x, y, _ in lines), ways, boxes)


def along(line: tuple[float, float, float], far: float, shift: float) -> tuple[float, float, float]:
    """The same shaft in the right eye, `shift` px further left, its end told so far along it."""
    x, y, angle = line
    return x + far * math.cos(math.radians(angle)) - shift, y + far * math.sin(math.radians(angle)), angle


def paired(left: EyeTags, right: EyeTags) -> Pairs:
    return pair_instruments(left, right, DISPARITIES, WIDTH, {})


@pytest.mark.parametrize("angle", [90.0, 60.0, -45.0, 20.0])
@pytest.mark.parametrize("far", [-200.0, 150.0])
def test_an_end_that_is_told_elsewhere_on_its_line(angle: float, far: float) -> None:
    line = (600.0, 400.0, angle)
    pairs = paired(eye(1, line), eye(11, along(line, far, 60.0)))
    assert pairs.pairs == ((0, 0),) and pairs.pointless == (True,) and pairs.by_points == ()
    assert paired_rows(eye(1, line), eye(11, along(line, far, 60.0)), pairs) == [], "it says nothing of the rig's rows"


@pytest.mark.parametrize(
    "other",
    [
        along((600.0, 400.0, 90.0), 200.0, -90.0),  # further right than anything can be
        along((600.0, 400.0, 90.0), 200.0, 400.0),  # nearer than anything can be
        along((600.0, 400.0, 130.0), 200.0, 60.0),  # another direction
    ],
)
def test_other_lines_are_other_instruments(other: tuple[float, float, float]) -> None:
    assert paired(eye(1, (600.0, 400.0, 90.0)), eye(11, other)).pairs == ()


def test_shafts_along_the_rows_pair_by_their_rows() -> None:
    line = (600.0, 400.0, 0.0)
    assert paired(eye(1, line), eye(11, (250.0, 402.0, 0.0))).pairs == ((0, 0),)
    assert paired(eye(1, line), eye(11, (250.0, 480.0, 0.0))).pairs == ()


def test_keypoints_that_fit_go_before_lines() -> None:
    left = eye(1, (600.0, 400.0, 90.0), (700.0, 400.0, 90.0))
    right = eye(11, (640.0, 401.0, 90.0), along((600.0, 400.0, 90.0), 250.0, 60.0))
    pairs = paired(left, right)
    assert pairs.pairs == ((0, 1), (1, 0)) and pairs.pointless == (True, False) and pairs.by_points == (1,)


def test_lines_do_not_say_that_the_eyes_are_swapped() -> None:
    line = (600.0, 400.0, 90.0)
    swapped = paired(eye(1, line), eye(11, along(line, 250.0, -60.0)))
    assert swapped.pairs == () and swapped.mirrored == 0
    assert paired(eye(1, line), eye(11, (660.0, 401.0, 90.0))).mirrored == 1


LEFT = (300.0, 100.0, 700.0, 500.0)
ENDS = ((680.0, 480.0, 45.0), (500.0, 150.0, 40.0))
"""Ends on other lines: 45 degrees from the box's corner, and far above it."""


@pytest.mark.parametrize(
    ("right", "together"),
    [
        ((240.0, 100.0, 640.0, 500.0), True),  # 60 px further left, otherwise alike
        ((240.0, 100.0, 640.0, 340.0), True),  # IoU 0.6
        ((240.0, 100.0, 640.0, 280.0), False),  # IoU 0.45
        ((240.0, 520.0, 640.0, 920.0), False),  # other rows
        ((680.0, 100.0, 1080.0, 500.0), False),  # further right: moved by the least disparity, 5 of 400 px are common
        ((-300.0, 100.0, 100.0, 500.0), False),  # nearer than anything can be: 30 of 400 px are common
        ((470.0, 300.0, 470.0, 300.0), False),  # nothing
    ],
)
def test_boxes_of_the_same_rows_that_a_disparity_lays_over_each_other(right: Corners, together: bool) -> None:
    pairs = paired(eye(1, ENDS[0], boxes=(LEFT,)), eye(11, ENDS[1], boxes=(right,)))
    assert pairs.pairs == (((0, 0),) if together else ()) and pairs.pointless == ((True,) if together else ())
    assert pairs.by_points == () and pairs.mirrored == 0


def test_boxes_of_crossing_instruments_are_alike_and_pair_nothing() -> None:
    box = (240.0, 100.0, 640.0, 500.0)
    crossing = (500.0, 150.0, -45.0)
    assert paired(eye(1, ENDS[0], boxes=(LEFT,)), eye(11, crossing, boxes=(box,))).pairs == ()
    both = paired(eye(1, ENDS[0], boxes=(LEFT,)), eye(11, crossing, ENDS[1], boxes=(box, box)))
    assert both.pairs == ((0, 1),)


def test_keypoints_that_fit_go_before_boxes() -> None:
    box = (240.0, 100.0, 640.0, 500.0)
    right = eye(11, ENDS[1], (620.0, 481.0, 45.0), boxes=(box, box))
    pairs = paired(eye(1, ENDS[0], boxes=(LEFT,)), right)
    assert pairs.pairs == ((0, 1),) and pairs.pointless == (False,)


WRISTS = ((600.0, 300.0), (530.0, 380.0))
"""Told at different places of the shaft."""


def told(eyes: EyeTags, wrist: tuple[float, float], *sure: str) -> EyeTags:
    """A tag whose tip lies at its end, with a wrist, and what the eye is sure of."""
    [places] = eyes.places
    return dataclasses.replace(
        eyes, places=({**places, "wrist": wrist, "tip_1": places[END]},), sure=(frozenset(sure),)
    )


def test_what_both_eyes_are_sure_of_pairs_alone() -> None:
    line = (600.0, 400.0, 90.0)
    left, right = eye(1, line), eye(11, (540.0, 400.0, 90.0))
    pairs = paired(told(left, WRISTS[0], "tip_1"), told(right, WRISTS[1], "tip_1"))
    assert pairs.pairs == ((0, 0),) and pairs.by_points == (0,)
    [row] = paired_rows(told(left, WRISTS[0], "tip_1"), told(right, WRISTS[1], "tip_1"), pairs)
    assert (row.x, row.y) == (570.0, 400.0), "the tip's, not the wrist's"
    unsure = paired(told(left, WRISTS[0], "tip_1"), told(right, WRISTS[1], "wrist"))
    assert unsure.by_points == (), "sure of different ones: both count, and their median does not fit"


def test_a_single_keypoint_that_fits_the_other_way_round_swaps_no_eyes() -> None:
    """Surely told and wrong in one eye: the rest of both tags does not fit the other way round."""
    left, right = (
        dataclasses.replace(
            eye(first, (x, 400.0, 90.0)),
            places=({END: (x, 400.0), "tip_1": (x, 400.0), "wrist": (wrist, 300.0), "tip_2": (wrist, 390.0)},),
            sure=(frozenset({"tip_1"}),),
        )
        for first, x, wrist in ((1, 600.0, 590.0), (11, 640.0, 530.0))
    )
    assert paired(left, right).mirrored == 0
    swapped = paired(right, left)
    assert swapped.by_points == (0,), "as the other eye's, the sure one pairs alone"


@pytest.mark.parametrize(
    ("left", "right", "together"),
    [
        ((0.0, 150.0, 205.0, 410.0), (0.0, 220.0, 105.0, 420.0), True),  # in at the left: the right eye sees half of it
        ((1175.0, 150.0, 1280.0, 410.0), (1075.0, 220.0, 1280.0, 420.0), True),  # and at the right the left eye
        ((400.0, 150.0, 605.0, 410.0), (400.0, 220.0, 505.0, 420.0), False),  # inside both see all of it
        ((0.0, 150.0, 205.0, 410.0), (0.0, 500.0, 105.0, 700.0), False),  # other rows
        ((0.0, 150.0, 250.0, 410.0), (0.0, 150.0, 30.0, 410.0), False),  # hardly any of it is seen by both
    ],
    ids=["left border", "right border", "inside", "other rows", "hardly seen"],
)
def test_at_a_border_boxes_are_alike_where_both_pictures_show_them(
    left: Corners, right: Corners, together: bool
) -> None:
    ends = (120.0, 200.0, 20.0), (300.0, 600.0, 20.0)  # on different lines
    one, other = eye(1, ends[0], boxes=(left,)), eye(11, ends[1], boxes=(right,))
    for cut in (0.0, 40.0):  # pictures begin elsewhere in the virtual camera where cameras have other centres
        eyes = [
            dataclasses.replace(
                each, picture=(-by, 1280.0 - by), boxes=tuple((a - by, b, c - by, d) for a, b, c, d in each.boxes)
            )
            for each, by in ((one, 0.0), (other, cut))
        ]
        pairs = paired(*eyes)
        assert pairs.pairs == (((0, 0),) if together else ()) and all(pairs.pointless), cut


def test_confirmed_tracks_pair_before_tentative_ones() -> None:
    """Two tags of one instrument: the tentative one's place fits better."""
    line = (600.0, 400.0, 90.0)
    left, right = eye(1, line, (600.0, 430.0, 90.0)), eye(11, (540.0, 400.0, 90.0))
    assert paired(left, right).pairs == ((0, 0),)
    tags = (dataclasses.replace(left.tags[0], track_id=0), left.tags[1])
    assert paired(dataclasses.replace(left, tags=tags), right).pairs == ((1, 0),)
    alone = dataclasses.replace(left, tags=tags[:1], places=left.places[:1], axes=left.axes[:1], boxes=left.boxes[:1])
    assert paired(alone, right).pairs == ((0, 0),), "with nobody before it"


def test_a_tentative_track_pairs_by_its_line_where_nobody_else_does() -> None:
    line = (600.0, 400.0, 90.0)
    left, right = eye(1, line), eye(11, along(line, 150.0, 60.0))
    tentative = dataclasses.replace(right, tags=(dataclasses.replace(right.tags[0], track_id=0),))
    assert paired(left, tentative).pairs == ((0, 0),)
