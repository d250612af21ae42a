"""One moment of both eyes to a scene in space, with every fault as a reason. No ROS here but decoded messages."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

from clip_rl_perception.scene.types import Validity
from clip_rl_perception.stereo.camera_geometry import CameraInfo, GeometryError
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.searched_places import warm_up
from clip_rl_perception.stereo.space_types import SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry, lone_geometry, stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoConfig, StereoMatcher


def named_rectified(base: str) -> bool:
    """Whether images are rectified, by the last part of their topic's name: image_rect, image_rect_color and so on.

    Args:
        base: the topic without ``/compressed`` and the like.
    """
    return re.search("(^|_)rect", base.rpartition("/")[2]) is not None


Key = tuple[CameraInfo, CameraInfo | None, tuple[int, int], tuple[int, int] | None]


class MomentSolver:
    """Keeps the geometry while calibrations and sizes stay, and the matcher's memory with it.

    Args:
        config: of the matcher.
        rectified: images are rectified already.
        baseline_m: in place of the calibration's; 0: the calibration's.
        changed: told in words when another calibration comes into force, or why none does.
    """

    def __init__(
        self, config: StereoConfig, *, rectified: bool, baseline_m: float, changed: Callable[[str], None]
    ) -> None:
        warm_up()
        self._config, self._rectified, self._baseline_m, self._changed = config, rectified, baseline_m, changed
        self._key: Key | None = None
        self._matcher: StereoMatcher | None = None
        self._fault = ""

    def solve(
        self,
        left: EyeView,
        right: EyeView | None,
        infos: tuple[CameraInfo | None, CameraInfo | None],
        *,
        skew_ms: float,
        alone: str,
        doubts: str,
    ) -> SpaceScene:
        """The instruments of a moment.

        Args:
            left: frame of the left eye.
            right: of the right eye; None where there is none.
            infos: newest calibrations.
            skew_ms: right stamp minus left stamp.
            alone: why there is no right frame.
            doubts: what speaks against the frames themselves; empty when nothing does.
        """
        for side, info in zip(("left", "right"), infos, strict=True):
            if info is None and (side == "left" or right is not None):
                return SpaceScene(
                    SpaceValidity.UNCALIBRATED,
                    f"no camera_info of the {side} eye came; expected one beside its images: start the camera's driver "
                    "with a calibration",
                    skew_ms=skew_ms,
                )
        matcher = self._matcher_of(left, right, infos)
        if matcher is None:
            return SpaceScene(SpaceValidity.UNCALIBRATED, self._fault, skew_ms=skew_ms)
        if right is None:
            scene = dataclasses.replace(matcher.left_alone(left, alone), skew_ms=math.nan)
        else:
            scene = matcher.match(left, right, skew_s=skew_ms * 1e-3)
        if doubts:
            reason = "; ".join(filter(None, (doubts, scene.reason)))
            return dataclasses.replace(scene, validity=SpaceValidity.DOUBTFUL, reason=reason)
        return scene

    def forget(self) -> None:
        """A clock was set back: who was paired with whom is of another time. The geometry stays."""
        if self._matcher is not None:
            self._matcher.forget()

    def _matcher_of(
        self, left: EyeView, right: EyeView | None, infos: tuple[CameraInfo | None, CameraInfo | None]
    ) -> StereoMatcher | None:
        assert infos[0] is not None
        pair = right is not None and infos[1] is not None
        key: Key = (infos[0], infos[1] if pair else None, left.size, right.size if pair and right else None)
        if key == self._key:
            return self._matcher
        if not pair and self._key is not None and self._key[0] == key[0] and self._key[2] == key[2]:
            return self._matcher  # the right eye is away for a moment: its memory stays
        self._key, self._matcher, self._fault = key, None, ""
        try:
            geometry = self._geometry(key)
        except GeometryError as error:
            self._fault = str(error)
            self._changed(self._fault)
            return None
        self._matcher = StereoMatcher(geometry, self._config)
        self._changed(_spoken(geometry))
        return self._matcher

    def _geometry(self, key: Key) -> StereoGeometry:
        left, right, left_size, right_size = key
        if right is None or right_size is None:
            return lone_geometry(left, left_size, rectified=self._rectified)
        return stereo_geometry(
            left, right, left_size, right_size, rectified=self._rectified, baseline_m=self._baseline_m
        )


def _spoken(geometry: StereoGeometry) -> str:
    way = "rectified images" if geometry.left.lens is None else "raw images"
    eyes = f"baseline {geometry.baseline * 1e3:.2f} mm, " if math.isfinite(geometry.baseline) else "left eye alone, "
    return f"{eyes}focal length {geometry.focal:.0f} px, {way}"


def doubts_of(left: Validity, left_reason: str, right: Validity | None, right_reason: str) -> str:
    """What the statuses of both eyes speak against a moment, one line; empty when both are OK."""
    for side, validity, reason in (("left", left, left_reason), ("right", right, right_reason)):
        if validity is not None and validity is not Validity.OK:
            return f"{side} eye {validity.name}: {reason}"
    return ""
