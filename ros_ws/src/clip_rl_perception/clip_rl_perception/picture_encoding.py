"""Pixels -> the bytes of a picture file.

Files are written by Python, never by OpenCV: of a name that is not UTF-8 it dies (OpenCV 5), and a full disk is a mere
False to it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError


class EncodingError(ClipRlError, ValueError):
    """No file of a kind can hold some pixels."""


def encode_picture(suffix: str, pixels: npt.NDArray[Any], *parameters: int) -> bytes:
    """A picture file of what OpenCV would store: channels in the order B, G, R.

    Args:
        suffix: of the kind of file, for example ``.png``.
        pixels: uint8 or uint16 (H, W) or (H, W, 3 or 4).
        parameters: of `cv2.imencode`.

    Raises:
        EncodingError: no such file can hold these pixels.
    """
    try:
        done, data = cv2.imencode(suffix, np.ascontiguousarray(pixels), parameters)
    except cv2.error:
        done, data = False, np.empty(0, np.uint8)
    if not done:
        raise EncodingError(f"an array of {pixels.dtype} {pixels.shape} cannot be written as {suffix}")
    return data.tobytes()


def encode_jpeg(rgb: ByteArray, quality: int) -> bytes:
    """A JPEG of uint8 RGB (H, W, 3).

    Raises:
        EncodingError: no JPEG can hold these pixels.
    """
    bgr = (
        cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR) if rgb.size else rgb
    )  # of the frame path: a turned view costs 17 times it
    return encode_picture(".jpg", bgr, cv2.IMWRITE_JPEG_QUALITY, quality)
