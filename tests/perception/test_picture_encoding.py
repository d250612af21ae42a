"""Pixels as the bytes of a picture file."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.picture_encoding import EncodingError, encode_jpeg, encode_picture
from clip_rl_perception.pictures.picture_files import decode_rgb, decode_stored


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_has_every_pixel(dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 12), dtype)
    np.testing.assert_array_equal(decode_stored(encode_picture(".png", pixels)), pixels)
    colours = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (9, 12, 3), dtype)
    np.testing.assert_array_equal(decode_stored(encode_picture(".png", colours[:, ::-1, ::-1])), colours[:, ::-1])


def test_a_jpeg_keeps_red_red() -> None:
    rgb = np.full((16, 16, 3), (200, 30, 10), np.uint8)
    np.testing.assert_allclose(decode_rgb(encode_jpeg(rgb, 95)), rgb, atol=4)
    assert len(encode_jpeg(rgb, 95)) > len(encode_jpeg(rgb, 10))


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4, 7), (4, 70000)])
def test_what_no_file_can_hold_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EncodingError, match=r"an array of uint8 .* cannot be written as \.jpg"):
        encode_picture(".jpg", np.zeros(shape, np.uint8))
    with pytest.raises(EncodingError, match=r"cannot be written as \.jpg"):
        encode_jpeg(np.zeros((*shape[:2], 3), np.uint8) if shape[1] == 70000 else np.zeros((0, 4, 3), np.uint8), 90)
