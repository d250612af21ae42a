"""The overlay of a frame that a run has seen, small enough for videos and pages."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.scene.types import Box, Instrument


def overlay_at(seen: SeenFrame, width: int) -> ByteArray:
    """The overlay of a frame, drawn at a size of at most `width` px across; the frame itself where it has no mask."""
    assert seen.rgb is not None
    height, full = seen.rgb.shape[:2]
    scale = min(1.0, width / full)
    size = (round(full * scale), max(1, round(height * scale)))
    rgb = seen.rgb if scale == 1.0 else np.asarray(cv2.resize(seen.rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if seen.mask is None:
        return rgb.copy()
    mask = seen.mask if scale == 1.0 else np.asarray(cv2.resize(seen.mask, size, interpolation=cv2.INTER_NEAREST))
    return draw_overlay(rgb, np.asarray(mask, np.uint8), seen.space, [_scaled(tag, scale) for tag in seen.instruments])


def _scaled(tag: Instrument, scale: float) -> Instrument:
    box = Box(*(round(value * scale) for value in (tag.box.x, tag.box.y, tag.box.width, tag.box.height)))
    return dataclasses.replace(tag, box=box, tip=(tag.tip[0] * scale, tag.tip[1] * scale), area=tag.area * scale**2)
