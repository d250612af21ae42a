"""What CompressedImage.format says is honoured or refused by name: in decoding, bags read, described and made anew."""

from __future__ import annotations

import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_info import inspect_bag
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.bags.bag_make import MakeOptions, make_bag
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.messages import message_types
from clip_rl_perception.pictures.compressed_format import check_compressed_message, compressed_message_to_rgb, mosaic_in
from clip_rl_perception.pictures.encodings import ImageError, image_to_rgb
from clip_rl_perception.pictures.image_codec import decode_message
from clip_rl_perception.pictures.pixel_encoding import encode_pixels
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource

START = 1_700_000_000_000_000_000
BAYER = [f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)]


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth, and red enough that a mosaic taken for grey, or red and blue exchanged, is far off."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([160 + 60 * np.sin(x / 9), 70 + 20 * np.cos(y / 7), 50 + 30 * np.sin((x + y) / 11)], 2).astype(
        np.uint8
    )


def file_of(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """Of grey pixels, or RGB ones."""
    done, data = cv2.imencode(suffix, pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def message(form: str, data: bytes) -> types.SimpleNamespace:
    return types.SimpleNamespace(format=form, data=np.frombuffer(data, np.uint8))


def mosaic(encoding: str) -> np.ndarray:
    rows = encode_pixels(picture(), encoding)
    return rows.view("<u2") if encoding.endswith("16") else rows


def raw(encoding: str) -> np.ndarray:
    rows = encode_pixels(picture(), encoding)
    return image_to_rgb(
        height=48, width=64, encoding=encoding, step=rows.shape[1], is_bigendian=False, data=rows.tobytes()
    )


@pytest.mark.parametrize("encoding", BAYER)
@pytest.mark.parametrize("target", ["", "{}", "{} "])
def test_a_mosaic_in_a_png_is_what_the_raw_one_is(encoding: str, target: str) -> None:
    stored = message(f"{encoding}; png compressed {target.format(encoding)}", file_of(mosaic(encoding)))
    np.testing.assert_array_equal(compressed_message_to_rgb(stored), raw(encoding))


@pytest.mark.parametrize(
    "form",
    ["bayer_rggb8; jpeg compressed ", "bayer_rggb8; jpeg compressed bayer_rggb8", "BAYER_RGGB8; JPEG compressed"],
)
def test_a_mosaic_in_a_jpeg_keeps_its_colours(form: str) -> None:
    grey = cv2.imencode(".jpg", mosaic("bayer_rggb8"), (cv2.IMWRITE_JPEG_QUALITY, 98))[1].tobytes()
    neutral = file_of(np.repeat(mosaic("bayer_rggb8")[..., None], 3, 2))  # as a picture of three equal channels
    for data in (grey, neutral):
        got = decode_message(message(form, data), as_view=True)
        assert np.abs(got.astype(int) - raw("bayer_rggb8")).mean() < 4
        assert np.abs(got.astype(int) - picture())[2:-2, 2:-2].mean() < 6


@pytest.mark.parametrize(
    "form",
    [
        "bgr8; jpeg compressed bgr8",
        "rgb8; jpeg compressed bgr8",
        "rgb8; jpeg compressed rgb8",
        "rgba8; jpeg compressed bgr8",
        "bayer_rggb8; jpeg compressed bgr8",  # turned into colours before it was compressed
        "bayer_rggb8; jpeg compressed",  # in colours against what is said
        "yuv422_yuy2; jpeg compressed bgr8",
        "8UC3; png compressed",
        "png",
        "jpeg",
        "JPG",
        "webp",  # the file is what it is
        "",
        " ; ;; compressed",
        "\0\n",
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_colours_are_those_of_the_file(form: str, suffix: str) -> None:
    got = compressed_message_to_rgb(message(form, file_of(picture(), suffix)))
    assert np.abs(got.astype(int) - picture()).mean() < (0.1 if suffix == ".png" else 4)


@pytest.mark.parametrize(
    "form", ["mono8; png compressed", "bayer_rggb8; jpeg compressed mono8", "mono16; png compressed "]
)
def test_grey_stays_grey(form: str) -> None:
    grey = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY)
    stored = message(form, file_of(grey.astype(np.uint16) * 257 if "16" in form else grey))
    np.testing.assert_array_equal(compressed_message_to_rgb(stored), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("16UC1; compressedDepth png", bytes(12) + b"\x89PNG", ["16UC1; compressedDepth png", "depth"]),
        ("32FC1; compressedDepth rvl", bytes(40), ["32FC1; compressedDepth rvl", "depth"]),
        ("16UC1; png compressed ", file_of(np.zeros((4, 4), np.uint16)), ["16UC1; png compressed", "depth"]),
        ("bayer_rggb12; png compressed ", file_of(np.zeros((4, 4), np.uint16)), ["bayer_rggb12", "bayer_rggb16"]),
        ("h264", b"\0\0\0\1\x67\x64", ["'h264'", "00 00 00 01", "JPEG or PNG"]),
        ("bgr8; ffmpeg compressed", b"\0\0\1\xb3", ["ffmpeg", "JPEG or PNG"]),
        ("theora", b"\x80theora", ["'theora'", "JPEG or PNG"]),
        ("webp", b"RIFF\x24\0\0\0WEBPVP8 ", ["'webp'", "JPEG or PNG"]),
        ("bgr8; tiff compressed ", b"II*\0\x08\0\0\0", ["tiff", "JPEG or PNG"]),
        ("zstd", b"\x28\xb5\x2f\xfd", ["'zstd'", "JPEG or PNG"]),
        ("a\nb" * 99, b"GIF89a", ["a\\nb", "JPEG or PNG"]),
        ("jpeg", b"", ["no data"]),
    ],
)
def test_what_is_not_read_is_named(form: str, data: bytes, words: list[str]) -> None:
    for function in (compressed_message_to_rgb, check_compressed_message):
        with pytest.raises(ImageError) as caught:
            function(message(form, data))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
        assert all(word in str(caught.value) for word in words), str(caught.value)


def write_bag(path: Path, form: str, files: list[bytes]) -> None:
    with BagWriter(path) as bag:
        for index, data in enumerate(files):
            stamp = START + index * 40_000_000
            stored = message_types.typestore().types[message_types.COMPRESSED_IMAGE](
                header=message_types.header(stamp, "scope"), format=form, data=np.frombuffer(data, np.uint8)
            )
            bag.write_message("/scope/image_raw/compressed", message_types.COMPRESSED_IMAGE, stored, stamp)


@pytest.mark.parametrize("encoding", ["source", "png", "rgb8"])
def test_a_bag_of_mosaics_made_anew_shows_the_same(tmp_path: Path, encoding: str) -> None:
    write_bag(tmp_path / "camera", "bayer_gbrg8; png compressed ", [file_of(mosaic("bayer_gbrg8"))] * 3)
    frames = list(BagSource(tmp_path / "camera"))
    assert len(frames) == 3
    np.testing.assert_array_equal(frames[0].rgb, raw("bayer_gbrg8"))
    made = make_bag(open_path(tmp_path / "camera"), tmp_path / "made", MakeOptions(encoding=encoding))
    assert made.frames == 3
    for before, after in zip(frames, BagSource(tmp_path / "made"), strict=True):
        np.testing.assert_array_equal(after.rgb, before.rgb)
    if encoding == "source":  # the camera's own files, and said to be what they are
        with BagReader(tmp_path / "made") as reader:
            (stored,) = {
                (read.format, read.data.tobytes())
                for connection, _, data in reader.messages()
                if connection.msgtype == message_types.COMPRESSED_IMAGE
                for read in [reader.deserialize(data, connection.msgtype)]
            }
        assert stored == ("bayer_gbrg8; png compressed bayer_gbrg8", file_of(mosaic("bayer_gbrg8")))


def test_a_bag_of_depth_is_refused_by_name_and_described_so(tmp_path: Path) -> None:
    write_bag(tmp_path / "depth", "16UC1; png compressed ", [file_of(np.zeros((4, 4), np.uint16))] * 2)
    with pytest.raises(Exception, match=r"none of the 2 images .* is that of depth"):
        BagSource(tmp_path / "depth")
    assert any("16UC1" in line and "depth" in line for line in inspect_bag(tmp_path / "depth").problems)


def test_only_what_is_stored_as_a_mosaic_is_one() -> None:
    assert mosaic_in("bayer_grbg16; png compressed ") == "bayer_grbg16"
    assert mosaic_in("rgb8; jpeg compressed bayer_bggr8") == "bayer_bggr8"
    assert [mosaic_in(form) for form in ("", "jpeg", "bayer_rggb8; jpeg compressed mono8", "mono8")] == [None] * 4
