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


def test_a_fish_eye_without_coefficients_is_none_the_less_one() -> None:
    info = dataclasses.replace(Rig().info(0), d=(0.0,) * 4, distortion_model="equidistant")
    geometry = eye_geometry("left", info, Rig().size, rectified=False)
    assert np.allclose(geometry.directions([(519.5, 255.5)]), [(math.tan(200 / 520), 0.0)], atol=1e-6)


@pytest.mark.parametrize("rectified", [True, False])
def test_a_part_of_the_sensor_keeps_its_directions(rectified: bool) -> None:
    """By REP-104 K and P stay those of the whole; the part begins at its offsets and may be binned."""
    whole = eye_geometry("left", BENT.info(0), (640, 512), rectified=rectified)
    info = dataclasses.replace(BENT.info(0), roi=(100, 60, 400, 320))
    part = eye_geometry("left", info, (400, 320), rectified=rectified)
    binned = eye_geometry("left", info, (200, 160), rectified=rectified)
    pixels = np.array([(150.0, 80.0), (450.0, 350.0)])
    assert np.allclose(part.directions(pixels - (100, 60)), whole.directions(pixels), atol=1e-6)
    assert np.allclose(binned.directions((pixels - (100, 60) + 0.5) / 2 - 0.5), whole.directions(pixels), atol=1e-6)
    with pytest.raises(GeometryError, match=r"is of 400x320 \(its roi, from 100, 60\), the image is 640x512"):
        eye_geometry("left", info, (640, 512), rectified=rectified)
    outside = dataclasses.replace(info, roi=(300, 60, 400, 320))
    with pytest.raises(GeometryError, match="its roi, 400x320 from 300, 60, does not lie in its 640x512"):
        eye_geometry("left", outside, (400, 320), rectified=rectified)


@pytest.mark.parametrize(("k1", "k2", "focal"), [(-0.33, 0.12, 1200.0), (-0.4, 0.2, 700.0), (0.3, 0.1, 800.0)])
def test_wide_lenses_come_back(k1: float, k2: float, focal: float) -> None:
    rig = Rig(size=(1280, 1024), focal=focal, distortion=(k1, k2, 0.0, 0.0, 0.0))
    eye = eye_geometry("left", rig.info(0), rig.size, rectified=False)
    pixels = np.array([(1200.0, 511.0), (1200.0, 900.0), (1279.0, 1023.0), (0.0, 0.0)])
    assert not eye.folds
    assert np.allclose(eye.pixels(eye.directions(pixels)), pixels, atol=1e-3)


def test_a_lens_that_folds_at_its_border_says_where() -> None:
    rig = Rig(size=(1280, 1024), focal=900.0, distortion=(-0.5, 0.0, 0.0, 0.0, 0.0))
    eye = eye_geometry("left", rig.info(0), rig.size, rectified=False)
    away = eye.directions([(639.5, 511.5), (1279.0, 1023.0)])
    assert eye.folds and np.isfinite(away[0]).all() and np.isnan(away[1]).all()


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
    roi = types.SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    message = types.SimpleNamespace(**{**dataclasses.asdict(info), "roi": roi})
    assert CameraInfo.of(message) == info
    roi.x_offset, roi.y_offset, roi.width, roi.height = 8, 4, 320, 256
    assert CameraInfo.of(message) == dataclasses.replace(info, roi=(8, 4, 320, 256))


GOOD = Rig().info(0)
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"p": (0.0,) * 12}, "left camera_info is not calibrated"),
    ({"k": GOOD.k[:8]}, "missing or not finite"),
    ({"p": (math.nan, *GOOD.p[1:])}, "missing or not finite"),
    ({"k": (0.0,) * 9}, "has no K, which raw images need"),
    ({"width": 512, "height": 640}, "is of 512x640, the image is 640x512: turned or cut"),
    ({"k": (*(2.0 * value for value in GOOD.k[:8]), 1.0)}, "K has its centre at 639, 511"),
    ({"k": (*(0.5 * value for value in GOOD.k[:8]), 1.0)}, "K has its centre at 160, 128"),
    ({"d": (-3.0, 0.0, 0.0, 0.0, 0.0)}, "D bends the picture as no lens does"),
    ({"d": (50.0, 0.0, 0.0, 0.0, 0.0)}, "D bends the picture as no lens does"),
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


def test_eyes_that_were_calibrated_alone_are_no_pair_by_their_distance() -> None:
    """How they look at each other is not known: a turn of half a degree would be 10 mm at 80."""
    alone = [
        dataclasses.replace(BENT.info(eye), r=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), p=BENT.info(0).p) for eye in (0, 1)
    ]
    for given in (0.0, 0.005):
        with pytest.raises(GeometryError, match="calibrate as a pair: each eye was calibrated alone"):
            stereo_geometry(*alone, (640, 512), (640, 512), rectified=False, baseline_m=given)
    together = [dataclasses.replace(BENT.info(eye), p=BENT.info(0).p) for eye in (0, 1)]
    assert stereo_geometry(*together, (640, 512), (640, 512), rectified=False, baseline_m=0.005).baseline == 0.005


@pytest.mark.parametrize(("at", "said"), [(0, "fx 520.0 and 546.0"), (5, "fy 520.0 and 546.0"), (6, "cy 255.5 and")])
def test_rectified_eyes_of_two_calibrations(at: int, said: str) -> None:
    right = with_tx(GOOD, -2.6)
    other = dataclasses.replace(right, p=(*right.p[:at], 1.05 * right.p[at], *right.p[at + 1 :]))
    with pytest.raises(GeometryError, match=said):
        stereo_geometry(GOOD, other, (640, 512), (640, 512), rectified=True)


def test_rectified_images_of_half_the_size() -> None:
    half = dataclasses.replace(GOOD, p=tuple(0.5 * value for value in GOOD.p[:10]) + GOOD.p[10:])
    with pytest.raises(GeometryError, match="P has its centre at 160, 128 of a 640x512 image"):
        eye_geometry("left", half, (640, 512), rectified=True)


def test_a_baseline_can_be_given() -> None:
    infos = GOOD, with_tx(GOOD, -2600.0)
    assert stereo_geometry(*infos, (640, 512), (640, 512), rectified=True, baseline_m=0.005).baseline == 0.005
    assert stereo_geometry(GOOD, GOOD, (640, 512), (640, 512), rectified=True, baseline_m=0.004).baseline == 0.004
    pair = GOOD, with_tx(GOOD, -2.6)
    assert stereo_geometry(*pair, (640, 512), (640, 512), rectified=True).baseline == pytest.approx(0.005)
