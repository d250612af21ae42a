"""Drawn pictures, pictures of packages and scenes: repeatable, of their kind, and halves that do not meet."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.model.frame_classifier import OUT_OF_BODY, OUT_OF_DISTRIBUTION, SURGERY
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.validity import package_pictures as packages
from clip_rl_training.validity.examples import DRAWN, SIZES, drawn_example, package_example, surgery_example
from clip_rl_training.validity.package_pictures import PACKAGES, PHOTO, PicturePackage
from PIL import Image


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_pictures_are_repeatable_and_differ(name: str) -> None:
    first, again, other = drawn_example(name, 3, 0), drawn_example(name, 3, 0), drawn_example(name, 3, 1)
    assert first.rgb.dtype == np.uint8 and first.rgb.ndim == 3 and first.rgb.shape[:2] in SIZES
    assert np.array_equal(first.rgb, again.rgb)
    assert first.rgb.shape != other.rgb.shape or not np.array_equal(first.rgb, other.rgb)
    assert first.label == DRAWN[name].label and first.source == name


def test_both_halves_have_both_kinds_and_share_nothing() -> None:
    for label in (OUT_OF_BODY, OUT_OF_DISTRIBUTION):
        assert {kind.fitted for kind in DRAWN.values() if kind.label == label} == {True, False}
    assert {package.fitted for package in PACKAGES} == {True, False}
    assert len({package.module for package in PACKAGES}) == len(PACKAGES)


def test_scenes_are_damaged_alike_every_time() -> None:
    config = SceneConfig()
    told = set()
    for index in range(24):
        example = surgery_example(config, 5, index)
        assert example.label == SURGERY and example.rgb.dtype == np.uint8 and example.rgb.ndim == 3
        told.add(example.source)
    assert np.array_equal(surgery_example(config, 5, 3).rgb, surgery_example(config, 5, 3).rgb)
    assert "surgery: clean" in told and len(told) > 2


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages of one module each: a photo, a drawing, an icon and a copy; and one that is not installed."""
    folder = tmp_path / "some_pictures"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('read, never imported')\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (120, 160, 3)).astype(np.uint8))
    photo.save(folder / "photo.png")
    photo.save(folder / "a_copy_of_it.png")
    Image.new("RGBA", (200, 100), (0, 0, 255, 0)).save(folder / "drawing.png")
    Image.new("RGB", (16, 16)).save(folder / "icon.png")
    (folder / "damaged.png").write_bytes(b"no picture")
    found = (
        PicturePackage("some_pictures", "some-pictures", True, ("photo.png",), ("*.png",)),
        PicturePackage("no_such_pictures", "no-such-pictures", True, ("*",)),
    )
    monkeypatch.setattr(packages, "PACKAGES", found)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("shipped")
def test_packages_are_read_where_they_lie_and_absent_ones_named() -> None:
    found, absent = packages.package_pictures(fitted=True)
    assert absent == ["no-such-pictures"]
    assert [picture.name for picture in found] == ["some-pictures: a_copy_of_it.png", "some-pictures: drawing.png"]
    assert (found[1].rgb == 255).all(), "transparent is white"
    assert "some_pictures" not in sys.modules
    assert packages.package_pictures(fitted=False) == ([], [])


def test_variants_of_a_picture() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (700, 900, 3)).astype(np.uint8)
    picture = packages.PackagePicture("some: photo.png", PHOTO, rgb)
    whole = package_example(picture, 0, 0)
    assert whole.rgb.shape == (498, 640, 3) and whole.label == OUT_OF_BODY
    parts = [package_example(picture, 0, index).rgb for index in (1, 1, 2)]
    assert np.array_equal(parts[0], parts[1])
    assert parts[1].shape != parts[2].shape or not np.array_equal(parts[1], parts[2])
