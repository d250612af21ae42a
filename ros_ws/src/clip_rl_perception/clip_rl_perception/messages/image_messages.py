"""Pixels as sensor_msgs/Image and sensor_msgs/CompressedImage; `pictures/image_codec.py` decodes what cameras send."""

from __future__ import annotations

from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray, WordArray
from clip_rl_perception.messages.message_types import BAG_TYPES, COMPRESSED_IMAGE, IMAGE, MessageTypes
from clip_rl_perception.picture_encoding import encode_jpeg

_CHANNELS: dict[str, tuple[int, ...]] = {"mono8": (), "mono16": (), "bgr8": (3,), "rgb8": (3,)}
"""What pixels of an encoding have after (height, width)."""


def image(header: Any, pixels: ByteArray | WordArray, encoding: str = "mono8", types: MessageTypes = BAG_TYPES) -> Any:
    """Image of uint8 (mono16: uint16) pixels: (height, width) for mono8 and mono16, (height, width, channels) else.

    Raises:
        ValueError: the array is of another type, or has other channels than `encoding`.
    """
    depth = np.uint16 if encoding == "mono16" else np.uint8
    if pixels.dtype != depth or pixels.shape[2:] != _CHANNELS.get(encoding, pixels.shape[2:]):
        raise ValueError(f"{encoding} takes other pixels than {pixels.dtype} {pixels.shape}")
    rows = (
        np.ascontiguousarray(pixels, "<u2" if encoding == "mono16" else np.uint8)
        .reshape(pixels.shape[0], -1)
        .view(np.uint8)
    )
    return image_of_rows(header, rows, pixels.shape[1], encoding, types)


def image_of_rows(header: Any, rows: ByteArray, width: int, encoding: str, types: MessageTypes = BAG_TYPES) -> Any:
    """Image of rows of bytes, uint8 (height, step), in any encoding."""
    return types.make(
        IMAGE,
        header=header,
        height=rows.shape[0],
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=types.array(rows.reshape(-1)),
    )


def compressed_image(
    header: Any, data: bytes | ByteArray, encoding: str, types: MessageTypes = BAG_TYPES, *, pixel_format: str = "bgr8"
) -> Any:
    """CompressedImage of the bytes of a file: `encoding` is jpeg or png, `pixel_format` that of its pixels."""
    # image_transport's form, so that its decoders restore the encoding they started from.
    form = f"{pixel_format}; {encoding} compressed" + (f" {pixel_format}" if pixel_format != "mono8" else "")
    content = np.frombuffer(data, np.uint8)
    return types.make(COMPRESSED_IMAGE, header=header, format=form, data=types.array(content))


def jpeg(header: Any, rgb: ByteArray, types: MessageTypes = BAG_TYPES, *, quality: int = 90) -> Any:
    """CompressedImage of uint8 RGB (height, width, 3), as image_transport makes it."""
    return compressed_image(header, encode_jpeg(rgb, quality), "jpeg", types)


def plane_of(message: Any) -> ByteArray:
    """uint8 (height, width) of a mono8 Image: a view of its data."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width]
