"""Image bytes to RGB: hand-made pixels, every encoding with padded rows, and arbitrary fields that must never crash."""

from __future__ import annotations

import struct
import sys
import zlib
from array import array

import cv2
import numpy as np
import pytest
import simplejpeg
from clip_rl_perception.pictures.encodings import (
    ENCODINGS,
    MAX_SIDE,
    ImageError,
    compressed_to_rgb,
    image_to_rgb,
    image_view,
)
from hypothesis import given, settings
from hypothesis import strategies as st

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def padded_rows(rows: list[bytes], padding: int) -> bytes:
    """Rows joined with `padding` bytes of a value that shows when it is mistaken for pixels."""
    return b"".join(row + b"\xab" * padding for row in rows)


def decode(encoding: str, rows: list[bytes], width: int, padding: int = 0, big: bool = False) -> np.ndarray:
    return image_to_rgb(
        height=len(rows),
        width=width,
        encoding=encoding,
        step=len(rows[0]) + padding,
        is_bigendian=big,
        data=array("B", padded_rows(rows, padding)),
    )


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize(
    ("encoding", "rows"),
    [
        ("rgb8", [bytes(RED + GREEN), bytes((*BLUE, 1, 2, 3))]),
        ("bgr8", [bytes(RED[::-1] + GREEN[::-1]), bytes((*BLUE[::-1], 3, 2, 1))]),
        ("rgba8", [bytes((*RED, 9, *GREEN, 9)), bytes((*BLUE, 9, 1, 2, 3, 9))]),
        ("bgra8", [bytes((*RED[::-1], 9, *GREEN[::-1], 9)), bytes((*BLUE[::-1], 9, 3, 2, 1, 9))]),
    ],
)
def test_colour_order_and_padding(encoding: str, rows: list[bytes], padding: int) -> None:
    expected = np.array([[RED, GREEN], [BLUE, (1, 2, 3)]], np.uint8)
    np.testing.assert_array_equal(decode(encoding, rows, 2, padding), expected)


@pytest.mark.parametrize("padding", [0, 3])
def test_grey_is_repeated(padding: int) -> None:
    rgb = decode("mono8", [bytes((0, 7, 255))], 3, padding)
    np.testing.assert_array_equal(rgb[0], [[0] * 3, [7] * 3, [255] * 3])


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("big", [False, True])
def test_mono16_scales_full_range(big: bool, padding: int) -> None:
    # 65535 -> 255, 257 -> 1, 128 rounds down to 0, 129 rounds up to 1
    rows = [struct.pack(">4H" if big else "<4H", 65535, 257, 128, 129)]
    np.testing.assert_array_equal(decode("mono16", rows, 4, padding, big)[0, :, 0], [255, 1, 0, 1])


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_bayer_of_one_colour(pattern: str, bits: int, channel: int) -> None:
    """A mosaic lit by one primary alone decodes to that primary everywhere away from the border."""
    bright = "rgb"[channel]
    cell = [[bright == pattern[0], bright == pattern[1]], [bright == pattern[2], bright == pattern[3]]]
    mosaic = np.tile(np.array(cell), (4, 4)).astype(np.uint8 if bits == 8 else "<u2") * (
        200 if bits == 8 else 200 * 257
    )
    rgb = decode(f"bayer_{pattern}{bits}", [row.astype(mosaic.dtype).tobytes() for row in mosaic], 8, padding=4)
    expected = np.zeros((4, 4, 3), np.uint8)
    expected[..., channel] = 200
    np.testing.assert_array_equal(rgb[2:6, 2:6], expected)


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422_pairs(encoding: str, order: str) -> None:
    # BT.601 video range: Y 81, U 90, V 240 is red; Y 235, U 128, V 128 is white
    y, u, v = 81, 90, 240
    pair = bytes((u, y, v, y)) if order == "uyvy" else bytes((y, u, y, v))
    white = bytes((128, 235, 128, 235)) if order == "uyvy" else bytes((235, 128, 235, 128))
    rgb = decode(encoding, [pair + white], 4, padding=2).astype(int)
    assert np.abs(rgb[0, :2] - RED).max() <= 2
    assert np.abs(rgb[0, 2:] - 255).max() <= 2


def test_rgb8_is_a_view_and_read_only() -> None:
    data = array("B", bytes(range(12)))
    rgb = image_to_rgb(height=2, width=2, encoding="rgb8", step=6, is_bigendian=False, data=data)
    data[0] = 99
    assert rgb[0, 0, 0] == 99, "rgb8 pixels were copied"
    assert not rgb.flags.writeable


