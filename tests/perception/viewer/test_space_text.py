"""The table of instruments in space: what is told, and why what is missing is."""

from __future__ import annotations

import math

import pytest
from clip_rl_perception.stereo.space_types import Instrument3D, Keypoint3D, Source, SpaceScene, SpaceValidity
from clip_rl_perception.viewer.space_text import space_text, tip_distance

TIP = Keypoint3D(
    "tip_1", source=Source.STEREO, position=(0.03, 0.0, 0.04), covariance=(1e-6, 0, 0, 0, 1e-6, 0, 0, 0, 1e-6)
)
TOOL = Instrument3D(
    3, 11, "instrument", "needle-driver", keypoints=(TIP, Keypoint3D("tip_2", "covered in the left eye")),
    axis=(0.6, 0.0, 0.8), axis_std=math.radians(2.0),
)  # fmt: skip


def test_distances_are_from_the_eye_and_along_the_line_of_sight() -> None:
    assert tip_distance(TIP) == pytest.approx((50.0, 1.0))
    assert all(map(math.isnan, tip_distance(Keypoint3D("tip_1", "covered"))))


def test_a_row_for_each_instrument_with_tracks_of_both_eyes() -> None:
    alone = Instrument3D(0, 12, "instrument", reason="no instrument of the left eye | fits it")
    text = space_text(SpaceScene(SpaceValidity.OK, instruments=(TOOL, alone), baseline=0.005, skew_ms=0.25))
    head, numbers, table = text.split("\n\n")
    assert (head, numbers) == ("**OK**", "baseline 5.00 mm, right eye +0.2 ms")
    assert table.splitlines()[2:] == [
        "| 3, 11 | needle-driver | tip_1 50.0 ± 1.0; tip_2 not known (covered in the left eye) "
        "| (+0.60, +0.00, +0.80) ± 2.0° |  |",
        "| none, 12 | instrument | none told | not known | no instrument of the left eye \\| fits it |",
    ]


def test_a_moment_without_instruments_says_why() -> None:
    text = space_text(SpaceScene(SpaceValidity.UNCALIBRATED, "no camera_info of the left eye came"))
    assert text.startswith("**UNCALIBRATED**: no camera_info of the left eye came\n\n|")
    assert "no instrument" in text.splitlines()[-1]
