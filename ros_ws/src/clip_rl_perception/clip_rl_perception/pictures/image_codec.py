"""sensor_msgs images to arrays. Messages are taken by their fields, so this module imports no ROS package by itself.

`pictures.encodings` does the work. Interpolated encodings (Bayer, YUV 4:2:2) go through cv_bridge where it is installed
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

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.compressed_format import compressed_message_to_rgb
from clip_rl_perception.pictures.encodings import ENCODINGS, ImageError, image_to_rgb, image_view

__all__ = ["ImageError", "decode_message"]


def decode_message(message: Any, *, as_view: bool = False) -> ByteArray:
    """RGB pixels of a sensor_msgs/Image or sensor_msgs/CompressedImage.

    Args:
        message: anything with the fields of one of the two.
        as_view: allow a view with turned channels, see `pictures.encodings.image_to_rgb`.

    Returns:
        uint8 RGB, (height, width, 3); for rgb8 a read-only view of the message's data.

    Raises:
        ImageError: the frame is not usable; one line says why.
    """
    if hasattr(message, "format"):
        return compressed_message_to_rgb(message)
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