def test_view_shares_memory_with_every_buffer_kind() -> None:
    raw = bytes(range(24))
    for data in (raw, array("B", raw), memoryview(raw), np.frombuffer(raw, np.uint8), bytearray(raw)):
        view = image_view(height=2, width=3, encoding="bgr8", step=12, is_bigendian=False, data=data)
        assert np.shares_memory(view, np.frombuffer(data, np.uint8))
        np.testing.assert_array_equal(view[1, 0], [12, 13, 14])


@pytest.mark.parametrize(
    ("fields", "phrases"),
    [
        ({"encoding": "rgb9"}, ["'rgb9'", "known are rgb8, bgr8"]),
        ({"encoding": ""}, ["''", "known are"]),
        ({"encoding": "x" * 500 + "\n"}, ["'xxxx", "..."]),
        ({"height": 0}, ["2x0", "at least 1"]),
        ({"width": 0}, ["0x2", "at least 1"]),
        ({"width": MAX_SIDE + 1}, ["8193x2", "at most 8192x8192"]),
        ({"height": MAX_SIDE + 1}, ["2x8193", "at most"]),
        ({"step": 5}, ["step 5", "6 bytes a row"]),
        ({"step": 0}, ["step 0"]),
        ({"step": 7}, ["12 bytes", "needs 14"]),
        ({"data": b""}, ["0 bytes", "needs 12"]),
        ({"data": bytes(13)}, ["13 bytes", "needs 12"]),
        ({"encoding": "yuyv", "width": 3, "step": 6}, ["width 3 is odd"]),
        ({"encoding": "bayer_rggb8", "step": 6}, ["2x2", "at least 3x3"]),
    ],
)
def test_contradictions_are_named(fields: dict[str, object], phrases: list[str]) -> None:
    whole = {"height": 2, "width": 2, "encoding": "rgb8", "step": 6, "is_bigendian": False, "data": bytes(12), **fields}
    with pytest.raises(ImageError) as caught:
        image_to_rgb(**whole)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for phrase in phrases:
        assert phrase in message


def reference_rgb(view: np.ndarray, encoding: str) -> np.ndarray:
    """Plain numpy for the encodings where it is one line; OpenCV on packed pixels for the interpolated ones."""
    if encoding in ("rgb8", "bgr8", "rgba8", "bgra8"):
        return view[..., :3] if encoding.startswith("rgb") else view[..., 2::-1]
    if encoding.endswith("16"):
        view = np.rint(view.astype(np.float64) * (255.0 / 65535.0)).astype(np.uint8)
    if encoding.startswith("mono"):
        return np.repeat(view[..., None], 3, axis=2)
    codes = {
        "bayer_rggb": cv2.COLOR_BayerBG2RGB,
        "bayer_bggr": cv2.COLOR_BayerRG2RGB,
        "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
        "bayer_grbg": cv2.COLOR_BayerGB2RGB,
        "yuv422": cv2.COLOR_YUV2RGB_UYVY,
        "uyvy": cv2.COLOR_YUV2RGB_UYVY,
        "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
        "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    }
    return cv2.cvtColor(np.ascontiguousarray(view), codes[encoding.removesuffix("16").removesuffix("8")])


@settings(max_examples=200, deadline=None)
@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    height=st.integers(3, 9),
    half_width=st.integers(2, 6),
    padding=st.integers(0, 9),
    big=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_consistent_fields_give_the_right_pixels(
    encoding: str, height: int, half_width: int, padding: int, big: bool, seed: int
) -> None:
    channels, item = ENCODINGS[encoding]
    width = 2 * half_width
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256**item, (height, width, channels), np.uint64).astype(f"{'>' if big else '<'}u{item}")
    data = padded_rows([row.tobytes() for row in pixels], padding)
    step = width * channels * item + padding
    rgb = image_to_rgb(height=height, width=width, encoding=encoding, step=step, is_bigendian=big, data=data)
    assert rgb.dtype == np.uint8
    squeezed = pixels[..., 0] if channels == 1 else pixels
    np.testing.assert_array_equal(rgb, reference_rgb(squeezed, encoding))


