"""Augmentation: geometry that keeps image and labels together, padding as the pipeline draws it, repeatability."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clip_rl_perception.scene.letterbox import PAD_RGB, make_letterbox, to_network
from clip_rl_perception.scene.types import Box, ContentArea
from clip_rl_training.data.augment import AugmentConfig, augment, plain_view

SIZE = (96, 128)


def scene(height: int = 150, width: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark image with one bright square labelled 3."""
    rgb = np.full((height, width, 3), 30, np.uint8)
    labels = np.zeros((height, width), np.uint8)
    labels[40:100, 60:140] = 3
    rgb[labels == 3] = 220
    return rgb, labels, np.ones((height, width), bool)


def geometry_only() -> AugmentConfig:
    """Every photometric change off."""
    off = {
        name: 0.0
        for name in (
            "gain",
            "gamma",
            "colour",
            "mix",
            "saturation",
            "grayscale",
            "shading",
            "blur",
            "resample",
            "noise",
        )
    }
    return dataclasses.replace(AugmentConfig(), jpeg=0.0, blocks=0.0, **off)


def test_labels_move_with_the_image() -> None:
    rgb, labels, content = scene()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        image, mask = augment(rgb, labels, content, size=SIZE, rng=rng, config=geometry_only())
        assert image.shape == (*SIZE, 3)
        assert mask.shape == SIZE
        bright = image[..., 0] > 160
        inside = mask != 255
        overlap = (bright & (mask == 3) & inside).sum() / max(1, ((bright | (mask == 3)) & inside).sum())
        assert overlap > 0.9 or (mask == 3).sum() < 30
        assert set(np.unique(mask)) <= {0, 3, 255}


def test_padding_is_the_pipelines_and_unlabelled() -> None:
    rgb, labels, content = scene(100, 200)
    image, mask = plain_view(rgb, labels, content, size=SIZE)
    outside = mask == 255
    assert outside[:16].all() and outside[-16:].all()
    assert not outside[17:79].any()
    assert (image[outside] == PAD_RGB).all()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        quiet = dataclasses.replace(AugmentConfig(), blocks=0.0)
        image, mask = augment(rgb, labels, content, size=SIZE, rng=rng, config=quiet)
        assert (image[mask == 255] == PAD_RGB).all()


def test_plain_view_shows_the_content_area() -> None:
    rgb, labels, content = scene()
    content[:, :50] = False
    image, mask = plain_view(rgb, labels, content, size=(150, 150))
    # The square's columns 60..139 of the content's 50..199 land on 10..89.
    assert np.flatnonzero((mask == 3).any(0)).tolist() == list(range(10, 90))
    assert (image[mask == 3] == 220).all()


