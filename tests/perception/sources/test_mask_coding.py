"""Decoding of stored masks, and what is said when they hold something else."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.sources.mask_coding import CodingError, ColorCoding, ValueCoding

NAMES = {0: "background", 1: "instrument"}
VALUES = ValueCoding({0: 0, 255: 1}, NAMES, ignore=[128])
COLORS = ColorCoding({(0, 0, 0): 0, (0, 255, 0): 1}, NAMES, ignore=[(9, 9, 9)])


def test_values() -> None:
    mask = np.array([[0, 255, 128]], np.uint8)
    assert VALUES.decode(mask, "m.png").tolist() == [[0, 1, 255]]
    assert VALUES.decode(np.dstack([mask] * 3), "m.png").tolist() == [[0, 1, 255]]
    alpha = np.dstack([mask, mask, mask, np.full_like(mask, 200)])
    assert VALUES.decode(alpha, "m.png").tolist() == [[0, 1, 255]]


def test_colors_with_and_without_alpha() -> None:
    mask = np.array([[[0, 0, 0], [0, 255, 0], [9, 9, 9]]], np.uint8)
    assert COLORS.decode(mask, "m.png").tolist() == [[0, 1, 255]]
    alpha = np.dstack([mask, np.array([[255, 0, 17]], np.uint8)])
    assert COLORS.decode(alpha, "m.png").tolist() == [[0, 1, 255]]


def test_unknown_value_names_file_value_and_coding() -> None:
    with pytest.raises(CodingError, match=r"seq/f\.png: value 7; expected 0 background, 255 instrument; ignored: 128"):
        VALUES.decode(np.array([[0, 7, 7, 3]], np.uint8), "seq/f.png")


def test_unknown_color_names_file_color_coding_and_nearest() -> None:
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[0, :3] = (0, 250, 3)
    with pytest.raises(CodingError) as caught:
        COLORS.decode(mask, "seq/f.png")
    text = str(caught.value)
    assert text.startswith(
        "seq/f.png: colour (0,250,3) in 3 pixels, 3 pixels without a class; expected (0,0,0) background"
    )
    assert "Nearest is (0,255,0) instrument" in text and "ignored: (9,9,9)" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("coding", "mask", "message"),
    [
        (VALUES, np.array([[[0, 255, 0]]], np.uint8), "has coloured pixels; expected one value per pixel"),
        (VALUES, np.zeros((2, 2), np.uint16), r"is uint16 \(2, 2\); expected 8-bit"),
        (VALUES, np.zeros((2, 2, 2), np.uint8), r"is uint8 \(2, 2, 2\)"),
        (VALUES, np.zeros((0, 2), np.uint8), r"is uint8 \(0, 2\)"),
        (COLORS, np.zeros((2, 2), np.uint8), r"has one channel; expected colours \(R,G,B\)"),
    ],
)
def test_wrong_files_are_named(coding: ValueCoding | ColorCoding, mask: np.ndarray, message: str) -> None:
    with pytest.raises(CodingError, match=message):
        coding.decode(mask, "m.png")
