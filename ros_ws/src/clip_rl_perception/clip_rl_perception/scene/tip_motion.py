"""How fast the tips of instruments move in the image: by points on them, followed from the picture before.

Tips tremble from frame to frame by more than they move: told by their differences, velocities were farther off than if
all tips were told to rest (docs/results/tags.md). Points are followed by the method of Lucas and Kanade, in pyramids
(Bouguet 2000), there and back.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray
from clip_rl_perception.scene.letterbox import frame_to_grid
from clip_rl_perception.scene.types import Instrument, Letterbox

REACH = 6.0
"""Nodes of the logit grid around a tip whose points are followed: jaws, and what carries them."""
MOST = 20
"""Points of an instrument that are followed."""
TEXTURE = 0.003
"""Least eigenvalue of the gradients around a point, as of OpenCV: along a smooth shaft no motion can be seen."""
BACK_PX, ALIKE = 1.0, 20.0
"""How near to where it began a point must come back, px of the picture, and how alike it must look there, 0 to 255."""
LEAST, SHARE = 3, 0.3
"""Points, and share of those with texture, that must do so; fewer do after a cut."""
WINDOW, LEVELS = 7, 2
"""Side of what is compared around a point, px of the picture, and how often the picture is halved."""


def tip_velocities(
    instruments: Sequence[Instrument], before: ByteArray | None, now: ByteArray, view: Letterbox, seconds: float
) -> list[tuple[float, float] | None]:
    """Of each instrument, px of the frame a second: the median motion of its own points around its tip.

    Args:
        instruments: of a frame, with footprints.
        before: picture of the frame before, of the same view, uint8 RGB (h, w, 3); None: there is none.
        now: picture of this frame: what the network sees, at any scale.
        view: of both.
        seconds: since the frame before.

    Returns:
        None where it is not known.
    """
    velocities: list[tuple[float, float] | None] = [None] * len(instruments)
    if before is None or not seconds > 0:
        return velocities
    px = view.network_size[0] / now.shape[0]  # of the network in a pixel of the picture
    found = [_points(tool, view, px) for tool in instruments]
    points = np.concatenate([np.zeros((0, 2), np.float32), *found])
    if not len(points):
        return velocities
    moved, seen, good = _followed(before, now, points)
    owner = np.repeat(np.arange(len(found)), [len(each) for each in found])
    for place in range(len(found)):
        own = owner == place
        if (count := int((good & own).sum())) >= LEAST and count >= SHARE * (seen & own).sum():
            across, down = (np.median(moved[good & own], axis=0) * (px / view.scale / seconds)).tolist()
            velocities[place] = across, down
    return velocities


def _points(tool: Instrument, view: Letterbox, px: float) -> FloatArray:
    """Middles of the instrument's nodes around its tip, px of the picture, (n, 2)."""
    if tool.footprint is None or not tool.footprint.any():
        return np.zeros((0, 2), np.float32)
    stride = view.network_size[0] / tool.footprint.shape[0]
    rows, columns = np.nonzero(tool.footprint)
    (x, y), *_ = frame_to_grid([tool.tip], view, round(stride))
    away = np.hypot(columns - x, rows - y)
    near = np.flatnonzero(away <= max(REACH, away.min() + 1))
    near = near[np.linspace(0, len(near) - 1, min(len(near), MOST)).astype(np.intp)]
    nodes = np.stack([columns[near], rows[near]], axis=1)
    return np.asarray((nodes + 0.5) * (stride / px) - 0.5, np.float32)


def _followed(before: ByteArray, now: ByteArray, points: FloatArray) -> tuple[FloatArray, BoolArray, BoolArray]:
    """How far each point has moved, px of the picture, (n, 2); whether it has texture, and came back too, (n,)."""
    old, new = cv2.cvtColor(before, cv2.COLOR_RGB2GRAY), cv2.cvtColor(now, cv2.COLOR_RGB2GRAY)
    follow: Any = functools.partial(cv2.calcOpticalFlowPyrLK, winSize=(WINDOW, WINDOW), maxLevel=LEVELS)
    there, seen, _ = follow(new, old, points[:, None], None, minEigThreshold=TEXTURE)
    back, came, unlike = follow(old, new, there, None)
    good = (seen & came).astype(np.bool_) & (unlike < ALIKE)
    good = good[:, 0] & (np.linalg.norm(back[:, 0] - points, axis=1) < BACK_PX)
    return np.asarray(points - there[:, 0], np.float32), seen[:, 0].astype(np.bool_), good