def test_severity_zero_is_the_plain_view_or_its_mirror() -> None:
    rgb, labels, content = scene()
    rgb[:20, :30] = 99
    plain, _ = plain_view(rgb, labels, content, size=SIZE)
    seen = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image, _ = augment(rgb, labels, content, size=SIZE, rng=rng, config=AugmentConfig(), severity=0.0)
        straight = np.abs(image.astype(int) - plain).mean()
        mirrored = np.abs(image[:, ::-1].astype(int) - plain).mean()
        assert min(straight, mirrored) < 1.0
        seen.add(straight < mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize("severity", [0.3, 1.0])
def test_the_same_generator_gives_the_same_bytes(severity: float) -> None:
    rgb, labels, content = scene()
    results = [
        augment(
            rgb, labels, content, size=SIZE, rng=np.random.default_rng(5), config=AugmentConfig(), severity=severity
        )
        for _ in range(2)
    ]
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_every_photometric_change_keeps_labels_and_changes_pixels() -> None:
    rgb, labels, content = scene()
    still = dataclasses.replace(
        geometry_only(), scale=(1.0, 1.0), rotation=0.0, stretch=0.0, flip=0.0, upside_down=0.0, whole_frame=0.0
    )
    for change in ("gain", "gamma", "shading", "blur", "resample", "noise", "jpeg", "colour"):
        config = dataclasses.replace(still, **{change: 1.0})
        plain = augment(rgb, labels, content, size=SIZE, rng=np.random.default_rng(1), config=still)
        changed = augment(rgb, labels, content, size=SIZE, rng=np.random.default_rng(1), config=config)
        assert not np.array_equal(plain[0], changed[0]), change
        assert np.array_equal(plain[1], changed[1]), change


@pytest.mark.parametrize("coloured", [False, True])
def test_gray_images_stay_gray_where_asked(coloured: bool) -> None:
    rgb, labels, content = scene()
    tint = np.array([1.0, 0.7, 0.5]) if coloured else np.ones(3)
    rgb = (rgb.mean(axis=2, keepdims=True) * tint).astype(np.uint8)
    strong = AugmentConfig(colour=0.4, mix=1.0, saturation=0.9, grayscale=0.0, noise=1.0, jpeg=0.0, blocks=0.0)

    def spread(config: AugmentConfig) -> float:
        """Largest difference between channels inside the picture, averaged over images."""
        found = []
        for seed in range(8):
            image, mask = augment(rgb, labels, content, size=SIZE, rng=np.random.default_rng(seed), config=config)
            found.append(np.ptp(image[mask != 255].astype(int), axis=1).mean())
        return float(np.mean(found))

    kept = dataclasses.replace(strong, keep_gray=True)
    assert spread(strong) > 8.0
    assert spread(kept) == (spread(strong) if coloured else 0.0)


def test_covering_blocks_are_not_to_be_guessed() -> None:
    rgb, labels, content = scene()
    config = dataclasses.replace(geometry_only(), blocks=1.0)
    _, mask = augment(rgb, labels, content, size=SIZE, rng=np.random.default_rng(2), config=config)
    _, bare = augment(rgb, labels, content, size=SIZE, rng=np.random.default_rng(2), config=geometry_only())
    assert (mask == 255).sum() > (bare == 255).sum()


def test_a_round_picture_is_seen_as_the_pipeline_sees_it() -> None:
    """Beside a picture narrower than the network's view stands padding, not the camera's dark surround."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:352, :440]
    content = (x - 220) ** 2 + (y - 176) ** 2 <= 160**2
    rgb = np.where(content[..., None], rng.integers(90, 200, (352, 440, 1)), 3).astype(np.uint8).repeat(3, axis=2)
    image, labels = plain_view(rgb, np.ones((352, 440), np.uint8), content, size=(288, 352))
    seen = to_network(rgb, make_letterbox((352, 440), (288, 352), ContentArea(Box(60, 16, 321, 321))))
    assert np.abs(image[:, :30].astype(int) - seen[:, :30]).max() == 0 and (labels[:, :30] == 255).all()
    assert np.abs(image.astype(float) - seen).mean() < 8


@pytest.mark.parametrize("whole", [False, True])
def test_the_dark_surround_is_shown_where_asked(whole: bool) -> None:
    y, x = np.mgrid[:352, :440]
    content = (x - 220) ** 2 + (y - 176) ** 2 <= 160**2
    rgb = np.where(content[..., None], 200, 3).astype(np.uint8).repeat(3, axis=2)
    labels = np.where(content, 1, 255).astype(np.uint8)
    config = dataclasses.replace(
        geometry_only(), scale=(1.0, 1.0), rotation=0.0, stretch=0.0, whole_frame=1.0 if whole else 0.0
    )
    rng = np.random.default_rng(0)
    image, _ = augment(rgb, labels, content, size=(288, 352), rng=rng, config=config, severity=1.0)
    dark = (image == 3).all(axis=2).mean()
    # Of the frame 48 % lie outside the circle; of its box 21 %, of which a view of another shape pads some away.
    assert 0.4 < dark < 0.6 if whole else 0.1 < dark < 0.25
