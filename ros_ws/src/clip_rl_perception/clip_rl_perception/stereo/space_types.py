"""Instruments in space. Left camera's optical frame: x to the right, y down, z forward, metres."""

from __future__ import annotations

import dataclasses
import enum
import math

from clip_rl_perception.arrays import Vector

Covariance = tuple[float, float, float, float, float, float, float, float, float]
"""3 x 3, row by row."""

NO_VECTOR: Vector = (math.nan,) * 3
NO_COVARIANCE: Covariance = (math.nan,) * 9


class Source(enum.IntEnum):
    """What a point is known from; values equal those of clip_rl_interfaces/Keypoint3D."""

    NONE = 0
    STEREO = 1
    SHAFT_WIDTH = 2


class SpaceValidity(enum.IntEnum):
    """How far the points of a moment can be used; values equal those of clip_rl_interfaces/Instrument3DArray."""

    OK = 0
    DOUBTFUL = 1
    ONE_EYE = 2
    UNCALIBRATED = 3
    INVALID_INPUT = 4


@dataclasses.dataclass(frozen=True)
class Keypoint3D:
    """A named point of an instrument; fields as in clip_rl_interfaces/Keypoint3D."""

    name: str
    """One of `scene.types.KEYPOINTS`."""
    reason: str = ""
    """Why it is not known; empty when it is."""
    source: Source = Source.NONE
    position: Vector = NO_VECTOR
    """m; NaN where it is not known."""
    covariance: Covariance = NO_COVARIANCE
    """m^2."""
    disparity: float = math.nan
    """px of the left image, rectified; NaN unless from both eyes."""
    disparity_std: float = math.nan
    score: float = math.nan
    """Likeness of both eyes' pixels around it (ZNCC)."""

    @property
    def valid(self) -> bool:
        """Whether the point is known."""
        return self.source is not Source.NONE


@dataclasses.dataclass(frozen=True)
class Instrument3D:
    """One instrument; fields as in clip_rl_interfaces/Instrument3D."""

    left_track_id: int = 0
    right_track_id: int = 0
    class_name: str = ""
    type_name: str = ""
    reason: str = ""
    """Why none of its points is known; empty when one is."""
    keypoints: tuple[Keypoint3D, ...] = ()
    axis: Vector = NO_VECTOR
    """Unit vector along the shaft towards its end."""
    axis_covariance: Covariance = NO_COVARIANCE
    """Of that vector, rad^2."""
    axis_std: float = math.nan
    """Standard deviation of its direction where that is least known, rad."""
    width_distance: float = math.nan
    """z of the shaft's end by the width of the shaft alone, m."""
    width_distance_std: float = math.nan
    """Its standard deviation, m."""

    @property
    def valid(self) -> bool:
        """Whether at least one point is known."""
        return any(point.valid for point in self.keypoints)


@dataclasses.dataclass(frozen=True)
class SpaceScene:
    """All instruments of one moment; fields as in clip_rl_interfaces/Instrument3DArray."""

    validity: SpaceValidity
    reason: str = ""
    """Empty when OK."""
    instruments: tuple[Instrument3D, ...] = ()
    """Pairs first, by left track, then those that one eye alone sees."""
    baseline: float = math.nan
    """Distance between the eyes, m; NaN without a calibration."""
    skew_ms: float = math.nan
    """Right stamp minus left stamp; NaN where there is no right image."""
    pairing_ms: float = 0.0
    matching_ms: float = 0.0
