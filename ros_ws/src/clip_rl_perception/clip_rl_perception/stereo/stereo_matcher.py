"""Two eyes' frames to instruments in space: pairs, disparities, points with covariance, or reasons.

One object serves one rig: it remembers who was paired with whom, how much fitted, how rows ran, and how far off
keypoints are.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from clip_rl_perception.scene.types import KEYPOINTS
from clip_rl_perception.stereo.disparity import MatchConfig
from clip_rl_perception.stereo.eye_tags import SURE, TagsInView, tags_in_view
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.fit_record import MOMENTS, FitRecord
from clip_rl_perception.stereo.keypoint_noise import KeypointNoise
from clip_rl_perception.stereo.pair_points import PairFinder
from clip_rl_perception.stereo.pairing import PairingConfig, Pairs, pair_instruments
from clip_rl_perception.stereo.row_record import RowRecord, paired_rows
from clip_rl_perception.stereo.shaft_width import ShaftSizes, WidthResult, width_of
from clip_rl_perception.stereo.space_types import Instrument3D, Keypoint3D, SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

REMEMBERED = 30
"""Moments after which a pair that was not seen again is forgotten."""
KEYPOINTS_OFF = 0.003
"""How far off keypoints are at first, standard deviation as a part of the image's width."""
AGREEMENT = (0.6, 1.6)
"""Distance by stereo over that by the shaft's width: outside, one of the two is wrong."""


@dataclasses.dataclass(frozen=True)
class StereoConfig:
    """How frames become points."""

    near_m: float = 0.02
    """Least distance of an instrument."""
    far_m: float = 0.3
    """Greatest distance of an instrument."""
    calibration_px: float = 0.3
    """How far calibration shifts places and disparities, standard deviation, px of the left image."""
    keypoint_px: float = 0.0
    """How far off keypoints are until it is known better, standard deviation, px; 0: `KEYPOINTS_OFF` of the width."""
    keypoint_confidence: float = SURE
    """Least confidence of a keypoint in each eye; of one that is less sure nothing is told."""
    shafts: ShaftSizes = dataclasses.field(default_factory=ShaftSizes)
    """Diameters of shafts."""
    pairing: PairingConfig = dataclasses.field(default_factory=PairingConfig)
    matching: MatchConfig = dataclasses.field(default_factory=MatchConfig)


class StereoMatcher:
    """See the module. Not for several threads at once."""

    def __init__(self, geometry: StereoGeometry, config: StereoConfig = StereoConfig()) -> None:
        self._geometry, self._config = geometry, config
        self._past: dict[int, tuple[int, int]] = {}
        """(right track, moment) by left track."""
        self._moment = 0
        self._fit = FitRecord()
        self._rows = RowRecord(geometry.left.size[0], config.calibration_px)
        self._noise = KeypointNoise(config.keypoint_px or KEYPOINTS_OFF * geometry.left.size[0])

    def match(self, left: EyeView, right: EyeView, *, skew_s: float = 0.0) -> SpaceScene:
        """All instruments of a moment.

        Args:
            left: frame of the left eye.
            right: of the right eye, of the same moment.
            skew_s: right stamp minus left stamp.
        """
        begun = time.perf_counter()
        geometry, config = self._geometry, self._config
        width = geometry.focal / geometry.left.focal[0] * geometry.left.size[0]
        least = config.keypoint_confidence
        seen = (
            tags_in_view(geometry, geometry.left, left, least),
            tags_in_view(geometry, geometry.right, right, least),
        )
        limits = (geometry.disparity(config.far_m), geometry.disparity(config.near_m))
        past = {one: other for one, (other, _) in self._past.items()}
        pairs = pair_instruments(seen[0].tags, seen[1].tags, limits, width, past, config.pairing)
        self._remember(pairs, left, right)
        self._fit.add(len(left.instruments), len(right.instruments), len(pairs.by_points), pairs.mirrored)
        self._rows.add(paired_rows(seen[0].tags, seen[1].tags, pairs))
        paired = time.perf_counter()
        widths = [
            width_of(geometry, left, seen[0], place, config.shafts, self._noise)
            for place in range(len(left.instruments))
        ]
        finder = PairFinder(geometry, config.matching, self._noise, limits, config.calibration_px, skew_s)
        found = finder.find((left, right), seen, pairs, widths)
        doubts = _doubts(self._fit, self._rows, pairs, left, right, found)
        swapped = "left and right are swapped" if self._fit.swapped else ""
        unfit = swapped or ("it fits with left and right swapped" if pairs.mirrored else "")
        alone = self._alone(left, right, seen[0], pairs, widths, unfit)
        ended = time.perf_counter()
        return SpaceScene(
            SpaceValidity.DOUBTFUL if doubts else SpaceValidity.OK,
            doubts,
            (*found, *alone),
            baseline=geometry.baseline,
            skew_ms=skew_s * 1e3,
            pairing_ms=(paired - begun) * 1e3,
            matching_ms=(ended - paired) * 1e3,
        )

    def forget(self) -> None:
        """Tracks begin anew. How far off keypoints are stays, as the network's, and how much fitted, as the rig's."""
        self._past.clear()

    def left_alone(self, left: EyeView, reason: str) -> SpaceScene:
        """The instruments of the left eye where the right one is not there, by the width of their shafts.

        Args:
            left: frame of the left eye.
            reason: why it is alone, one line.
        """
        begun = time.perf_counter()
        seen = tags_in_view(self._geometry, self._geometry.left, left, self._config.keypoint_confidence)
        count = len(left.instruments)
        widths = [width_of(self._geometry, left, seen, n, self._config.shafts, self._noise) for n in range(count)]
        made = [by_width(left, seen, n, widths[n], "there is no frame of the right eye") for n in range(count)]
        spent = (time.perf_counter() - begun) * 1e3
        return SpaceScene(
            SpaceValidity.ONE_EYE, reason, tuple(made), baseline=self._geometry.baseline, matching_ms=spent
        )

    def _alone(
        self,
        left: EyeView,
        right: EyeView,
        seen: TagsInView,
        pairs: Pairs,
        widths: list[WidthResult],
        unfit: str,
    ) -> list[Instrument3D]:
        """Those that one eye alone sees; `unfit`: why their widths tell nothing either, or empty."""
        ours, theirs = {one for one, _ in pairs.pairs}, {other for _, other in pairs.pairs}
        made = []
        for place in range(len(left.instruments)):
            if place not in ours:
                width = WidthResult(unfit) if unfit else widths[place]
                made.append(by_width(left, seen, place, width, "no instrument of the right eye fits it"))
        for place, tag in enumerate(right.instruments):
            if place not in theirs:
                reason = "no instrument of the left eye fits it"
                name = right.class_names[place] if right.class_names else ""
                made.append(Instrument3D(0, tag.track_id, name, tag.type_name, reason))
        return made

    def _remember(self, pairs: Pairs, left: EyeView, right: EyeView) -> None:
        self._moment += 1
        for one, other in pairs.pairs:
            tracks = left.instruments[one].track_id, right.instruments[other].track_id
            if all(tracks):
                self._past[tracks[0]] = (tracks[1], self._moment)
        self._past = {one: entry for one, entry in self._past.items() if self._moment - entry[1] < REMEMBERED}


