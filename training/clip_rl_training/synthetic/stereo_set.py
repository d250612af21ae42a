"""Sets of stereo videos: a rig for each, its calibration as somebody measured it, and truth in space as files have it.

Beside what `write_video` tells of the left eye:

    ROOT/seq_101/right_frames/frameNNN.png     as left_frames; right_labels, right_types, ... as labels, types, ...
    ROOT/seq_101/left.yaml, right.yaml         of a rectified pair, as ROS's camera_calibration writes them
    ROOT/seq_101/keypoints3d/frameNNN.json     see `clip_rl_perception.sources.space_truth`
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from clip_rl_perception.metrics.tag_measures import TrueSpace
from clip_rl_perception.sources.camera_model import CameraModel
from clip_rl_perception.sources.space_truth import plain_space

from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.frame_tags import tag_truth_of
from clip_rl_training.synthetic.stereo import Rig, camera_of, drawn_rig

LEFT_OPTICAL = "left_optical"
"""Frame that truth in space is told in."""
_CALIBRATION = 3
"""Tells the random numbers of a video's calibration from those of its scene."""


@dataclasses.dataclass(frozen=True)
class StereoSet:
    """What the videos of a set are seen with."""

    baseline_mm: tuple[float, float] = (4.0, 6.0)
    """Range that each video's is drawn from."""
    distance_mm: tuple[float, float] = (40.0, 160.0)
    """Range of the depth of shafts' ends, at rest."""
    calibration_error: float = 0.0
    """Standard deviation of principal points as written, px, and of what focal lengths are wrong by at the border of
    the picture; pictures and truth do not have it."""

    def __post_init__(self) -> None:
        if not 0.0 < self.baseline_mm[0] <= self.baseline_mm[1] < 100.0:
            raise SynthError(f"baseline {_shown(self.baseline_mm)}: expected a range of mm above 0 and below 100")
        if not 20.0 <= self.distance_mm[0] <= self.distance_mm[1] <= 1000.0:
            raise SynthError(f"distance {_shown(self.distance_mm)}: expected a range of mm from 20 to 1000")
        if not 0.0 <= self.calibration_error <= 20.0:
            raise SynthError(f"calibration error {self.calibration_error:g}: expected 0 to 20 px")

    def rig(self, seed: int) -> Rig:
        """That of the video of a seed."""
        return drawn_rig(seed, self.baseline_mm)

    def cameras(self, seed: int, width: int, height: int) -> tuple[CameraModel, CameraModel]:
        """Left and right camera of that video as its files tell them."""
        rng = np.random.default_rng([seed, _CALIBRATION])
        left, right = (camera_of(width, height, baseline) for baseline in (0.0, self.rig(seed).baseline_mm))
        return _mismeasured(left, self.calibration_error, rng), _mismeasured(right, self.calibration_error, rng)


def space_json(left: SyntheticFrame, space: dict[int, TrueSpace]) -> bytes:
    """A frame's file of `keypoints3d`."""
    told = plain_space(tag_truth_of(left, space).instruments)
    return (json.dumps({"frame": LEFT_OPTICAL, "instruments": told}) + "\n").encode()


def _mismeasured(camera: CameraModel, error: float, rng: np.random.Generator) -> CameraModel:
    """The camera with a principal point and a focal length that are off; the baseline in metres stays."""
    x, y, border = (float(value) for value in rng.normal(0.0, 1.0, 3) * error)
    larger = 1.0 + border / (camera.width / 2.0)

    def moved(matrix: tuple[float, ...], columns: int) -> tuple[float, ...]:
        rows = np.array(matrix).reshape(3, columns)
        rows[:2] *= [[larger], [larger]]
        rows[:2, 2] = np.array(matrix).reshape(3, columns)[:2, 2] + (x, y)
        return tuple(float(value) for value in rows.ravel())

    return dataclasses.replace(camera, k=moved(camera.k, 3), p=moved(camera.projection, 4))


def _shown(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g} to {pair[1]:g} mm"
