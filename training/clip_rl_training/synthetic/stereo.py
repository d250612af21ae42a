"""The eyes of a stereo endoscope before one scene.

An instrument's thickness in pixels tells its depth, see `instruments/depth.py`; the tissue is a plane behind the
instruments. The right picture is that of a camera a few millimetres to the right: parallel to the left one, as after
rectification, or turned towards it until the tissue lies still in both, which moves the right principal point alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from clip_rl_perception.arrays import Vector
from clip_rl_perception.metrics.tag_measures import TruePoint, TrueSpace
from clip_rl_perception.sources.camera_model import CameraModel, pinhole

from clip_rl_training.synthetic.drawing.eyes import Eye
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.instruments.depth import SHAFT_RADIUS_MM
from clip_rl_training.synthetic.instruments.keypoints import is_seen
from clip_rl_training.synthetic.scene_state import SceneState

BASELINE_MM = 5.0
FIELD_OF_VIEW = 70.0
"""Horizontal, degrees."""
TISSUE_MM = 100.0
"""Depth of the tissue, mm; farther where an instrument would lie behind it."""
BEHIND = 1.15
"""Least depth of the tissue over that of the farthest instrument's shaft."""
CUTOUT_DEPTH = 0.75
"""Depth of cut-outs of real instruments, whose size in millimetres is not known, over that of the tissue."""
FLAP_DEPTH = 0.9
"""Depth of tissue that covers instruments, over that of the nearest of them."""


@dataclasses.dataclass(frozen=True)
class Rig:
    """Two cameras side by side."""

    baseline_mm: float = BASELINE_MM
    """How far right the right one is."""
    converging: bool = False
    """The right picture is shifted so that the tissue lies still; else the eyes are parallel."""


CONVERGING = Rig(converging=True)
_RIG = 4
"""Tells the random numbers of a video's rig from those of its scene."""


def drawn_rig(seed: int, baseline_mm: tuple[float, float]) -> Rig:
    """Parallel eyes of the video of a seed, their baseline from a range."""
    return Rig(float(np.random.default_rng([seed, _RIG]).uniform(*baseline_mm)))


def camera_of(width: int, height: int, baseline_mm: float = 0.0) -> CameraModel:
    """An eye of pictures of a size in px, `baseline_mm` right of the left one."""
    return pinhole(width, height, field_of_view=FIELD_OF_VIEW, baseline_m=baseline_mm / 1000.0)


def focal_of(width: int) -> float:
    """Focal length of both eyes, px, for pictures of a width in px."""
    return camera_of(width, width).k[0]


def middle_of(size: tuple[int, int]) -> tuple[float, float]:
    """Where the axis of an eye meets its picture of (height, width), (x, y) px."""
    k = camera_of(size[1], size[0]).k
    return k[2], k[5]


def eyes_of(state: SceneState, rig: Rig) -> tuple[Eye, Eye]:
    """Left and right eye before a scene."""
    focal = focal_of(state.size[1])
    farthest = max((focal * SHAFT_RADIUS_MM * it.thickness / it.radius for it in state.placements), default=0.0)
    left = Eye(focal, max(TISSUE_MM, BEHIND * farthest))
    return left, dataclasses.replace(left, baseline_mm=rig.baseline_mm, converging=rig.converging)


def instruments_in_space(
    state: SceneState, right_eye: Eye, left: SyntheticFrame, right: SyntheticFrame
) -> dict[int, TrueSpace]:
    """Where the instruments of a left frame are, by number, and which of their points the frames show.

    Metres, the left eye's optical frame: x to the right, y down, z forward. `entry` and `wrist` lie on the shaft's
    axis. The right eye sees another point of the shaft at the border of its picture: `entry` is the left one's.

    Args:
        state: the scene.
        right_eye: that saw `right`.
        left: of the left eye.
        right: of the same time.
    """
    middle = np.array(middle_of(state.size))

    def place(pixel: tuple[float, float], near: float) -> Vector:
        x, y = (np.array(pixel) - middle) / (right_eye.focal * near * 1000.0)
        return float(x), float(y), 1.0 / (near * 1000.0)

    found = {}
    for told in left.instruments:
        placement = state.placements[told.instance - 1]
        points = {}
        for each in told.keypoints:
            there = (each.x - right_eye.aside(each.nearness), each.y)
            seen = is_seen(there, placement, told.instance, right.instance_map, right.content)
            points[each.name] = TruePoint(place((each.x, each.y), each.nearness), each.visible, seen)
        back, front = (np.array(place(*point)) for point in told.shaft)
        axis = (front - back) / np.linalg.norm(front - back)
        found[told.instance] = TrueSpace(points, (float(axis[0]), float(axis[1]), float(axis[2])))
    return found
