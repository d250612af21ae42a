"""Pictures that hold both eyes of a stereo endoscope: the half of one eye."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from clip_rl_perception.pictures.encodings import ImageError

LAYOUTS: Final = ("single", "side_by_side", "top_bottom")
"""Of a picture: one eye alone; left eye left, right eye right; left eye above, right eye below."""
EYES: Final = ("left", "right")
BOTH: Final = "both"
Scalar = TypeVar("Scalar", bound="np.generic[Any]")


def eye_size(size: tuple[int, int], layout: str) -> tuple[int, int]:
    """(width, height) of one eye's half of a picture of this (width, height), px."""
    width, height = size
    return {"side_by_side": (width // 2, height), "top_bottom": (width, height // 2)}.get(layout, size)


def eye_of(rgb: npt.NDArray[Scalar], layout: str, eye: str) -> npt.NDArray[Scalar]:
    """One eye's half of a picture.

    Args:
        rgb: uint8 (H, W, 3), or what belongs to its pixels, (H, W).
        layout: of `LAYOUTS`; the picture of a single eye is returned as it is.
        eye: of `EYES`.

    Returns:
        Of the same type, (H, W / 2, 3) side by side, (H / 2, W, 3) one above the other; contiguous.

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
