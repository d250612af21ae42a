"""Image bytes as cameras and bags deliver them -> RGB arrays: plain fields in, no ROS.

Ours, not cv_bridge: that needs ROS, and fails on some NumPy and OpenCV versions (tests/parity holds both equal).

The fields are those of sensor_msgs/Image and sensor_msgs/CompressedImage, so the node and bag replay share this code.
Views on the message's buffer honour `step`; one OpenCV pass puts the colours in order, and rgb8 needs not even that.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.pictures import picture_files
from clip_rl_perception.pictures.picture_files import PictureError

MAX_SIDE = 8192
"""Largest width and height that is accepted, px."""

ENCODINGS: dict[str, tuple[int, int]] = {
    "rgb8": (3, 1),
    "bgr8": (3, 1),
    "rgba8": (4, 1),
    "bgra8": (4, 1),
    "mono8": (1, 1),
    "mono16": (1, 2),
    "bayer_rggb8": (1, 1),
    "bayer_bggr8": (1, 1),
    "bayer_gbrg8": (1, 1),
    "bayer_grbg8": (1, 1),
    "bayer_rggb16": (1, 2),
    "bayer_bggr16": (1, 2),
    "bayer_gbrg16": (1, 2),
    "bayer_grbg16": (1, 2),
    "yuv422": (2, 1),
    "uyvy": (2, 1),
    "yuv422_yuy2": (2, 1),
    "yuyv": (2, 1),
}
"""Accepted encodings (sensor_msgs/image_encodings.hpp): channels per pixel, bytes per channel."""

# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row and second row's start.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_CONVERSIONS = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "mono16": cv2.COLOR_GRAY2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    **{f"bayer_{pattern}{bits}": code for pattern, code in _BAYER.items() for bits in (8, 16)},
}


def contiguous_rgb(rgb: ByteArray) -> ByteArray:
    """`rgb` itself, or a copy where it is a view with turned channels, which OpenCV's functions would copy slowly."""
    if rgb.strides[2] == -1:
        return np.asarray(cv2.cvtColor(rgb[..., ::-1], cv2.COLOR_BGR2RGB), np.uint8)
    return rgb


class ImageError(ClipRlError, ValueError):
    """A frame is not usable; the message is one line: what was wrong, what was expected."""


def image_view(
    *, height: int, width: int, encoding: str, step: int, is_bigendian: bool, data: Any
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """View raw pixels without copying them.

    Args:
        height: rows, 1 to `MAX_SIDE`.
        width: columns, 1 to `MAX_SIDE`.
        encoding: a key of `ENCODINGS`.
        step: bytes from one row to the next; may exceed the pixels' bytes.
        is_bigendian: byte order of 16-bit pixels.
        data: any byte buffer of exactly ``step * height`` bytes: array('B'), bytes, memoryview, uint8 array.

    Returns:
        (height, width) or (height, width, channels), uint8 or uint16 in the message's byte order; read-only.

    Raises:
        ImageError: unknown encoding, size out of bounds, or fields that contradict each other.
    """
    layout = ENCODINGS.get(encoding)
    if layout is None:
        raise ImageError(f"encoding '{_short(encoding)}' is not known; known are {', '.join(ENCODINGS)}")
    _check_size(height, width)
    channels, item = layout
    if channels == 2 and width % 2:
        raise ImageError(f"width {width} is odd; {encoding} stores pixels in pairs")
    if encoding.startswith("bayer_") and min(height, width) < 3:
        raise ImageError(f"{width}x{height} is too small for {encoding}; at least 3x3 pixels are needed")
    if step < width * channels * item:
        raise ImageError(
            f"step {step} is too small: {width} pixels of {encoding} take {width * channels * item} bytes a row"
        )
    buffer = memoryview(data).cast("B")
    if len(buffer) != step * height:
        raise ImageError(f"data has {len(buffer)} bytes; step {step} x height {height} needs {step * height}")
    dtype = np.dtype(np.uint8) if item == 1 else np.dtype(np.uint16).newbyteorder(">" if is_bigendian else "<")
    shape = (height, width) if channels == 1 else (height, width, channels)
    strides = (step, channels * item) if channels == 1 else (step, channels * item, item)
    view: npt.NDArray[Any] = np.ndarray(shape, dtype, buffer, strides=strides)
    view.flags.writeable = False
    return view


def image_to_rgb(
    *, height: int, width: int, encoding: str, step: int, is_bigendian: bool, data: Any, as_view: bool = False
) -> ByteArray:
    """Turn raw pixels into RGB; arguments and errors as for `image_view`.

    16-bit pixels are scaled so that 65535 becomes 255 (as ROS 2's cv_bridge does); grey is repeated in three channels;
    alpha is dropped; Bayer mosaics are interpolated bilinearly; YUV 4:2:2 is BT.601 in video range.

    With `as_view`, bgr8 comes as a view with turned channels, `bgr[..., ::-1]`: `letterbox.to_network` takes it as it
    is, OpenCV would copy it (see `contiguous_rgb`).

    Returns:
        uint8 RGB, (height, width, 3); for rgb8 a read-only view of `data`, for every other encoding a new array.
    """
    view = image_view(height=height, width=width, encoding=encoding, step=step, is_bigendian=is_bigendian, data=data)
    if encoding == "rgb8":
        return view  # type: ignore[return-value]
    if encoding == "bgr8" and as_view:
        return view[..., ::-1]  # type: ignore[return-value]
    if view.dtype != np.uint8:
        native = np.ascontiguousarray(view, np.uint16)
        view = np.asarray(cv2.convertScaleAbs(native, alpha=255.0 / 65535.0), np.uint8)
    return np.asarray(cv2.cvtColor(view, _CONVERSIONS[encoding]), np.uint8)


def compressed_to_rgb(data: Any) -> ByteArray:
    """Decode a JPEG or PNG file's bytes, as `picture_files.decode_rgb` does: whole or not at all.

    The size in the file's header is checked before anything is decoded.

    Args:
        data: any byte buffer.

    Returns:
        uint8 RGB, (height, width, 3), a new array.

    Raises:
        ImageError: empty, neither JPEG nor PNG, damaged anywhere, or too large.
    """
    content = bytes(data)
    compressed_size(content)
    try:
        return picture_files.decode_rgb(content)
    except PictureError as error:
        raise ImageError(f"compressed image {error}") from None


def check_compressed(data: Any) -> tuple[int, int]:
    """(height, width) of what `compressed_to_rgb` would decode, px, at less cost; raises `ImageError` as it does."""
    content = bytes(data)
    size = compressed_size(content)
    try:
        picture_files.check_picture(content)
    except PictureError as error:
        raise ImageError(f"compressed image {error}") from None
    return size


def compressed_size(data: Any) -> tuple[int, int]:
    """(height, width) of a JPEG or PNG file's bytes by its header, px; raises `ImageError`."""
    try:
        height, width = picture_files.picture_size(bytes(data))
    except PictureError as error:
        raise ImageError(f"compressed image {error}") from None
    _check_size(height, width)
    return height, width


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"image is {width}x{height}; width and height must be at least 1")
    if height > MAX_SIDE or width > MAX_SIDE:
        raise ImageError(f"image is {width}x{height}; at most {MAX_SIDE}x{MAX_SIDE} is accepted")


def _short(text: str, limit: int = 40) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."
