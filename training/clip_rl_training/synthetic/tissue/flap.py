"""A fold of tissue in front of the instruments."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray

from clip_rl_training.synthetic.drawing.shapes import Points, fill_alpha, patch


def lay_flap(image: ByteArray, background: ByteArray, outline: Points, unit: float) -> BoolArray:
    """Lay a fold over a picture, in place: its rim turns from the light, and it shades what it lies on.

    Args:
        image: RGB (H, W, 3), changed.
        background: Of the same size: the lit tissue, of which the fold is made.
        outline: Of the fold.
        unit: The shorter side of the image, px.

    Returns:
        Where it covers, bool (H, W).
    """
    size = (image.shape[0], image.shape[1])
    covered = np.zeros(size, np.bool_)
    width = min(0.025 * unit, 0.15 * float(np.sqrt(cv2.contourArea(outline.astype(np.float32)))))
    lying = patch(outline, size, 4 + int(3 * width))
    if lying is None:
        return covered
    alpha = fill_alpha(lying.size, [lying.outline], max(0.8, 0.003 * unit))
    rise = fill_alpha(lying.size, [lying.outline], width)
    light = 0.3 + 0.7 * np.clip(2 * rise - 1, 0, 1)
    below = image[lying.window] * (1 - 0.7 * rise)[..., None]
    fold = cv2.flip(background, -1)[lying.window] * light[..., None]
    image[lying.window] = np.round(below + alpha[..., None] * (fold - below)).astype(np.uint8)
    covered[lying.window] = alpha > 0.5
    return covered
