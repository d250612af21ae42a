"""sensor_msgs images <-> arrays. Messages are taken by their fields, so this module imports no ROS package by itself.

`scene.encodings` does the work. Interpolated encodings (Bayer, YUV 4:2:2) go through cv_bridge where it is installed
and works, so that pixels equal those of the other nodes on the robot; cv_bridge fails on some NumPy and OpenCV versions
(ros-perception/vision_opencv issue 535), therefore it has to reproduce OpenCV on a sample before it is trusted.
"""

from __future__ import annotations

import functools
import importlib
import types
from array import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.sources.encodings import ENCODINGS, ImageError, compressed_to_rgb, image_to_rgb, image_view

OUTPUT_CHANNELS = {"mono8": 1, "bgr8": 3, "rgb8": 3}
"""Encodings that the node publishes, and their channels."""

__all__ = ["ImageError", "decode_message", "fill_compressed", "fill_image", "to_bytes"]


def decode_message(message: Any, *, as_view: bool = False) -> ByteArray:
    """RGB pixels of a sensor_msgs/Image or sensor_msgs/CompressedImage.

    Args:
        message: anything with the fields of one of the two.
        as_view: allow a view with turned channels, see `scene.encodings.image_to_rgb`.

    Returns:
        uint8 RGB, (height, width, 3); for rgb8 a read-only view of the message's data.

    Raises:
        ImageError: the frame is not usable; one line says why.
    """
    if hasattr(message, "format"):
        return compressed_to_rgb(message.data, as_view=as_view)
    fields = {
        "height": message.height,
        "width": message.width,
        "encoding": message.encoding,
        "step": message.step,
        "is_bigendian": bool(message.is_bigendian),
        "data": message.data,
    }
    if message.encoding.startswith(("bayer_", "yuv", "uyvy")):
        bridge = _trusted_bridge(message.encoding)
        if bridge is not None:
            image_view(**fields)  # its errors say what is wrong; cv_bridge's do not
            return np.asarray(bridge(message, "rgb8"), np.uint8)
    return image_to_rgb(**fields, as_view=as_view)


def fill_image(message: Any, pixels: ByteArray, encoding: str) -> None:
    """Set every field of a sensor_msgs/Image but its header.

    Args:
        message: the message to fill.
        pixels: uint8, (height, width) for mono8 or (height, width, 3).
        encoding: a key of `OUTPUT_CHANNELS`.
    """
    channels = OUTPUT_CHANNELS[encoding]
    if pixels.dtype != np.uint8 or pixels.shape[2:] != ((channels,) if channels > 1 else ()):
        raise ValueError(f"{encoding} takes uint8 pixels with {channels} channels; got {pixels.dtype} {pixels.shape}")
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = message.width * channels
    message.data = to_bytes(pixels)


def fill_compressed(message: Any, rgb: ByteArray, quality: int = 90) -> None:
    """Set every field of a sensor_msgs/CompressedImage but its header: a JPEG, as image_transport writes it."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise ValueError(f"an array of {rgb.dtype} {rgb.shape} could not be written as JPEG")
    message.format = "bgr8; jpeg compressed bgr8"
    message.data = to_bytes(data)


def to_bytes(pixels: npt.NDArray[np.uint8]) -> array[int]:
    """Copy pixels to array('B'): rclpy takes it as it is, others element by element (0.6 against 200 ms for 4 MB)."""
    data = array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return data


@functools.lru_cache(maxsize=len(ENCODINGS))
def _trusted_bridge(encoding: str) -> Callable[[Any, str], Any] | None:
    """cv_bridge's conversion if it is installed and agrees with OpenCV on a sample in `encoding`, else None."""
    try:
        convert: Callable[[Any, str], Any] = importlib.import_module("cv_bridge").CvBridge().imgmsg_to_cv2
        sample = _sample(encoding)
        expected = image_to_rgb(**vars(sample)).astype(int)
        trusted = bool(np.abs(np.asarray(convert(sample, "rgb8")).astype(int) - expected).max() <= 2)
    except Exception:  # it fails in many ways: missing, compiled against another NumPy, unknown encoding
        return None
    return convert if trusted else None


def _sample(encoding: str) -> types.SimpleNamespace:
    channels, item = ENCODINGS[encoding]
    height, width = 12, 16
    step = width * channels * item + 4
    data = array("B", ((37 * index + index // 7) % 256 for index in range(step * height)))
    return types.SimpleNamespace(
        height=height, width=width, encoding=encoding, step=step, is_bigendian=False, data=data
    )
