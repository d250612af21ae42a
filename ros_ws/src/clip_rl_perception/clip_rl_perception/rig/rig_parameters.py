"""Parameters of stereo_node. No ROS here; all are read at start."""

from __future__ import annotations

import dataclasses

from clip_rl_perception.pictures.stereo_frames import LAYOUTS
from clip_rl_perception.ros.parameter_fields import ParameterError, at_start
from clip_rl_perception.stereo.shaft_width import ShaftSizes
from clip_rl_perception.stereo.stamp_pairing import SKEW_MS, WAIT_MS
from clip_rl_perception.stereo.stereo_matcher import StereoConfig


@dataclasses.dataclass(frozen=True)
class RigParameters:
    """What the stereo node is started with."""

    image_transport: str = at_start(
        "raw",
        "Which images to take: raw (left/image), compressed (left/image/compressed) or ffmpeg (left/image/ffmpeg).",
        choices=("raw", "compressed", "ffmpeg"),
    )  # fmt: skip
    stereo_layout: str = at_start(
        "single",
        "What an image holds: single (one eye, on left/image and right/image), side_by_side (left eye left) or "
        "top_bottom (left eye above): both, on image.",
        choices=LAYOUTS,
    )  # fmt: skip
    eyes: str = at_start(
        "both", "both, or left: points by the width of shafts alone, for one camera.", choices=("both", "left")
    )
    rectified: str = at_start(
        "auto",
        "Whether images are rectified already: yes (P alone is used), no (K, D, R and P), auto (yes where the last "
        "part of the left image topic's name says so, as image_proc's image_rect and image_rect_color).",
        choices=("auto", "yes", "no"),
    )
    baseline_mm: float = at_start(
        0.0,
        "Distance between the eyes in place of that of camera_info; 0: camera_info's, mm.",
        between=(0.0, 200.0),
    )
    max_skew_ms: float = at_start(
        SKEW_MS, "How far apart the stamps of both eyes' frames of one moment may be, ms.", between=(0.0, 1000.0)
    )
    max_wait_ms: float = at_start(
        WAIT_MS, "How long a frame of the left eye waits for one of the right, ms.", between=(0.0, 10000.0)
    )
    calibration_px: float = at_start(
        0.3,
        "How far the calibration shifts places and disparities, standard deviation, px of the left image.",
        between=(0.0, 20.0),
    )
    keypoint_px: float = at_start(
        0.0,
        "How far off keypoints are until it is seen from how the eyes differ, standard deviation, px; 0: 0.3 % of the "
        "image's width.",
        between=(0.0, 200.0),
    )
    keypoint_confidence: float = at_start(
        StereoConfig.keypoint_confidence,
        "Least confidence of a keypoint in each eye; of one that is less sure nothing is told.",
        between=(0.0, 1.0),
    )
    near_mm: float = at_start(20.0, "Least distance of instruments, mm.", between=(1.0, 10000.0))
    far_mm: float = at_start(300.0, "Greatest distance of instruments, mm.", between=(1.0, 10000.0))
    shaft_mm: str = at_start(
        "",
        "Diameter of shafts, mm: one for all, or by type, as in '8.4, clip-applier: 10, suction-instrument: 5'. "
        "Distances by the width in the picture then check stereo and stand in where the right eye is missing; empty: "
        "not known.",
    )
    shaft_std_mm: float = at_start(0.1, "Standard deviation of these diameters, mm.", between=(0.0, 10.0))
    mask_std_px: float = at_start(
        1.0, "How far a mask's border lies from the shaft's, standard deviation, px.", between=(0.0, 50.0)
    )

    def config(self) -> StereoConfig:
        """What the matcher is made with.

        Raises:
            ParameterError: `shaft_mm` is no list of diameters, or `near_mm` lies beyond `far_mm`.
        """
        if not self.near_mm < self.far_mm:
            raise ParameterError(f"near_mm: {self.near_mm:g} lies beyond far_mm, {self.far_mm:g}; expected less")
        one, by_type = shaft_diameters(self.shaft_mm)
        return StereoConfig(
            near_m=self.near_mm * 1e-3,
            far_m=self.far_mm * 1e-3,
            calibration_px=self.calibration_px,
            keypoint_px=self.keypoint_px,
            keypoint_confidence=self.keypoint_confidence,
            shafts=ShaftSizes(one, by_type, self.shaft_std_mm, self.mask_std_px),
        )


def shaft_diameters(text: str) -> tuple[float, tuple[tuple[str, float], ...]]:
    """The diameter of all shafts, 0 where it is not given, and those of types, mm. Raises `ParameterError`."""
    one, by_type = 0.0, dict[str, float]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, number = part.rpartition(":")
        try:
            diameter = float(number)
        except ValueError:
            diameter = 0.0
        if not 0.1 <= diameter <= 100.0:
            raise ParameterError(f"shaft_mm: '{part}' is no diameter; expected 0.1 to 100 mm, or 'type: diameter'")
        if colon and name.strip() not in by_type:
            by_type[name.strip()] = diameter
        elif not colon and not one:
            one = diameter
        else:
            whom = f"of {name.strip()}" if colon else "of all"
            raise ParameterError(
                f"shaft_mm: '{text}' gives two diameters {whom}; expected one, decimals after a point: '8.4, type: 5'"
            )
    return one, tuple(by_type.items())
