"""Scenes drawn by hand for tests of the scene floor and the pipeline: label images and log-probabilities from them."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Letterbox

FRAME = (704, 896)
"""Half of it is the network's 352x448, so that a node of the grid covers exactly 8x8 px."""
NODE = 8


def plain_view() -> Letterbox:
    return make_letterbox(FRAME, (352, 448))


def empty() -> ByteArray:
    return np.zeros(FRAME, np.uint8)


def bar(
    labels: ByteArray, start: tuple[float, float], end: tuple[float, float], width: float, class_id: int
) -> ByteArray:
    """Draw a rectangle from the middle of one short side to the middle of the other; returns the image."""
    a, b = np.array(start, np.float64), np.array(end, np.float64)
    along = (b - a) / np.hypot(*(b - a))
    side = np.array([-along[1], along[0]]) * width / 2
    corners = np.array([a + side, b + side, b - side, a - side])
    # OpenCV draws polygons with their outline, half a pixel too wide on every side.
    fixed = np.rint((corners - (np.sign(corners - (a + b) / 2) * 0.25)) * 16).astype(np.int32)
    cv2.fillPoly(labels, [fixed], class_id, shift=4)
    return labels


def log_probs_of(labels: ByteArray, classes: int, sharpness: float = 20.0) -> FloatArray:
    """Log-probabilities of a network that sees a `FRAME` label image perfectly, float32 (K, 88, 112)."""
    shares = [
        cv2.resize((labels == k).astype(np.float32), (112, 88), interpolation=cv2.INTER_AREA) for k in range(classes)
    ]
    logits = sharpness * np.stack(shares)
    logits -= logits.max(axis=0)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=0)), np.float32)
