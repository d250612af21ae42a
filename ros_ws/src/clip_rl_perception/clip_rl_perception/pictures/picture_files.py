"""The bytes of a JPEG, PNG or other picture file -> pixels, whole or not at all.

What a damaged JPEG lacks, libjpeg fills with grey; it only warns, and OpenCV passes the picture on without the warning.
So JPEG is decoded by simplejpeg, the same libjpeg-turbo to the pixel, where a warning is an error. Nor does OpenCV
pass on what libtiff says of damaged LZW and Deflate: Pillow does. Of the other formats OpenCV refuses by itself what is
cut off or fails its checksums.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError, one_line

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
"""How the files begin."""

MAX_PIXELS = 1 << 28
"""A larger JPEG is not decoded: damage to its header must not take all memory."""

_BIG_TIFF, _ORIENTATION = 43, 274
_TIFF = {42: ("I", "H", 12, 8), _BIG_TIFF: ("Q", "Q", 20, 12)}
"""By version: form of the offset of the first directory and of its count, bytes of an entry, place of its value."""
_TIFF_BEGINS = tuple(
    begin + struct.pack(order + "H", version) for begin, order in ((b"II", "<"), (b"MM", ">")) for version in _TIFF
)
_STORED = ((273, 279), (324, 325))
"""Tags of where the strips or tiles of a TIFF lie and how long they are, bytes."""
_PIECE = 1 << 24
_MOST_BYTES = 64
"""Of a pixel in a TIFF: eight channels of doubles; tiles reach beyond the picture, by less than a piece."""
_FILL_ORDER = 266
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits the other way round, as fill order 2 stores them."""
_WHOLE = {3: "H", 4: "I"}
"""Forms of the types of whole numbers in a TIFF."""
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, b"\xff\xd9"
_STRAY = re.compile("[1-3] extraneous bytes before marker 0xd9")
"""The warning, always the only one, of a few bytes that some cameras leave between a whole picture and its end. More of
them are pixels that went by unread."""


class PictureError(ClipRlError, ValueError):
    """A file is no picture, or a damaged one; the message begins with a verb, for the name to stand before it."""


def read_picture(file: Path) -> bytes:
    """All of a file; raises `PictureError` where the disk refuses."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror}") from error


def decode_rgb(content: bytes) -> ByteArray:
    """Pixels of a picture file as colours.

    Orientation, of EXIF or TIFF, is ignored: pixels stay as the camera's calibration knows them. Grey becomes three
    equal channels, 16 bits become 8, alpha is dropped.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        PictureError: no picture that can be decoded, or any part of it is missing or damaged.
    """
    if content.startswith(JPEG):
        return _decode_jpeg(content, "RGB")
    bgr = _decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8)


def decode_stored(content: bytes) -> npt.NDArray[Any]:
    """Pixels of a picture file as stored: (H, W), or (H, W, 3 or 4) with R, G, B first; else as of `decode_rgb`."""
    if content.startswith(JPEG):
        return _decode_jpeg(content, "RGB")
    stored = _decode(content, cv2.IMREAD_UNCHANGED)
    if stored.ndim == 3 and stored.shape[2] in (3, 4):
        if stored.dtype in (np.uint8, np.uint16, np.float32):
            return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB if stored.shape[2] == 3 else cv2.COLOR_BGRA2RGBA))
        return stored[..., [2, 1, 0, 3][: stored.shape[2]]]  # cvtColor takes no other numbers, and is 17 times as fast
    return stored


def as_stored(content: bytes) -> bytes:
    """A picture file without the orientation that a TIFF says, which decoders obey whatever they are told."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2], "")
    try:
        version = struct.unpack_from(f"{order}H", content, 2)[0] if order else 0
        if version not in _TIFF:
            return content
        offset, many, entry, value = _TIFF[version]
        (place,) = struct.unpack_from(order + offset, content, 8 if version == _BIG_TIFF else 4)
        (count,) = struct.unpack_from(order + many, content, place)
        first = place + struct.calcsize(order + many)
        for at in range(first, first + count * entry, entry):
            tag, kind = struct.unpack_from(f"{order}HH", content, at)
            if tag == _ORIENTATION and kind in _WHOLE:
                edited = bytearray(content)
                struct.pack_into(order + _WHOLE[kind], edited, at + value, 1)
                return bytes(edited)
    except (struct.error, OverflowError):  # cut off, or far behind its end: what decodes it says so
        pass
    return content


def check_picture(content: bytes) -> None:
    """Raise `PictureError` where `decode_rgb` would; of a JPEG, at a sixth of its cost."""
    if content.startswith(JPEG):
        _decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8)
    else:
        _decode(content, cv2.IMREAD_UNCHANGED)


def picture_size(content: bytes) -> tuple[int, int]:
    """(height, width) of a JPEG or PNG by its header, px; raises `PictureError` where it has none or is neither."""
    if not content:
        raise PictureError("has no data; expected a JPEG or PNG file")
    if content.startswith(JPEG):
        return _jpeg_size(content)
    if content.startswith(PNG):
        if len(content) < 24:
            raise PictureError("is truncated: its bytes end inside the header")
        width, height = struct.unpack_from(">II", content, 16)
        return height, width
    raise PictureError(f"starts with {content[:8].hex(' ')}; expected a JPEG or PNG file")


def _decode(content: bytes, flags: int) -> npt.NDArray[Any]:
    if content.startswith(PNG):
        _check_chunks(content)
    if content.startswith(_TIFF_BEGINS):
        _check_tiff(content)
    content = as_stored(content)
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:
        picture = None
    if picture is None:
        raise PictureError(f"of {len(content)} bytes does not decode: it is damaged, cut off, or no picture")
    return np.asarray(picture)


