"""What is measured of pictures, on pictures whose numbers are known, and `clip-rl data statistics` as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.errors import ClipRlError
from clip_rl_training.commands import data
from clip_rl_training.data.augment import is_gray
from clip_rl_training.data.image_statistics import describe, frame_statistics, summarize


def block(inside: int, outside: int) -> tuple[np.ndarray, np.ndarray]:
    """A gray square of 60 px in a picture of 120."""
    instruments = np.zeros((120, 120), bool)
    instruments[30:90, 30:90] = True
    rgb = np.full((120, 120, 3), outside, np.uint8)
    rgb[instruments] = inside
    return rgb, instruments


def test_flat_square() -> None:
    rgb, instruments = block(40, 100)
    known = np.ones_like(instruments)
    found = frame_statistics(rgb, instruments, known)
    assert found.area == 0.25
    assert (found.level_inside, found.level_outside, found.step) == (40, 100, -60)
    assert found.spread_inside == found.spread_outside == 0
    assert found.gradient_inside == found.gradient_outside == found.detail_inside == found.detail_outside == 0
    assert found.saturation_inside == found.saturation_outside == 0
    assert (found.dark, found.bright) == (0, 0)
    # Sobel sees a step of 60 as 30 per px on both sides of it; 4 px wide the border zone is, but for the corners.
    assert found.gradient_border == pytest.approx(15, rel=0.06)


def test_texture_is_told_on_either_side_and_ignored_pixels_do_not_count() -> None:
    rgb, instruments = block(40, 100)
    rows, columns = np.indices(instruments.shape)
    rgb[instruments & ((rows + columns) % 2 == 0)] = 60
    rgb[:, :10] = 255
    known = np.ones_like(instruments)
    known[:, :10] = False
    found = frame_statistics(rgb, instruments, known)
    assert found.detail_inside == pytest.approx(80)  # four neighbours that differ by 20
    assert found.level_inside == 50 and found.spread_inside == 10
    assert found.level_outside == 100 and found.bright == 0
    other = frame_statistics(rgb, ~instruments, np.ones_like(instruments))
    assert other.detail_outside == pytest.approx(80)
    assert other.bright == pytest.approx(1200 / 14400)


def test_colour_is_told_from_grayscale() -> None:
    rgb, instruments = block(40, 100)
    assert is_gray(rgb)
    rgb[~instruments] = (200, 100, 100)
    assert not is_gray(rgb)
    assert is_gray(rgb[instruments])
    found = frame_statistics(rgb, instruments, np.ones_like(instruments))
    assert found.saturation_inside == 0 and found.saturation_outside == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("everywhere", [True, False])
def test_one_side_alone_has_no_statistics(everywhere: bool) -> None:
    rgb, instruments = block(40, 100)
    with pytest.raises(ValueError, match="instruments and of the rest"):
        frame_statistics(rgb, np.full_like(instruments, everywhere), np.ones_like(instruments))


def test_summary_counts_kinds_apart_and_leaves_tiny_instruments_out() -> None:
    frames = []
    for level in (20, 40, 60):
        rgb, instruments = block(level, 100)
        frames.append((rgb, instruments.astype(np.uint8) * 3))
    coloured = frames[0][0].copy()
    coloured[..., 0] = 200
    tiny = np.zeros((120, 120), np.uint8)
    tiny[:10, :10] = 1
    report = summarize([*frames, (coloured, frames[0][1]), (frames[0][0], tiny)])
    assert report["grayscale"]["frames"] == 3 and report["colour"]["frames"] == 1
    assert report["grayscale"]["level_inside"] == [40, 24, 56]
    text = describe(report)
    assert "grayscale: 3 frames" in text and "level_inside" in text


def command(*arguments: str) -> int:
    return data.run(options.parse(data, ["statistics", *arguments]))


def test_command_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rgb, instruments = block(40, 100)
    cv2.imwrite(str(tmp_path / "images/0.png"), rgb)
    cv2.imwrite(str(tmp_path / "masks/0.png"), instruments.astype(np.uint8))
    report = tmp_path / "numbers.json"
    assert command("--dataset", "folder", "--root", str(tmp_path), "--label-map", "binary", "--json", str(report)) == 0
    assert "grayscale: 1 frames" in capsys.readouterr().out
    numbers = json.loads(report.read_text())["grayscale"]
    assert numbers["level_inside"][0] == pytest.approx(40, abs=1)
    assert numbers["area"][0] == pytest.approx(0.25, abs=0.01)


def test_command_on_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--frames", "4", "--set", "data.scene.grayscale=1.0") == 0
    text = capsys.readouterr().out
    assert "grayscale: " in text and "colour: " not in text


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClipRlError, match="at least 1"):
        command("--frames", "0")
    with pytest.raises(ClipRlError, match="--root"):
        command("--dataset", "folder")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "images/0.png"), np.zeros((64, 64, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks/0.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(ClipRlError, match="no frame shows"):
        command("--dataset", "folder", "--root", str(tmp_path), "--label-map", "binary")
