"""The right eye of a stereo endoscope: the same scene from a few millimetres beside.

Shafts are 8 mm thick, so an instrument's thickness in pixels tells its depth, and disparity follows: of two pinhole
cameras with focal length f (px) and baseline B (mm), something at depth z (mm) is seen f B / z px further left by the
right one, and a shaft of radius 4 mm has a radius of f 4 / z px. The tissue is a plane behind the instruments, and the
right picture is shifted so that it lies still, as converging endoscopes do.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from clip_rl_training.synthetic.instruments.kinematics import Placement
from clip_rl_training.synthetic.scene import SceneState

BASELINE_MM = 5.0
SHAFT_RADIUS_MM = 4.0
FIELD_OF_VIEW = 70.0
"""Horizontal, degrees."""
TISSUE_MM = 100.0
"""Depth of the tissue, mm; farther where an instrument would lie behind it."""
BEHIND = 1.15
"""Least depth of the tissue over that of the farthest instrument."""
CUTOUT_DEPTH = 0.75
"""Depth of cut-outs of real instruments, whose size in millimetres is not known, over that of the tissue."""


@dataclasses.dataclass(frozen=True)
class StereoGeometry:
    """What both eyes share."""

    focal: float
    """px."""
    tissue_mm: float
    """Depth of the tissue, mm."""

    @property
    def tissue_disparity(self) -> float:
        """Of the tissue before the right picture is shifted, px; the right principal point is so much further right."""
        return self.focal * BASELINE_MM / self.tissue_mm

    def shift(self, placement: Placement) -> float:
        """How much further left than the tissue the right eye sees an instrument, px, not negative."""
        return max(0.0, placement.radius * BASELINE_MM / SHAFT_RADIUS_MM - self.tissue_disparity)


def geometry_of(state: SceneState) -> StereoGeometry:
    """Cameras and depths that fit a scene."""
    focal = state.size[1] / 2.0 / math.tan(math.radians(FIELD_OF_VIEW) / 2.0)
    farthest = max((focal * SHAFT_RADIUS_MM / placement.radius for placement in state.placements), default=0.0)
    return StereoGeometry(focal, max(TISSUE_MM, BEHIND * farthest))


def right_eye(state: SceneState) -> SceneState:
    """The scene as the right eye sees it; render it with a seed of its own, as sensors have noise of their own."""
    geometry = geometry_of(state)
    shifts = [geometry.shift(placement) for placement in state.placements]
    placements = tuple(
        dataclasses.replace(
            placement,
            pivot=(placement.pivot[0] - shift, placement.pivot[1]),
            joint=(placement.joint[0] - shift, placement.joint[1]),
        )
        for placement, shift in zip(state.placements, shifts, strict=True)
    )
    aside = geometry.tissue_disparity * (1.0 / CUTOUT_DEPTH - 1.0)
    cutouts = tuple(
        dataclasses.replace(
            placed,
            pivot=(placed.pivot[0] - aside, placed.pivot[1]),
            matrix=placed.matrix - np.array([[0.0, 0.0, aside], [0.0, 0.0, 0.0]]),
        )
        for placed in state.cutouts
    )
    # Shadows lie on the tissue, which does not shift.
    back = sum(shifts) / len(shifts) if shifts else 0.0
    shadow = (state.shadow[0] + back, *state.shadow[1:])
    return dataclasses.replace(state, placements=placements, cutouts=cutouts, shadow=shadow)
