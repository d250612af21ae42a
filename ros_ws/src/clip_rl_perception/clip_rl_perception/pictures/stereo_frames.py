"""Pictures that hold both eyes of a stereo endoscope: the half of one eye."""

from __future__ import annotations

from typing import Final

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import ImageError

LAYOUTS: Final = ("single", "side_by_side", "top_bottom")
"""Of a picture: one eye alone; left eye left, right eye right; left eye above, right eye below."""
EYES: Final = ("left", "right")


def eye_of(rgb: ByteArray, layout: str, eye: str) -> ByteArray:
    """One eye's half of a picture.

    Args:
        rgb: uint8 (H, W, 3).
        layout: of `LAYOUTS`; the picture of a single eye is returned as it is.
        eye: of `EYES`.

    Returns:
        uint8 (H, W / 2, 3) side by side, (H / 2, W, 3) one above the other; contiguous.

    Raises:
        ImageError: it cannot be halved.
    """
    if layout == "single":
        return rgb
    side, name = (1, "width") if layout == "side_by_side" else (0, "height")
    size = rgb.shape[side]
    if size % 2:
        raise ImageError(f"the image is {rgb.shape[1]}x{rgb.shape[0]}; two eyes {layout} need an even {name}")
    begin = size // 2 * EYES.index(eye)
    half = rgb[:, begin : begin + size // 2] if side else rgb[begin : begin + size // 2]
    return np.ascontiguousarray(half)