def _check_chunks(content: bytes) -> None:
    """Raise `PictureError` where the chunks do not reach IEND (PNG specification, section 5).

    OpenCV looks for seconds, and takes gigabytes, for a chunk that says it is long.
    """
    place, kind = len(PNG), b""
    while kind != b"IEND":
        kind = content[place + 4 : place + 8]
        place += 12 + int.from_bytes(content[place : place + 4], "big")
        if place > len(content):
            raise PictureError("is truncated: its bytes hold no end of the PNG")


def _check_tiff(content: bytes) -> None:
    """Raise `PictureError` where data of an LZW or Deflate TIFF is damaged; kinds that Pillow does not know pass."""
    try:
        with warnings.catch_warnings():  # of odd tags, which are none of our business
            warnings.simplefilter("ignore")
            whole = _unpacks(content)
    except Exception:  # whatever damaged tags make Pillow raise: OpenCV says what it makes of them
        return
    if not whole:
        raise PictureError("is a damaged TIFF: not all of its data can be unpacked")


def _unpacks(content: bytes) -> bool:
    """Whether the data of a TIFF is whole, as far as is known; raises whatever Pillow does of what it cannot read."""
    from PIL import Image  # no node needs it to start

    picture = Image.open(io.BytesIO(content), formats=("TIFF",))
    compression, tags = picture.info.get("compression"), dict(picture.tag_v2)  # type: ignore[attr-defined]
    try:
        if compression == "tiff_lzw":
            picture.load()
        elif compression in ("tiff_deflate", "tiff_adobe_deflate"):  # libtiff does not look at the checksums
            left = picture.width * picture.height * _MOST_BYTES + _PIECE
            for offsets, sizes in _STORED:
                for offset, size in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False):
                    data = content[offset : offset + size]
                    left -= _unpacked(data.translate(_TURNED) if tags.get(_FILL_ORDER) == 2 else data, left)
                    if left < 0:  # more than the picture can need: what it is not made of
                        return True
    except (OSError, zlib.error):
        return False
    return True


def _unpacked(data: bytes, most: int) -> int:
    """How much zlib's data holds, bytes; from beyond `most` on it is not unpacked.

    Raises:
        zlib.error: it is damaged or cut off.
    """
    unpacking, found = zlib.decompressobj(), 0
    while not unpacking.eof and found <= most:
        piece = len(unpacking.decompress(data, _PIECE))
        if not piece and not unpacking.eof:
            raise zlib.error("cut off")
        found, data = found + piece, unpacking.unconsumed_tail
    return found


def _decode_jpeg(content: bytes, colors: str, **scale: int) -> ByteArray:
    height, width = picture_size(content)
    if height * width > MAX_PIXELS:
        raise PictureError(f"is {width}x{height}; at most {MAX_PIXELS} pixels are read")
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, colors, **scale), np.uint8)
    except ValueError:
        content = _essence(content)
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, colors, **scale), np.uint8)
    except ValueError as error:
        reason = one_line(error).removeprefix("Corrupt JPEG data: ")
    if _STRAY.fullmatch(reason):
        return np.asarray(simplejpeg.decode_jpeg(content, colors, strict=False, **scale), np.uint8)
    if reason.startswith("Premature end"):
        raise PictureError("is truncated: its bytes hold no end of the JPEG")
    raise PictureError(f"is a damaged JPEG: {reason}")


def _essence(content: bytes) -> bytes:
    """A JPEG without what decoders warn of although no pixel depends on it.

    That is application data (versions, colour profiles), limits of a scan where there are none to set (cameras write
    zeros there), and zeros between the scan and the end.
    """
    parts, progressive = [JPEG], True
    for marker, begin, end in _segments(content):
        body = content[begin:end]
        if marker in _SOF:
            progressive = marker not in (0xC0, 0xC1)
        if marker == _SCAN and not progressive:
            body = body[:-3] + b"\x00\x3f\x00"
        if marker == 0xEE or not 0xE0 <= marker <= 0xEF:  # Adobe's says what the colours are
            parts += [bytes((0xFF, marker)), body]
        scan = end
    stop = content.rfind(_END, scan)
    return b"".join((*parts, content[scan:] if stop < 0 else content[scan:stop].rstrip(b"\0") + _END))


def _jpeg_size(content: bytes) -> tuple[int, int]:
    for marker, begin, _ in _segments(content):
        if marker in _SOF and begin + 7 <= len(content):
            height, width = struct.unpack_from(">HH", content, begin + 3)
            return height, width
    raise PictureError("is a damaged JPEG: no frame header before the scan")


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, begin and end of its parameters) up to the first scan (ITU T.81, annex B)."""
    position, marker = 2, 0
    try:
        while marker != _SCAN:
            if content[position] != 0xFF:
                raise PictureError(f"is a damaged JPEG: no marker at byte {position}")
            while content[position] == 0xFF:  # any number of fill bytes may precede a marker
                position += 1
            marker = content[position]
            position += 1
            if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stand-alone markers have no length
                continue
            if marker == 0xD9:
                raise PictureError("is a damaged JPEG: it ends without pixels")
            (length,) = struct.unpack_from(">H", content, position)
            begin, position = position, position + max(length, 2)
            yield marker, begin, position
    except (IndexError, struct.error):
        raise PictureError("is truncated: its bytes end inside the header") from None
