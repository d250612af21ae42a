"""Pixels to directions and back against a camera by the textbook; calibrations that cannot be, and what is said."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.stereo.camera_geometry import CameraInfo, GeometryError, eye_geometry
from clip_rl_perception.stereo.stereo_geometry import stereo_geometry
from stereo_scene import Rig

BENT = Rig(distortion=(-0.25, 0.05, 0.001, -0.0005, 0.02), turned=(0.01, 0.02, -0.015))
POINTS = np.array([(x, y, z) for x in (-0.03, 0.0, 0.025) for y in (-0.02, 0.01) for z in (0.06, 0.11)])


@pytest.mark.parametrize("rig", [Rig(), BENT], ids=["plain", "bent"])
@pytest.mark.parametrize("eye", [0, 1])
def test_pixels_are_those_of_the_textbook(rig: Rig, eye: int) -> None:
    geometry = eye_geometry("left", rig.info(eye), rig.size, rectified=False)
    seen = rig.pixels(eye, POINTS)
    moved = POINTS - (rig.baseline * eye, 0.0, 0.0)
    directions = moved[:, :2] / moved[:, 2:]
    assert np.allclose(geometry.pixels(directions), seen, atol=1e-6)
    assert np.allclose(geometry.directions(seen), directions, atol=2e-5)
    assert (geometry.lens is None) == (rig is not BENT)


def test_rows_are_common_and_disparities_tell_depth() -> None:
    geometry = stereo_geometry(BENT.info(0), BENT.info(1), BENT.size, BENT.size, rectified=False)
    left = geometry.rectified(geometry.left, BENT.pixels(0, POINTS))
    right = geometry.rectified(geometry.right, BENT.pixels(1, POINTS))
    assert np.allclose(left[:, 1], right[:, 1], atol=0.02)
    assert np.allclose(left[:, 0] - right[:, 0], [geometry.disparity(z) for z in POINTS[:, 2]], atol=0.02)
    assert np.allclose(geometry.original(geometry.right, right), BENT.pixels(1, POINTS), atol=0.02)


def test_fish_eyes() -> None:
    info = dataclasses.replace(Rig().info(0), d=(0.1, -0.02, 0.003, 0.0), distortion_model="equidistant")
    geometry = eye_geometry("left", info, Rig().size, rectified=False)
    theta = math.atan(0.3)
    bent = theta * (1 + 0.1 * theta**2 - 0.02 * theta**4 + 0.003 * theta**6)
    (seen,) = geometry.pixels([(0.3, 0.0)])
    assert np.allclose(seen, (520 * bent + 319.5, 255.5), atol=1e-6)
    assert np.allclose(geometry.directions([seen]), [(0.3, 0.0)], atol=1e-6)


def test_a_scaled_image_keeps_its_directions() -> None:
    whole = eye_geometry("left", BENT.info(0), (640, 512), rectified=False)
    half = eye_geometry("left", BENT.info(0), (320, 256), rectified=False)
    pixels = np.array([(100.0, 50.0), (600.0, 400.0)])
    assert np.allclose(half.directions((pixels + 0.5) / 2 - 0.5), whole.directions(pixels), atol=1e-6)


def test_eyes_of_different_sizes() -> None:
    geometry = stereo_geometry(BENT.info(0), BENT.info(1), (640, 512), (320, 256), rectified=False)
    left = geometry.rectified(geometry.left, BENT.pixels(0, POINTS))
    right = geometry.rectified(geometry.right, (BENT.pixels(1, POINTS) + 0.5) / 2 - 0.5)
    assert np.allclose(left[:, 0] - right[:, 0], [geometry.disparity(z) for z in POINTS[:, 2]], atol=0.02)


def test_a_message_is_read_by_its_fields() -> None:
    info = Rig().info(1)
    message = types.SimpleNamespace(**dataclasses.asdict(info))
    assert CameraInfo.of(message) == info


GOOD = Rig().info(0)
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"p": (0.0,) * 12}, "left camera_info is not calibrated"),
    ({"k": GOOD.k[:8]}, "missing or not finite"),
    ({"p": (math.nan, *GOOD.p[1:])}, "missing or not finite"),
    ({"k": (0.0,) * 9}, "has no K, which raw images need"),
    ({"width": 512, "height": 640}, "is of 512x640, the image is 640x512: turned or cut"),
    ({"k": (*(2.0 * value for value in GOOD.k[:8]), 1.0)}, "K has its centre at 639, 511"),
    ({"k": (*(0.4 * value for value in GOOD.k[:8]), 1.0)}, "K has its centre at 128, 102"),
    ({"p": (3 * 520.0, 0.0, 319.5, 0.0, 0.0, 3 * 520.0, *GOOD.p[6:])}, "one is of another size"),
    ({"r": (1.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)}, "R is no rotation"),
    ({"d": (0.1, 0.1), "distortion_model": "plumb_bob"}, "2 coefficients of 'plumb_bob' are not known"),
    ({"d": (0.1,) * 5, "distortion_model": "spline"}, "5 coefficients of 'spline'"),
    ({"p": (520.0, 0.0, 319.5, 0.0, 0.0, 260.0, *GOOD.p[6:])}, "fx about fy"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said[:24] for _, said in FAULTS])
def test_what_cannot_be_is_said_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(GeometryError) as caught:
        eye_geometry("left", dataclasses.replace(GOOD, **change), (640, 512), rectified=False)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def with_tx(info: CameraInfo, tx: float) -> CameraInfo:
    return dataclasses.replace(info, p=(*info.p[:3], tx, *info.p[4:]))


@pytest.mark.parametrize(
    ("left_tx", "right_tx", "said"),
    [
        (0.0, 0.0, "the baseline is 0"),
        (-2.6, 0.0, "left and right camera_info are swapped"),
        (0.0, 2.6, "left and right camera_info are swapped"),
        (0.0, -2600.0, "the baseline is 5 m as if 5 were millimetres"),
        (0.0, -520.0 * 0.2, "the baseline is 0.2 m; expected"),
    ],
)
def test_pairs_that_are_none(left_tx: float, right_tx: float, said: str) -> None:
    infos = with_tx(GOOD, left_tx), with_tx(GOOD, right_tx)
    with pytest.raises(GeometryError, match=said):
        stereo_geometry(*infos, (640, 512), (640, 512), rectified=True)


def test_a_baseline_can_be_given() -> None:
    infos = GOOD, with_tx(GOOD, -2600.0)
    assert stereo_geometry(*infos, (640, 512), (640, 512), rectified=True, baseline_m=0.005).baseline == 0.005
    assert stereo_geometry(GOOD, GOOD, (640, 512), (640, 512), rectified=True, baseline_m=0.004).baseline == 0.004
    pair = GOOD, with_tx(GOOD, -2.6)
    assert stereo_geometry(*pair, (640, 512), (640, 512), rectified=True).baseline == pytest.approx(0.005)
