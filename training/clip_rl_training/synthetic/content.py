"""The content area: which pixels show the patient, and what surrounds them."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray

from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes
from clip_rl_training.synthetic.drawing.shapes import disc_or_box, fill


@dataclasses.dataclass(frozen=True)
class Content:
    """Shape of the content area in a frame."""

    coverage: ByteArray | None
    """Coverage 0..255 of the patient's picture, (H, W); None where it fills the frame."""
    shape: str
    """full, circle, rounded or rectangle."""

    def mask(self, size: tuple[int, int]) -> BoolArray:
        """True inside, bool (H, W)."""
        if self.coverage is None:
            return np.ones(size, np.bool_)
        return np.asarray(self.coverage > 127)


def sample_content(rng: np.random.Generator, size: tuple[int, int], weights: tuple[float, ...]) -> Content:
    """Choose a content area; `weights` are those of full, circle, rounded rectangle, rectangle."""
    height, width = size
    unit = min(height, width)
    shape = ("full", "circle", "rounded", "rectangle")[int(rng.choice(4, p=np.array(weights) / sum(weights)))]
    if shape == "full":
        return Content(None, shape)
    if shape == "circle":
        radius = unit * rng.uniform(0.46, 0.72)
        center = (width / 2 + rng.normal(0, 0.02) * width, height / 2 + rng.normal(0, 0.02) * height)
        outline = disc_or_box(center, (radius, radius), 1.0)
        squared = rng.random() < 0.15
        coverage = fill(size, [outline])
        if squared:  # a circle cut off above and below
            cut = int(height * rng.uniform(0.0, 0.08))
            coverage[:cut] = 0
            coverage[height - cut :] = 0
    else:
        margin_x = width * rng.uniform(0.005, 0.16) if rng.random() < 0.7 else 0.0
        margin_y = height * rng.uniform(0.005, 0.10) if rng.random() < 0.6 else 0.0
        half = (width / 2 - margin_x, height / 2 - margin_y)
        center = (width / 2 + rng.uniform(-1, 1) * margin_x * 0.4, height / 2 + rng.uniform(-1, 1) * margin_y * 0.4)
        coverage = fill(size, [disc_or_box(center, half, rng.uniform(0.05, 0.5) if shape == "rounded" else 0.0)])
    return Content(coverage, shape)


def apply_content(image: ByteArray, content: Content, level: int, soft: float) -> ByteArray:
    """Blacken everything outside, with a rim `soft` px wide; outside is exactly `level` away from the rim."""
    if content.coverage is None:
        return image
    coverage = content.coverage
    if soft > 0.4:  # fade inwards only: outside stays black
        inner = cv2.erode(coverage, np.ones((3, 3), np.uint8))
        coverage = as_bytes(cv2.min(coverage, cv2.GaussianBlur(inner, (0, 0), soft)))
    weight = coverage.astype(np.float32) * np.float32(1 / 255)
    surround = np.full_like(image, level)
    return as_bytes(cv2.blendLinear(image, surround, weight, 1.0 - weight))
