"""Corruptions: deterministic, growing with the severity, true to size and type, and each of them what it says."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from clip_rl_training.corruptions import CORRUPTIONS, SEVERITIES, CorruptionError, corrupt_and_cover

NAMES = sorted(CORRUPTIONS)


def scene(size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Pink textured tissue with a grey bar across it."""
    random = np.random.default_rng(5)
    grain = cv2.resize(random.random((12, 16), np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    grain += 0.25 * cv2.resize(random.random((48, 64), np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    rgb = np.clip(grain[..., None] * np.array([120, 60, 55]) + np.array([70, 40, 38]), 0, 255).astype(np.uint8)
    cv2.line(rgb, (0, size[0]), (size[1] // 2, size[0] // 2), (150, 152, 158), max(1, size[0] // 8))
    return rgb


def corrupt(name: str, rgb: np.ndarray, severity: float, seed: int = 0) -> np.ndarray:
    return corrupt_and_cover(name, rgb, severity, seed=seed)[0]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_there_are_at_least_the_fifteen_asked_for() -> None:
    wanted = {
        "smoke", "blood", "defocus", "motion_blur", "specular", "darkness", "overexposure", "colour_shift",
        "sensor_noise", "jpeg", "cloth", "tissue", "lens_dirt", "fog", "interlacing", "dropped_blocks",
    }  # fmt: skip
    assert wanted <= set(NAMES) and len(NAMES) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_and_the_input_is_left_alone(name: str) -> None:
    rgb = scene()
    before = rgb.copy()
    first = corrupt(name, rgb, 3, seed=4)
    assert (rgb == before).all()
    assert (first == corrupt(name, rgb, 3, seed=4)).all()
    assert first.dtype == np.uint8 and first.shape == rgb.shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distance_to_clean_grows_with_the_severity(name: str, seed: int) -> None:
    rgb = scene((240, 320))  # large enough that no two severities round to the same number of pixels
    distances = [distance(corrupt(name, rgb, severity, seed=seed), rgb) for severity in (0, *SEVERITIES)]
    assert distances[0] == 0
    assert all(later > earlier for earlier, later in itertools.pairwise(distances)), distances


@pytest.mark.parametrize("name", NAMES)
def test_any_size(name: str) -> None:
    for size in ((1, 1), (1, 7), (5, 3), (37, 61), (240, 135)):
        for severity in (0.5, 5):
            rgb = np.full((*size, 3), (150, 80, 75), np.uint8)
            damaged, covered = corrupt_and_cover(name, rgb, severity, seed=1)
            assert damaged.shape == rgb.shape and damaged.dtype == np.uint8
            assert covered is None or (covered.shape == size and covered.dtype == np.bool_)


@pytest.mark.parametrize("name", ["smoke", "blood", "cloth", "sensor_noise", "motion_blur", "dropped_blocks"])
def test_seeds_give_other_patterns(name: str) -> None:
    rgb = scene()
    assert distance(corrupt(name, rgb, 3, seed=0), corrupt(name, rgb, 3, seed=1)) > 0.1


@pytest.mark.parametrize(("name", "share"), [("cloth", 0.2), ("tissue", 0.2)])
def test_cover_hides_the_share_that_it_says(name: str, share: float) -> None:
    rgb = scene()
    damaged, covered = corrupt_and_cover(name, rgb, 3, seed=2)
    assert covered is not None and covered.mean() == pytest.approx(share, abs=0.01)
    far = cv2.erode((~covered).astype(np.uint8), np.ones((9, 9)), borderValue=1).astype(bool)
    assert (damaged[far] == rgb[far]).all()
    other_scene = np.full_like(rgb, 200)
    inside = cv2.erode(covered.astype(np.uint8), np.ones((9, 9)), borderValue=1).astype(bool)
    if name == "cloth":  # tissue takes its colour from the scene
        assert (corrupt(name, other_scene, 3, seed=2)[inside] == damaged[inside]).all()


def test_exposure_darkness_and_grey() -> None:
    rgb = scene()
    assert corrupt("darkness", rgb, 5).mean() < 0.2 * rgb.mean()
    assert corrupt("overexposure", rgb, 5).mean() > 1.5 * rgb.mean()
    grey = corrupt("desaturation", rgb, 5)
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()


def test_blurs_keep_brightness_and_lose_detail() -> None:
    rgb = scene()
    for name in ("defocus", "motion_blur", "low_resolution"):
        damaged = corrupt(name, rgb, 5)
        assert damaged.mean() == pytest.approx(rgb.mean(), rel=0.02)
        assert cv2.Laplacian(damaged, cv2.CV_64F).var() < 0.5 * cv2.Laplacian(rgb, cv2.CV_64F).var()


def test_motion_blur_is_along_a_line() -> None:
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[50, 50] = 255
    y, x = np.nonzero(corrupt("motion_blur", dot, 5)[..., 0])
    spread = np.sort(np.linalg.eigvalsh(np.cov(np.stack([x, y]))))
    assert spread[1] > 5 * spread[0]


def test_interlacing_moves_odd_lines_only() -> None:
    rgb = scene()
    damaged = corrupt("interlacing", rgb, 4)
    assert (damaged[::2] == rgb[::2]).all()
    assert (damaged[1::2] != rgb[1::2]).any()


def test_noise_is_about_as_strong_as_it_says() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    spread = (corrupt("sensor_noise", grey, 3).astype(float) - 128).std()
    assert spread == pytest.approx(20, rel=0.05)


def test_dropped_blocks_nest() -> None:
    rgb = scene()
    less, more = (corrupt("dropped_blocks", rgb, severity) for severity in (2, 4))
    damaged = (less != rgb).any(axis=2)
    assert (less[damaged] == more[damaged]).all()


@pytest.mark.parametrize(
    ("name", "rgb", "severity", "message"),
    [
        ("rain", scene(), 1, "no corruption 'rain'; known are smoke"),
        ("smoke", scene(), 6, "severity 6; expected 0 to 5"),
        ("smoke", scene(), float("nan"), "severity nan"),
        ("smoke", scene()[..., 0], 1, r"image is uint8 \(96, 128\); expected uint8 \(H, W, 3\)"),
        ("smoke", scene().astype(np.float32), 1, "image is float32"),
        ("smoke", np.zeros((0, 4, 3), np.uint8), 1, r"\(0, 4, 3\)"),
    ],
)
def test_wrong_arguments(name: str, rgb: np.ndarray, severity: float, message: str) -> None:
    with pytest.raises(CorruptionError, match=message):
        corrupt(name, rgb, severity)