def by_width(left: EyeView, seen: TagsInView, place: int, width: WidthResult, reason: str) -> Instrument3D:
    """An instrument of the left eye alone; `reason`: why the right eye does not help."""
    tag = left.instruments[place]
    why = f"{reason}; by its width: {width.reason}" if width.reason else reason
    points = []
    for name in KEYPOINTS:
        if name in width.points:
            points.append(width.points[name])
        elif name in seen.keypoints[place]:
            points.append(Keypoint3D(name, seen.hidden(place, name) or why))
    made = Instrument3D(
        tag.track_id,
        0,
        left.class_names[place] if left.class_names else "",
        tag.type_name,
        "" if any(point.valid for point in points) else why,
        tuple(points),
        width_distance=width.distance,
        width_distance_std=width.distance_std,
    )
    if width.axis is not None:
        made = dataclasses.replace(
            made, axis=width.axis, axis_covariance=width.axis_covariance, axis_std=width.axis_std
        )
    return made


def _doubts(
    fit: FitRecord, rows: RowRecord, pairs: Pairs, left: EyeView, right: EyeView, found: list[Instrument3D]
) -> str:
    """What speaks against the points of a moment, one line; empty when nothing does."""
    if left.instruments and right.instruments:
        if fit.swapped:
            return (
                "instruments lie further right in the right eye's image; expected further left: left and right images "
                "are swapped, or a camera is turned; swap the topics first"
            )
        if fit.unfitting:
            return (
                f"in {MOMENTS} moments with several instruments hardly one of the left eye lies on the rows of one of "
                "the right eye: is a camera turned, or the calibration another rig's?"
            )
        if rows.running is not None:
            return rows.running.words
        if not pairs.by_points:
            return (
                f"none of {len(left.instruments)} instruments of the left eye fits one of {len(right.instruments)} of "
                "the right eye"
            )
    for tool in found:
        if off := _disagreement(tool):
            return (
                f"track {tool.left_track_id} is {off[0] * 1e3:.0f} mm away by both eyes, {off[1] * 1e3:.0f} mm by the "
                "width of its shaft: camera_info of another size, another shaft diameter, or a wrong pair"
            )
    return ""


def _disagreement(tool: Instrument3D) -> tuple[float, float] | None:
    """Z of the shaft's end by both eyes and by its width, where these contradict each other."""
    wrist = next((point for point in tool.keypoints if point.name == "wrist" and point.valid), None)
    if wrist is None or not tool.width_distance > 0:
        return None
    ratio = wrist.position[2] / tool.width_distance
    spread = 3 * float(np.hypot(wrist.covariance[8] ** 0.5, tool.width_distance_std)) / tool.width_distance
    low, high = AGREEMENT
    return None if low - spread < ratio < high + spread else (wrist.position[2], tool.width_distance)
