"""RGB to camera encodings and back through the decoder that the node uses."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.pictures.encodings import ENCODINGS, ImageError, image_to_rgb
from clip_rl_perception.pictures.pixel_encoding import encode_pixels


def decoded(rows: np.ndarray, width: int, encoding: str) -> np.ndarray:
    return image_to_rgb(
        height=rows.shape[0],
        width=width,
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=False,
        data=rows.tobytes(),
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_plain_colour_survives_every_encoding(encoding: str) -> None:
    grey = "mono" in encoding
    rgb = np.full((12, 16, 3), (120, 120, 120) if grey else (200, 90, 40), np.uint8)
    rows = encode_pixels(rgb, encoding)
    channels, item = ENCODINGS[encoding]
    assert rows.shape == (12, 16 * channels * item) and rows.dtype == np.uint8 and rows.flags.c_contiguous
    back = decoded(rows, 16, encoding).astype(int)
    tolerance = 3 if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv") else 1
    assert np.abs(back - rgb.astype(int)).max() <= tolerance


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_colours_without_loss(encoding: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    assert (decoded(encode_pixels(rgb, encoding), 14, encoding) == rgb).all()


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_keeps_each_pixels_own_colour(pattern: str) -> None:
    rgb = np.zeros((6, 6, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 10, 20, 30
    mosaic = encode_pixels(rgb, f"bayer_{pattern}8")
    expected = [{"r": 10, "g": 20, "b": 30}[color] for color in pattern]
    assert [mosaic[0, 0], mosaic[0, 1], mosaic[1, 0], mosaic[1, 1]] == expected
    assert (mosaic[2:4, 2:4] == mosaic[:2, :2]).all()
    wide = encode_pixels(rgb, f"bayer_{pattern}16").view("<u2")
    assert (wide == mosaic.astype(np.uint16) * 257).all()


def test_a_grey_picture_stays_as_it_is() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    assert (encode_pixels(rgb, "mono8") == grey).all()
    assert (encode_pixels(rgb, "mono16").view("<u2") == grey.astype(np.uint16) * 257).all()


@pytest.mark.parametrize(
    ("shape", "encoding", "phrase"),
    [
        ((8, 9, 3), "yuyv", "width 9 is odd"),
        ((2, 8, 3), "bayer_rggb8", "too small"),
        ((8, 8, 3), "bgr16", "cannot be written as 'bgr16'"),
    ],
)
def test_impossible_ones_are_named(shape: tuple[int, ...], encoding: str, phrase: str) -> None:
    with pytest.raises(ImageError, match=phrase):
        encode_pixels(np.zeros(shape, np.uint8), encoding)
