"""Where an instrument's working end lies, and a close-up of it at the frame's own resolution.

Close-ups of training are squares round wrist and jaws, 1.1 to 1.7 times as wide as these
(`clip_rl_training.synthetic.crops`); so are these. Where no keypoints are told, the working end is the last piece of
the shaft's axis, so many widths of the shaft long.
"""

from __future__ import annotations

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, DoubleArray
from clip_rl_perception.scene.letterbox import grid_to_frame
from clip_rl_perception.scene.types import Box, Instrument, Letterbox

MARGIN = 1.15
"""Side of the close-up over the longer side of the working end's box: more is named rightly than with the middle of
training's, 1.4, and much more than with twice as wide ones."""
_LENGTH = 2.5
"""Of the last piece of an instrument that is shown, in its widths."""
_THICKNESS = 0.25
"""What wrist and jaws reach beyond their keypoints, in widths; median 0.2 to 0.3."""


def working_end(instrument: Instrument, view: Letterbox) -> Box | None:
    """The square round the working end, inside the content's box, px.

    Args:
        instrument: with its footprint.
        view: of the frame.

    Returns:
        None where it is not in sight: there is no footprint, or keypoints are told and none but the entry is visible.
    """
    if instrument.footprint is None or not instrument.footprint.any():
        return None
    stride = view.network_size[0] // instrument.footprint.shape[0]
    rows, columns = np.nonzero(instrument.footprint)
    nodes = grid_to_frame(np.stack([columns, rows], axis=1), view, stride).astype(np.float64)
    along = nodes @ np.asarray(instrument.axis)
    node = stride / view.scale
    width = len(nodes) * node**2 / (along.max() - along.min() + node)
    told = [point for point in instrument.keypoints if point.name != "entry"]
    if told:
        if not any(point.visible for point in told):
            return None
        points, beyond = np.array([(point.x, point.y) for point in told]), _THICKNESS * width
        if len(told) == 1:  # a tube: its end alone
            points = np.concatenate([points, points - _LENGTH * width * np.asarray(instrument.axis)])
        crop = view.crop
        points = points.clip((crop.x, crop.y), (crop.x + crop.width - 1, crop.y + crop.height - 1))
    else:
        points, beyond = nodes[along >= along.max() - _LENGTH * width], node
    return _square(points, beyond, view.crop)


def _square(points: DoubleArray, beyond: float, crop: Box) -> Box:
    """A square round points, `MARGIN` as wide as they reach and `beyond` px more; moved and cut to lie in the crop."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = int(min(MARGIN * (float((high - low).max()) + beyond), crop.width, crop.height))
    side = max(side, 1)
    x, y = (low + high) / 2 - side / 2
    left = int(np.clip(round(float(x)), crop.x, crop.x + crop.width - side))
    top = int(np.clip(round(float(y)), crop.y, crop.y + crop.height - side))
    return Box(left, top, side, side)


def close_up(rgb: ByteArray, square: Box, side: int, turn: int = 0) -> ByteArray:
    """A square of a frame at the size of a close-up, turned.

    Args:
        rgb: the frame, uint8 (height, width, 3).
        square: inside the frame.
        side: S, px.
        turn: 0 to 7: quarter turns, and from 4 on their mirror images.

    Returns:
        uint8 (S, S, 3).
    """
    cut = rgb[square.y : square.y + square.height, square.x : square.x + square.width]
    way = cv2.INTER_AREA if square.width > side else cv2.INTER_LINEAR
    shown = cv2.resize(np.ascontiguousarray(cut), (side, side), interpolation=way)
    turned = np.rot90(shown, turn % 4)
    return np.ascontiguousarray(turned[:, ::-1] if turn >= 4 else turned, np.uint8)
