"""Instruments in space while a stereo bag is replayed: both eyes' frames of a moment through the stereo room, judged.

The pair of frames is that of equal stamps, or of the nearest within `TOLERANCE_NS`, as the stereo node pairs them.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.space_evaluator import SpaceEvaluator
from clip_rl_perception.metrics.space_measures import ToldInstrument, ToldPoint, measure_space
from clip_rl_perception.metrics.tag_measures import TagMeasures, TrueInstrument, measure_tags
from clip_rl_perception.replay.stereo_rigs import StereoRig, camera_info_beside, rigs_among
from clip_rl_perception.replay.true_tags import true_instruments
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.scene_tags import frame_tags
from clip_rl_perception.scene.instance_masks import instrument_owners, track_numbers
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.streams import Inputs, Stream
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.space_types import Instrument3D, Source, SpaceScene
from clip_rl_perception.stereo.stereo_geometry import stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoConfig, StereoMatcher

TOLERANCE_NS = 5_000_000
"""How far apart the stamps of both eyes' frames of one moment may be."""
_WAITING = 8
"""Frames of an eye that wait for those of the other."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """A frame of one eye."""

    stamp_ns: int
    view: EyeView
    tags: TagMeasures | None
    truth: Mapping[int, TrueInstrument]


class SpaceReplay:
    """All stereo rigs of a replay; `take` every frame in order, then `report`."""

    def __init__(
        self,
        inputs: Inputs,
        space: LabelSpace,
        problems: ProblemLog,
        config: StereoConfig,
        *,
        true_tags: bool = False,
    ) -> None:
        """Find the rigs.

        Args:
            inputs: what is replayed.
            space: classes of the masks.
            problems: told what keeps a rig from being used.
            config: how frames become points.
            true_tags: tags are those of the truth, not of the network.

        Raises:
            ClipRlError: true tags of what is no stereo bag.
        """
        self._space, self._problems, self._true_tags = space, problems, true_tags
        self._rigs: dict[tuple[Path, str], _Rig] = {}
        for path in dict.fromkeys(stream.path for stream in inputs.streams):
            topics = [stream.topic for stream in inputs.streams if stream.path == path and stream.topic]
            for rig in rigs_among(topics):
                made = _Rig(path, rig, config)
                self._rigs |= {(path, rig.left): made, (path, rig.right): made}
        if true_tags and not self._rigs:
            raise ClipRlError("--true-tags needs a stereo bag: image topics that differ in left and right alone")

    def __bool__(self) -> bool:
        return bool(self._rigs)

    def take(self, stream: Stream, frame: Frame | None, seen: SeenFrame) -> None:
        """The next frame of a stream, as it was seen."""
        rig = self._rigs.get((stream.path, stream.topic))
        if rig is None or frame is None or (seen.scene is None and not self._true_tags):
            return
        try:
            eye = self._true(frame) if self._true_tags else self._own(frame, seen)
            rig.take(stream.topic == rig.topics.left, eye)
        except ClipRlError as error:
            rig.fail(f"{stream.path}: {rig.topics.name}: no instruments in space: {error}", self._problems)

    def report(self) -> dict[str, Any] | None:
        """Plain data for JSON; None where there is no stereo rig.

        Keys: moments (pairs of frames), pairs (of tags), points (told from both eyes), alone (frames without the other
        eye's), validity, reasons, point_reasons (how often each was told), tags ("network" or "truth"), truth
        (`SpaceEvaluator.report`, or None where nothing is known of the truth).
        """
        rigs = list(dict.fromkeys(self._rigs.values()))
        if not rigs:
            return None
        evaluator = SpaceEvaluator()
        told: dict[str, collections.Counter[str]] = {
            name: collections.Counter() for name in ("counts", "validity", "reasons", "point_reasons")
        }
        for rig in rigs:
            for name, counter in told.items():
                counter.update(rig.told[name])
            alone = [other.path for other in rigs].count(rig.path) == 1
            for measures in rig.measures:
                evaluator.add(measures, sequence=rig.path.name if alone else f"{rig.path.name}:{rig.topics.name}")
        counts = told["counts"]
        return {
            **{name: counts[name] for name in ("moments", "pairs", "points")},
            "alone": counts["frames"] - 2 * counts["moments"],
            **{name: dict(told[name].most_common()) for name in ("validity", "reasons", "point_reasons")},
            "tags": "truth" if self._true_tags else "network",
            "truth": evaluator.report() if len(evaluator) else None,
        }

    def _own(self, frame: Frame, seen: SeenFrame) -> _Seen:
        """What the network saw."""
        scene = seen.scene
        assert scene is not None
        tags = tuple(tag for tag in seen.instruments if tag.confirmed)
        numbers = track_numbers(instrument_owners(scene, self._space), scene.instruments)
        names = tuple(self._space.names[tag.class_id] for tag in tags)
        truth = frame.tags.instruments if frame.tags is not None else {}
        return _Seen(frame.stamp_ns, EyeView(frame.rgb, numbers, tags, names), seen.record.tags, truth)

    def _true(self, frame: Frame) -> _Seen:
        """What a network that is never wrong would see."""
        if frame.tags is None:
            raise ClipRlError("--true-tags needs a truth of tags for both eyes; see docs/replay.md")
        class_id = next(iter(entry.id for entry in self._space.classes if entry.instrument))
        tags = true_instruments(frame.tags, class_id)
        measured = measure_tags(frame_tags(tags, self._space, tentative=False), frame.tags)
        view = EyeView(
            frame.rgb, frame.tags.instances.astype(np.uint16), tags, (self._space.names[class_id],) * len(tags)
        )
        return _Seen(frame.stamp_ns, view, measured, frame.tags.instruments)


class _Rig:
    """One pair of eyes."""

    def __init__(self, path: Path, topics: StereoRig, config: StereoConfig) -> None:
        self.path, self.topics, self._config = path, topics, config
        self.told: dict[str, collections.Counter[str]] = {
            name: collections.Counter() for name in ("counts", "validity", "reasons", "point_reasons")
        }
        self.measures: list[Any] = []
        self._matcher: StereoMatcher | None = None
        self._sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._waiting: dict[bool, collections.deque[_Seen]] = {
            left: collections.deque(maxlen=_WAITING) for left in (True, False)
        }
        self._failed = False

    def take(self, left: bool, eye: _Seen) -> None:
        """A frame of an eye; a moment where the other one's is there. Raises `ClipRlError`."""
        self.told["counts"]["frames"] += 1
        if self._failed:
            return
        others = self._waiting[not left]
        near = min(others, key=lambda other: abs(other.stamp_ns - eye.stamp_ns), default=None)
        if near is None or abs(near.stamp_ns - eye.stamp_ns) > TOLERANCE_NS:
            self._waiting[left].append(eye)
            return
        while others.popleft() is not near:
            pass
        self._waiting[left].clear()
        self._moment(*((eye, near) if left else (near, eye)))

    def fail(self, line: str, problems: ProblemLog) -> None:
        """Nothing more comes of this rig; `line` says why, once."""
        if not self._failed:
            self._failed = True
            problems.add(line)

    def _moment(self, left: _Seen, right: _Seen) -> None:
        sizes = left.view.size, right.view.size
        if self._matcher is None or sizes != self._sizes:  # a calibration is of a picture's size
            one, other = (
                CameraInfo.of(camera_info_beside(self.path, topic)) for topic in (self.topics.left, self.topics.right)
            )
            geometry = stereo_geometry(one, other, *sizes, rectified=False)
            self._sizes = sizes
            self._matcher = StereoMatcher(geometry, self._config)
        scene = self._matcher.match(left.view, right.view, skew_s=(right.stamp_ns - left.stamp_ns) / 1e9)
        self._note(scene)
        known = any(each.space is not None for each in left.truth.values())
        if known and left.tags is not None and right.tags is not None:
            told = [told_instrument(each) for each in scene.instruments]
            self.measures.append(measure_space(told, left.truth, left.tags, right.tags))

    def _note(self, scene: SpaceScene) -> None:
        counts = self.told["counts"]
        counts["moments"] += 1
        self.told["validity"][scene.validity.name.lower()] += 1
        if scene.reason:
            self.told["reasons"][scene.reason] += 1
        for each in scene.instruments:
            counts["pairs"] += bool(each.left_track_id and each.right_track_id)
            for point in each.keypoints:
                counts["points"] += point.source is Source.STEREO
                if not point.valid:
                    self.told["point_reasons"][point.reason] += 1


def told_instrument(instrument: Instrument3D) -> ToldInstrument:
    """An instrument in space as the measures take it."""
    points = {
        point.name: ToldPoint(
            point.position, np.array(point.covariance, np.float64).reshape(3, 3), point.source is Source.STEREO
        )
        for point in instrument.keypoints
        if point.valid
    }
    axis = instrument.axis if np.isfinite(instrument.axis).all() else None
    return ToldInstrument(instrument.left_track_id, instrument.right_track_id, points, axis, instrument.axis_std)
