"""Damage that decoders pass over is an error; what is only unusual is read as any other picture."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures import picture_files
from clip_rl_perception.pictures.encodings import ImageError, check_compressed, compressed_to_rgb
from clip_rl_perception.pictures.picture_files import PictureError, check_picture, decode_rgb, decode_stored
from PIL import Image


def scene(seed: int = 0, size: tuple[int, int] = (120, 160)) -> ByteArray:
    """Something with detail everywhere, so that every part of a file matters."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)


def encoded(suffix: str, rgb: ByteArray, *parameters: int) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), parameters)
    assert done
    return data.tobytes()


JPEG = encoded(".jpg", scene(), cv2.IMWRITE_JPEG_QUALITY, 90)
OTHER = encoded(".jpg", scene(1), cv2.IMWRITE_JPEG_QUALITY, 90)
RESTARTS = encoded(".jpg", scene(), cv2.IMWRITE_JPEG_RST_INTERVAL, 10)
PROGRESSIVE = encoded(".jpg", scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
PNG = encoded(".png", scene())
HALF, END = len(JPEG) // 2, b"\xff\xd9"


def part(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def without_tables(jpeg: bytes) -> bytes:
    """As webcams send MJPEG."""
    kept, place = jpeg[:2], 2
    while jpeg[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        kept += b"" if jpeg[place + 1] == 0xC4 else jpeg[place:end]
        place = end
    return kept + jpeg[place:]


def changed(content: bytes, place: int, patch: bytes) -> bytes:
    return content[:place] + patch + content[place + len(patch) :]


def scan_begin(jpeg: bytes) -> int:
    at = jpeg.index(b"\xff\xda")
    return at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")


def restart(number: int) -> int:
    return RESTARTS.index(bytes((0xFF, 0xD0 + number)), scan_begin(RESTARTS))


DAMAGED = {
    "second half lost": (JPEG[:HALF], "is truncated: its bytes hold no end of the JPEG"),
    "second half lost, end put back": (JPEG[:HALF] + END, "premature end of data segment"),
    "cut inside the last marker": (JPEG[:-1], "truncated"),
    "progressive, second half lost": (PROGRESSIVE[: len(PROGRESSIVE) // 2] + END, "premature end"),
    "two frames run together": (JPEG[:HALF] + OTHER, "two SOI markers"),
    "continued as another frame": (JPEG[:HALF] + OTHER[HALF + 900 :], "premature end|extraneous bytes"),
    "bytes lost": (JPEG[:HALF] + JPEG[HALF + 700 :], "premature end"),
    "bytes doubled": (JPEG[:HALF] + JPEG[HALF - 700 : HALF] + JPEG[HALF:], "extraneous bytes before marker 0xd9"),
    "a block of zeros": (changed(JPEG, HALF, bytes(1024)), "premature end"),
    "zeros to the end": (JPEG[:HALF] + bytes(2000) + END, "premature end"),
    "a restart interval lost": (RESTARTS[: restart(3)] + RESTARTS[restart(4) :], "instead of RST3"),
    "bytes before a restart": (RESTARTS[: restart(3)] + b"\x55" * 9 + RESTARTS[restart(3) :], "9 extraneous bytes"),
    "no pixels at all": (JPEG[: scan_begin(JPEG)] + END, "premature end"),
    "a taller header": (changed(JPEG, JPEG.index(b"\xff\xc0") + 5, b"\x01\x40"), "premature end"),
    "unusual and damaged": (JPEG[:2] + part(0xE2, b"ICC_PROFILE\0\x05\x02") + JPEG[2:HALF] + END, "premature end"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_jpeg_is_refused(name: str) -> None:
    content, reason = DAMAGED[name]
    for decode in (decode_rgb, decode_stored, check_picture):
        with pytest.raises(PictureError, match=reason):
            decode(content)
    for look in (compressed_to_rgb, check_compressed):
        with pytest.raises(ImageError, match=rf"compressed image is .*({reason.removeprefix('is ')})") as caught:
            look(content)
        assert "\n" not in str(caught.value)


UNUSUAL = {
    "no Huffman tables": without_tables(JPEG),
    "zeros before the end": JPEG[:-2] + bytes(300) + END,
    "bytes before the end": JPEG[:-2] + b"\x12\x34\x56" + END,
    "zeros after the end": JPEG + bytes(4096),
    "another frame after the end": JPEG + OTHER,
    "fill bytes before a marker": JPEG[:2] + b"\xff\xff" + JPEG[2:],
    "a version from the future": changed(JPEG, JPEG.index(b"JFIF\0") + 5, b"\x03"),
    "no limits of the scan": changed(JPEG, scan_begin(JPEG) - 3, bytes(3)),
    "a colour profile that is none": JPEG[:2] + part(0xE2, b"ICC_PROFILE\0\x05\x02" + bytes(9)) + JPEG[2:],
    "a comment": JPEG[:2] + part(0xFE, b"made by a camera") + JPEG[2:],
    "turned by EXIF": JPEG[:2]
    + part(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4))
    + JPEG[2:],
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_jpeg_is_whole(name: str) -> None:
    np.testing.assert_array_equal(decode_rgb(UNUSUAL[name]), decode_rgb(JPEG))
    check_picture(UNUSUAL[name])


@pytest.mark.parametrize("quality", [50, 90, 100])
@pytest.mark.parametrize("further", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 7)])
@pytest.mark.parametrize("size", [(120, 160), (121, 163), (1, 1)])
def test_whole_jpegs_are_what_opencv_makes_of_them(
    quality: int, further: tuple[int, ...], size: tuple[int, int]
) -> None:
    for rgb in (scene(2, size), np.repeat(scene(2, size)[..., :1], 3, axis=2)):
        content = encoded(".jpg", rgb, cv2.IMWRITE_JPEG_QUALITY, quality, *further)
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(decode_rgb(content), expected)
        check_picture(content)


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_jpegs_of_other_colour_spaces(mode: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(scene()).convert(mode).save(stream, "JPEG", quality=95)
    content = stream.getvalue()
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode_rgb(content), expected)
    check_picture(content)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(*data: bytes) -> bytes:
    """The scene's PNG with other chunks of pixels; their checksums are right."""
    return PNG[:33] + b"".join(chunk(b"IDAT", body) for body in data) + chunk(b"IEND", b"")


def pixel_stream() -> bytes:
    place, stream = 33, b""
    while PNG[place + 4 : place + 8] != b"IEND":
        length = int.from_bytes(PNG[place : place + 4], "big")
        stream += PNG[place + 8 : place + 8 + length] if PNG[place + 4 : place + 8] == b"IDAT" else b""
        place += 12 + length
    return stream


STREAM = pixel_stream()


@pytest.mark.parametrize(
    "content",
    [
        changed(PNG, len(PNG) // 2, bytes((PNG[len(PNG) // 2] ^ 16,))),
        PNG[: len(PNG) // 2],
        PNG[:-12],
        changed(PNG, 29, bytes((PNG[29] ^ 1,))),
        png_of(STREAM[: len(STREAM) // 2]),
        png_of(STREAM[:-4]),
        png_of(STREAM[:8000], STREAM[16000:]),
        png_of(zlib.compress(zlib.decompress(STREAM)[:20000])),
        png_of(),
    ],
    ids=["bit", "half", "end", "header", "half, sums right", "checksum", "chunk", "short", "empty"],
)
def test_a_damaged_png_is_refused(content: bytes) -> None:
    for decode in (decode_rgb, decode_stored, check_picture):
        with pytest.raises(PictureError, match=r"does not decode|is truncated"):
            decode(content)


def test_unusual_pngs_are_whole() -> None:
    for content in (PNG + bytes(500), png_of(STREAM[:100], b"", STREAM[100:])):
        np.testing.assert_array_equal(decode_rgb(content), scene())
    deep = encoded(".png", scene().astype(np.uint16) * 257)
    assert decode_stored(deep).dtype == np.uint16
    np.testing.assert_array_equal(decode_rgb(deep), scene())


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_ignored(byte_order: str, kind: str, orientation: int) -> None:
    rgb = scene(size=(8, 10))
    # Directory first, then what does not fit into it: bits of each channel, pixels.
    entries = [
        (256, "H", 1, 10), (257, "H", 1, 8), (258, "H", 3, 134), (259, "H", 1, 1), (262, "H", 1, 2), (273, "I", 1, 140),
        (274, kind, 1, orientation), (277, "H", 1, 3), (278, "H", 1, 8), (279, "I", 1, rgb.size),
    ]  # fmt: skip
    content = (b"II" if byte_order == "<" else b"MM") + struct.pack(f"{byte_order}HI", 42, 8)
    content += struct.pack(f"{byte_order}H", len(entries))
    for tag, form, count, value in entries:
        form = "I" if count > 1 else form
        field = struct.pack(byte_order + form, value).ljust(4, b"\0")
        content += struct.pack(f"{byte_order}HHI", tag, 3 if tag == 258 or form == "H" else 4, count) + field
    content = content.ljust(134, b"\0") + struct.pack(f"{byte_order}3H", 8, 8, 8) + rgb.tobytes()
    np.testing.assert_array_equal(decode_rgb(content), rgb)
    np.testing.assert_array_equal(decode_stored(content), rgb)
    for length in range(len(content)):
        with contextlib.suppress(PictureError):
            decode_stored(content[:length])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [1, 5, 8, 32773])  # none, LZW, Deflate, PackBits
def test_a_tiff_with_damage_inside(compression: int, channels: int, dtype: type) -> None:
    pixels = np.repeat(scene()[..., :1], channels, axis=2).astype(dtype)
    whole = cv2.imencode(".tiff", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()
    assert decode_stored(whole).dtype == dtype
    damaged = changed(whole, len(whole) // 2, bytes(20))
    if compression in (5, 8):
        for read in (decode_rgb, decode_stored, check_picture):
            with pytest.raises(PictureError, match="damaged TIFF"):
                read(damaged)
    else:  # nothing in such a file tells wrong pixels from right ones
        assert decode_stored(damaged).shape == decode_stored(whole).shape


def test_tags_far_behind_the_end_of_a_big_tiff() -> None:
    with pytest.raises(PictureError, match="does not decode"):
        decode_rgb(b"II\x2b\0\x08\0\0\0" + b"\xff" * 8 + bytes(100))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"])
def test_a_tiff_whose_bits_are_stored_the_other_way_round(compression: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(scene()).save(stream, "tiff", compression=compression, tiffinfo={266: 2})
    assert decode_rgb(stream.getvalue()).shape == (120, 160, 3)


def test_no_more_of_a_tiff_is_unpacked_than_its_picture_can_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred strips for eight rows, all of them the same sixteen megabytes."""
    data, count = zlib.compress(bytes(1 << 24)), 100
    start = 8 + 2 + 9 * 12 + 4
    numbers = start + len(data)
    entries = [
        (256, 1, 8), (257, 1, 8), (258, 1, 8), (259, 1, 8), (262, 1, 1), (273, count, numbers), (277, 1, 1),
        (278, 1, 8), (279, count, numbers + 4 * count),
    ]  # fmt: skip
    content = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    content += b"".join(struct.pack("<HHII", tag, 4, many, value) for tag, many, value in entries) + bytes(4)
    content += data + struct.pack(f"<{count}I", *[start] * count) + struct.pack(f"<{count}I", *[len(data)] * count)
    real, asked = picture_files._unpacked, list[int]()
    monkeypatch.setattr(picture_files, "_unpacked", lambda data, most: asked.append(most) or real(data, most))
    assert decode_stored(content).shape == (8, 8) and 1 <= len(asked) <= 2


@pytest.mark.parametrize("dtype", [np.uint32, np.float64])
@pytest.mark.parametrize("channels", [3, 4])
def test_kinds_of_numbers_that_opencv_does_not_turn(channels: int, dtype: type) -> None:
    pixels = np.arange(16 * 20 * channels, dtype=dtype).reshape(16, 20, channels)
    done, content = cv2.imencode(".tiff", pixels)
    if not done:
        pytest.skip("this OpenCV writes no such TIFF")
    turned = pixels[..., [2, 1, 0, 3][:channels]]
    np.testing.assert_array_equal(decode_stored(content.tobytes()), turned)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_damaged_tags_of_a_tiff_are_told_like_any_damage(compression: str) -> None:
    stream, draw = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(scene()[..., 0]).save(stream, "tiff", compression=compression)
    whole = stream.getvalue()
    assert decode_rgb(whole).shape == (120, 160, 3)
    (tags,) = struct.unpack_from("<I", whole, 4)
    refused = 0
    for _ in range(300):
        with contextlib.suppress(PictureError):
            refused += 1
            decode_rgb(changed(whole, int(draw.integers(tags, tags + 120)), draw.bytes(1)))
            refused -= 1
    assert refused > 50


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_other_files_that_are_cut_off_are_refused(suffix: str) -> None:
    whole = encoded(suffix, scene())
    assert decode_rgb(whole).shape == (120, 160, 3)
    for length in (len(whole) // 2, len(whole) * 9 // 10, len(whole) - 300):
        with pytest.raises(PictureError, match="does not decode"):
            decode_rgb(whole[:length])


def test_a_header_cannot_take_all_memory() -> None:
    with pytest.raises(PictureError, match="65535x65535; at most 268435456 pixels"):
        decode_rgb(changed(JPEG, JPEG.index(b"\xff\xc0") + 5, b"\xff" * 4))


def test_a_chunk_that_says_it_is_long_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the decoder was reached")

    monkeypatch.setattr(cv2, "imdecode", never)
    for place in (33, len(PNG) - 12):
        with pytest.raises(PictureError, match="no end of the PNG"):
            decode_rgb(changed(PNG, place, b"\x7f\xff\xff\xf0"))
