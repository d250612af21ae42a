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
"""Calibrations and sizes of the left and the right eye."""


@dataclasses.dataclass(frozen=True, eq=False)
class _InForce:
    """What calibrations came to."""

    key: Key
    matcher: StereoMatcher | None
    fault: str
    """Why there is no matcher."""


class MomentSolver:
    """Keeps the geometry while calibrations and sizes stay, and the matcher's memory with it.

    A moment without its right frame is solved with the pair's geometry where there is one, else with the left eye's
    own: a pair that cannot be used costs the left eye nothing.

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
        self._pair: _InForce | None = None
        self._lone: _InForce | None = None

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
        in_force = self._in_force(left, right, infos)
        matcher = in_force.matcher
        if matcher is None:
            return SpaceScene(SpaceValidity.UNCALIBRATED, in_force.fault, skew_ms=skew_ms)
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
        for in_force in (self._pair, self._lone):
            if in_force is not None and in_force.matcher is not None:
                in_force.matcher.forget()

    def _in_force(
        self, left: EyeView, right: EyeView | None, infos: tuple[CameraInfo | None, CameraInfo | None]
    ) -> _InForce:
        assert infos[0] is not None
        if right is not None:
            key: Key = (infos[0], infos[1], left.size, right.size)
            if self._pair is None or self._pair.key != key:
                self._pair = self._made(key, told=True)
            return self._pair
        key = (infos[0], None, left.size, None)
        if self._pair is not None and (self._pair.key[0], self._pair.key[2]) != (key[0], key[2]):
            self._pair = self._lone = None  # the left eye's calibration is another now
        if self._pair is not None and self._pair.matcher is not None:
            return self._pair  # the right eye is away for a moment: its memory stays
        if self._lone is None or self._lone.key != key:
            # Beside a pair at fault it is not told: the fault is what there is to mend, however often an eye is away.
            self._lone = self._made(key, told=self._pair is None)
        return self._lone

    def _made(self, key: Key, *, told: bool) -> _InForce:
        matcher, fault = None, ""
        try:
            geometry = self._geometry(key)
            matcher, words = StereoMatcher(geometry, self._config), _spoken(geometry)
        except GeometryError as error:
            words = fault = str(error)
        if told:
            self._changed(words)
        return _InForce(key, matcher, fault)

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
