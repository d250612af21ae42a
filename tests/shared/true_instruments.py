"""Instruments as a perfect model would find them, from the truth of a synthetic frame."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.scene.letterbox import STRIDE, make_letterbox
from clip_rl_perception.scene.types import Box, Instrument, Keypoint, Letterbox
from clip_rl_training.synthetic.drawing.rendered_frame import InstrumentTruth, SyntheticFrame


def view_of(frame: SyntheticFrame) -> Letterbox:
    """The whole frame at its own size, which is a multiple of 32."""
    return make_letterbox(frame.instance_map.shape, frame.instance_map.shape)


def true_instruments(frame: SyntheticFrame, *, keypoints: bool = True) -> dict[int, Instrument]:
    """By the numbers of the instance map, for those that cover at least a node of the grid."""
    found = {}
    for truth in frame.instruments:
        made = _instrument(frame, truth, keypoints)
        if made is not None:
            found[truth.instance] = made
    return found


def _instrument(frame: SyntheticFrame, truth: InstrumentTruth, keypoints: bool) -> Instrument | None:
    mask = np.asarray(frame.instance_map == truth.instance, np.uint8)
    footprint = np.ascontiguousarray(mask[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])
    if not footprint.any():
        return None
    rows, columns = np.nonzero(mask)
    along = columns * truth.axis[0] + rows * truth.axis[1]
    far = int(along.argmax())
    edge = cv2.erode(frame.content.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0)
    points = tuple(Keypoint(point.name, point.x, point.y, 0.9, point.visible) for point in truth.keypoints)
    return Instrument(
        class_id=1,
        confidence=0.9,
        box=Box(*cv2.boundingRect(mask)),
        tip=(float(columns[far]), float(rows[far])),
        axis=truth.axis,
        area=float(footprint.sum() * STRIDE**2),
        touches_border=bool((mask > edge).any()),
        keypoints=points if keypoints else (),
        footprint=footprint,
    )
