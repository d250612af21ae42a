"""Pixels to points before the camera: by hand, and against the projection that RViz draws with."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.scene.pinhole import Pinhole

ZERO_K = (0.0,) * 9
ZERO_P = (0.0,) * 12


def project(p: tuple[float, ...], points: np.ndarray) -> np.ndarray:
    """What CameraInfo's P says, REP-104: [u v w]' = P [X Y Z 1]'."""
    homogeneous = np.asarray(p).reshape(3, 4) @ np.hstack([points, np.ones((len(points), 1))]).T
    return (homogeneous[:2] / homogeneous[2]).T


def test_assumed_camera_looks_through_the_middle() -> None:
    camera = Pinhole.assumed(101, 51, 90.0)
    points = camera.points([(50, 25), (100.5, 25), (50, 25 + 50.5)], depth=0.2)
    np.testing.assert_allclose(points, [(0, 0, 0.2), (0.2, 0, 0.2), (0, 0.2, 0.2)], atol=1e-12)


def test_projection_brings_points_back_to_their_pixels() -> None:
    p = (800.0, 0.0, 640.5, -4.4, 0.0, 810.0, 500.25, 1.5, 0.0, 0.0, 1.0, 0.0)  # a right camera, 5.5 mm to the right
    camera = Pinhole.calibrated(p, ZERO_K, (1280, 1024), (1280, 1024))
    assert camera is not None
    pixels = np.array([(0.0, 0.0), (640.5, 500.25), (1279.0, 1023.0)])
    points = camera.points(pixels, depth=0.12)
    assert np.all(points[:, 2] == 0.12)
    np.testing.assert_allclose(project(p, points), pixels, atol=1e-9)


def test_camera_matrix_serves_where_there_is_no_projection() -> None:
    k = (500.0, 0.0, 320.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0)
    camera = Pinhole.calibrated(ZERO_P, k, (640, 480), (640, 480))
    assert camera is not None
    np.testing.assert_allclose(camera.points([(420, 140)], 2.0), [(0.4, -0.5, 2.0)])


def test_scaled_image_shows_the_same_rays() -> None:
    p = (800.0, 0.0, 639.5, -8.0, 0.0, 800.0, 511.5, 0.0, 0.0, 0.0, 1.0, 0.0)
    full = Pinhole.calibrated(p, ZERO_K, (1280, 1024), (1280, 1024))
    half = Pinhole.calibrated(p, ZERO_K, (1280, 1024), (640, 512))
    assert full is not None and half is not None
    corner = (-0.5, -0.5)  # the border of the top-left pixel, in both
    np.testing.assert_allclose(half.points([corner], 0.1), full.points([corner], 0.1))
    np.testing.assert_allclose(half.points([(639.5, 511.5)], 0.1), full.points([(1279.5, 1023.5)], 0.1))


@pytest.mark.parametrize("size", [(0, 0), (640, 480)])
def test_uncalibrated_camera_is_none(size: tuple[int, int]) -> None:
    assert Pinhole.calibrated(ZERO_P, ZERO_K, size, (640, 480)) is None


def test_numbers_that_are_none_are_no_calibration() -> None:
    p = (500.0, 0.0, float("nan"), 0.0, 0.0, 500.0, 512.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert Pinhole.calibrated(p, ZERO_K, (1280, 1024), (1280, 1024)) is None


def test_a_part_of_the_sensor() -> None:
    p = (500.0, 0.0, 640.0, 0.0, 0.0, 500.0, 512.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    part = Pinhole.calibrated(p, ZERO_K, (1280, 1024), (640, 512), (320, 256, 640, 512))
    assert part is not None and (part.fx, part.cx, part.cy) == (500.0, 320.0, 256.0)
    binned = Pinhole.calibrated(p, ZERO_K, (1280, 1024), (320, 256), (320, 256, 640, 512))
    assert binned is not None and (binned.fx, binned.cx, binned.cy) == (250.0, 159.75, 127.75)
