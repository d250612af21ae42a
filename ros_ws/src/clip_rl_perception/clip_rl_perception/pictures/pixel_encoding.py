"""RGB arrays -> image bytes as cameras deliver them: the way back from `pictures.encodings`, for making bags."""

from __future__ import annotations

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import ENCODINGS, ImageError

_ORDERS = {
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "mono8": cv2.COLOR_RGB2GRAY,
}
_LUMA_LAST = ("yuv422", "uyvy")
"""U Y V Y; the other two are Y U Y V."""

# BT.601 in video range, rows Y, U, V of R, G, B in 0 to 255 (ITU-R BT.601-7, section 2.5); what OpenCV's decoders undo.
_BT601 = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255.0


def encode_pixels(rgb: ByteArray, encoding: str) -> ByteArray:
    """Pixels as a driver of `encoding` would send them.

    Bayer mosaics keep each pixel's own colour and lose the other two; 16-bit values are the 8-bit ones x 257, little
    endian; YUV 4:2:2 is BT.601 in video range with the chroma of each pair averaged.

    Args:
        rgb: uint8 (H, W, 3), RGB.
        encoding: a key of `pictures.encodings.ENCODINGS`.

    Returns:
        Rows of bytes, uint8 (H, step), contiguous; step is W times the encoding's bytes per pixel.

    Raises:
        ImageError: unknown encoding, an odd width for YUV 4:2:2, or below 3x3 for a Bayer mosaic.
    """
    height, width = rgb.shape[:2]
    if encoding not in ENCODINGS:
        raise ImageError(f"images cannot be written as '{encoding}'; known are {', '.join(ENCODINGS)}")
    if encoding in _ORDERS:
        pixels = np.asarray(cv2.cvtColor(rgb, _ORDERS[encoding]), np.uint8)
    elif encoding.startswith("bayer_"):
        if min(height, width) < 3:
            raise ImageError(f"{width}x{height} is too small for {encoding}; at least 3x3 pixels are needed")
        pixels = _mosaic(rgb, encoding[6:10])
    elif encoding == "mono16":
        pixels = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    elif encoding != "rgb8":
        if width % 2:
            raise ImageError(f"width {width} is odd; {encoding} stores pixels in pairs")
        pixels = _yuv422(rgb, luma_last=encoding in _LUMA_LAST)
    else:
        pixels = rgb
    if encoding.endswith("16"):
        pixels = (pixels.astype("<u2") * 257).view(np.uint8)
    return np.ascontiguousarray(pixels).reshape(height, -1)


def _mosaic(rgb: ByteArray, pattern: str) -> ByteArray:
    """One colour per pixel: `pattern` names those of the first row's and second row's first two pixels."""
    mosaic = np.empty(rgb.shape[:2], np.uint8)
    for place, color in enumerate(pattern):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(color)]
    return mosaic


def _yuv422(rgb: ByteArray, *, luma_last: bool) -> ByteArray:
    height, width = rgb.shape[:2]
    luma, blue, red = np.moveaxis(rgb.astype(np.float64) @ _BT601.T, 2, 0)
    chroma = [plane.reshape(height, -1, 2).mean(axis=2) + 128.0 for plane in (blue, red)]
    packed = np.empty((height, width, 2), np.uint8)
    packed[..., int(luma_last)] = np.clip(np.rint(luma + 16.0), 16, 235)
    for place, plane in enumerate(chroma):
        packed[:, place::2, int(not luma_last)] = np.clip(np.rint(plane), 16, 240)
    return packed
