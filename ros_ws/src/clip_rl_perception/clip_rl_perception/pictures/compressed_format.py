"""sensor_msgs/CompressedImage to pixels: what `format` says of the file in its data is honoured, or refused by name.

image_transport's plugins write ``ENCODING; CODEC compressed [TARGET]``: the camera's encoding, and what it was turned
into before it was compressed, nothing where it was left alone. Others write ``jpeg``, ``png`` or nothing at all. The
codec and the order of its colours are taken from the file: of the tools that write ``rgb8; jpeg compressed rgb8`` next
to none exchanges red and blue, though image_transport's own subscriber takes that for granted.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import (
    ENCODINGS,
    ImageError,
    check_compressed,
    compressed_to_rgb,
    image_to_rgb,
)

_MEASUREMENTS = re.compile(r"(16|32|64)[usf]c\d*")
"""Depth and the like, not pictures (sensor_msgs/image_encodings.hpp)."""
_FILES = (b"\xff\xd8", b"\x89PNG")


def mosaic_in(form: str) -> str | None:
    """The Bayer encoding whose mosaic the file holds as a grey picture; None where it holds a picture.

    A Bayer camera's picture that was turned into another encoding (``bayer_rggb8; jpeg compressed bgr8``) is no mosaic.

    Raises:
        ImageError: the format is that of depth, or names a mosaic that is not known.
    """
    first, _, rest = form.lower().partition(";")
    encoding, target = first.strip(), rest.partition("compressed")[2].strip()
    if "compresseddepth" in form.lower() or _MEASUREMENTS.fullmatch(encoding):
        raise ImageError(f"format {form[:60]!r} is that of depth; expected a JPEG or PNG file of a picture")
    stored = target or encoding
    if not stored.startswith("bayer_"):
        return None
    if stored not in ENCODINGS:
        known = ", ".join(name for name in ENCODINGS if name.startswith("bayer_"))
        raise ImageError(f"format {form[:60]!r} names a mosaic that is not known; known are {known}")
    return stored


def check_compressed_message(message: Any) -> tuple[int, int]:
    """(height, width), px, of what `compressed_message_to_rgb` gives, at less cost; raises `ImageError` as it does."""
    _checked_mosaic(message)
    return check_compressed(message.data)


def compressed_message_to_rgb(message: Any) -> ByteArray:
    """uint8 RGB (height, width, 3), a new array; mosaics are interpolated.

    Raises:
        ImageError: the format names something else than a picture in a JPEG or PNG file, or the file is damaged.
    """
    mosaic = _checked_mosaic(message)
    rgb = compressed_to_rgb(message.data)
    # A file in colours is no mosaic, whatever is said of it.
    if mosaic is None or not (np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])):
        return rgb
    height, width = rgb.shape[:2]
    # Files of 16 bits were read as 8, which is what interpolating would begin with.
    encoding, data = mosaic.replace("16", "8"), np.ascontiguousarray(rgb[..., 0])
    return image_to_rgb(height=height, width=width, encoding=encoding, step=width, is_bigendian=False, data=data)


def _checked_mosaic(message: Any) -> str | None:
    """`mosaic_in` of a message whose data is at least the beginning of a JPEG or PNG file, or empty."""
    mosaic = mosaic_in(message.format)
    start = bytes(message.data[:8])
    if start and not start.startswith(_FILES):
        raise ImageError(
            f"format {message.format[:60]!r} is not read: {start.hex(' ')} begins it; expected a JPEG or PNG file"
        )
    return mosaic