@settings(max_examples=300, deadline=None)
@given(
    height=st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    width=st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    encoding=st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(max_size=12)),
    step=st.one_of(st.integers(0, 80), st.integers(0, 2**32 - 1)),
    big=st.booleans(),
    data=st.binary(max_size=400),
)
def test_any_fields_give_pixels_or_a_reason(
    height: int, width: int, encoding: str, step: int, big: bool, data: bytes
) -> None:
    try:
        rgb = image_to_rgb(height=height, width=width, encoding=encoding, step=step, is_bigendian=big, data=data)
    except ImageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert rgb.shape == (height, width, 3) and rgb.dtype == np.uint8
        assert len(data) == step * height


def smooth_image(height: int = 40, width: int = 56) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=2).astype(np.uint8)


def encoded(suffix: str, rgb: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def test_png_is_exact_and_jpeg_close() -> None:
    rgb = smooth_image()
    np.testing.assert_array_equal(compressed_to_rgb(array("B", encoded(".png", rgb))), rgb)
    jpeg = compressed_to_rgb(encoded(".jpg", rgb))
    assert np.abs(jpeg.astype(int) - rgb).mean() < 3


def test_grey_files_become_rgb() -> None:
    done, data = cv2.imencode(".png", np.full((4, 5), 77, np.uint8))
    assert done
    np.testing.assert_array_equal(compressed_to_rgb(data.tobytes()), np.full((4, 5, 3), 77, np.uint8))


def test_exif_orientation_is_ignored() -> None:
    rgb = smooth_image()
    plain = encoded(".jpg", rgb)
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + b"\x00\x00\x00\x00"
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(tiff)) + b"Exif\x00\x00" + tiff
    turned = compressed_to_rgb(plain[:2] + segment + plain[2:])
    np.testing.assert_array_equal(turned, compressed_to_rgb(plain))


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


def test_size_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the decoder was reached")

    monkeypatch.setattr(cv2, "imdecode", never)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", never)
    with pytest.raises(ImageError, match="60000x50000; at most"):
        compressed_to_rgb(png_header(60000, 50000))
    jpeg = bytearray(encoded(".jpg", smooth_image()))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65000, 64000)
    with pytest.raises(ImageError, match="64000x65000; at most"):
        compressed_to_rgb(bytes(jpeg))
    with pytest.raises(ImageError, match="0x9"):
        compressed_to_rgb(png_header(0, 9))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_every_truncation_is_refused(suffix: str) -> None:
    whole = encoded(suffix, smooth_image())
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        with pytest.raises(ImageError):
            compressed_to_rgb(
                whole[:length] if suffix == ".jpg" or length < len(whole) - 12 else whole[: len(whole) - 13]
            )


@pytest.mark.parametrize(
    ("data", "phrase"),
    [
        (b"", "no data"),
        (b"GIF89a" + bytes(40), "expected a JPEG or PNG"),
        (b"RVL\x00" + bytes(60), "expected a JPEG or PNG"),
        (b"\xff\xd8\xff\xd9", "ends without pixels"),
        (b"\xff\xd8", "end inside the header"),
        (b"\x89PNG\r\n\x1a\n", "end inside the header"),
        (png_header(8, 8), "does not decode"),
    ],
)
def test_files_that_are_no_images(data: bytes, phrase: str) -> None:
    with pytest.raises(ImageError, match=phrase) as caught:
        compressed_to_rgb(data)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    suffix=st.sampled_from([".jpg", ".png"]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=4),
    keep=st.floats(0, 1),
)
def test_damaged_files_give_pixels_or_a_reason(suffix: str, cuts: list[tuple[float, bytes]], keep: float) -> None:
    content = bytearray(encoded(suffix, smooth_image(16, 24)))
    for where, patch in cuts:
        at = int(where * len(content))
        content[at : at + len(patch)] = patch
    try:
        rgb = compressed_to_rgb(bytes(content[: max(1, int(keep * len(content)))]))
    except ImageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and max(rgb.shape) <= MAX_SIDE


@settings(max_examples=200, deadline=None)
@given(prefix=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), rest=st.binary(max_size=200))
def test_any_bytes_give_pixels_or_a_reason(prefix: bytes, rest: bytes) -> None:
    try:
        rgb = compressed_to_rgb(prefix + rest)
    except ImageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert rgb.shape[2] == 3


def test_native_byte_order_is_not_assumed() -> None:
    """The same two bytes mean different pixels in the two orders, whatever this machine's order is."""
    assert sys.byteorder in ("little", "big")
    little = decode("mono16", [b"\x00\xff"], 1)
    big = decode("mono16", [b"\x00\xff"], 1, big=True)
    assert little[0, 0, 0] == 254 and big[0, 0, 0] == 1
