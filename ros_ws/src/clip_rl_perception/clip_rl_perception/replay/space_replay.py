"""Instruments in space while a stereo bag is replayed: both eyes' frames of a moment through the stereo room, judged.

Frames are paired and moments solved by what the stereo node uses (`StampPairer`, `MomentSolver`), with its defaults.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.metrics.space_evaluator import SpaceEvaluator
from clip_rl_perception.metrics.space_measures import SpaceMeasures, ToldInstrument, ToldPoint, measure_space
from clip_rl_perception.metrics.tag_measures import TagMeasures, TrueInstrument, measure_tags
from clip_rl_perception.replay.stereo_rigs import StereoRig, camera_info_beside, rigs_among
from clip_rl_perception.replay.true_tags import true_instruments
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.scene_tags import frame_tags
from clip_rl_perception.scene.instance_masks import track_numbers
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.streams import Inputs, Stream
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView
from clip_rl_perception.stereo.moments import MomentSolver, doubts_of, named_rectified
from clip_rl_perception.stereo.space_types import Instrument3D, Source, SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stamp_pairing import SKEW_MS, WAIT_MS, Moment, StampPairer
from clip_rl_perception.stereo.stereo_matcher import StereoConfig


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """A frame of one eye."""

    view: EyeView
    tags: TagMeasures | None
    truth: Mapping[int, TrueInstrument]
    validity: Validity = Validity.OK
    reason: str = ""


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
        self._class_id = next((entry.id for entry in space.classes if entry.instrument), None)
        if true_tags and not self._rigs:
            raise ClipRlError("--true-tags needs a stereo bag: image topics that differ in left and right alone")
        if true_tags and self._class_id is None:
            raise ClipRlError("--true-tags needs a model with a class of instruments")

    def take(self, stream: Stream, frame: Frame | None, seen: SeenFrame) -> None:
        """The next frame of a stream, as it was seen."""
        rig = self._rigs.get((stream.path, stream.topic))
        if rig is None or rig.failed or frame is None:
            return
        eye = self._true(frame) if self._true_tags else self._own(frame, seen)
        if eye is not None:
            side = "left" if stream.topic == rig.topics.left else "right"
            self._attempt(rig, lambda: rig.take(side, frame.stamp_ns, eye))

    def _attempt(self, rig: _Rig, work: Callable[[], None]) -> None:
        """Do it; what is wrong with a rig is said once, and nothing more comes of it."""
        try:
            work()
        except ClipRlError as error:
            rig.failed = True
            self._problems.add(f"{rig.path}: {rig.topics.name}: no instruments in space: {error}")

    def report(self) -> dict[str, Any] | None:
        """Plain data for JSON; None where there is no stereo rig.

        Keys: moments (pairs of frames), pairs (of tags), points (told from both eyes), alone (frames without the other
        eye's), validity, reasons, point_reasons (how often each was told), tags ("network" or "truth"), truth
        (`SpaceEvaluator.report`, or None where nothing is known of the truth).
        """
        rigs = list(dict.fromkeys(self._rigs.values()))
        if not rigs:
            return None
        evaluator, told = SpaceEvaluator(), _counters()
        for rig in rigs:
            if not rig.failed:
                self._attempt(rig, lambda rig=rig: rig.finish(self._true_tags))  # type: ignore[misc]
            for name, counter in told.items():
                counter.update(rig.told[name])
            alone = [other.path for other in rigs].count(rig.path) == 1
            for measures in rig.measures:
                evaluator.add(measures, sequence=rig.path.name if alone else f"{rig.path.name}:{rig.topics.name}")
        counts = told["counts"]
        return {
            **{name: counts[name] for name in ("moments", "pairs", "points")},
            "alone": counts["frames"] - counts["paired"],
            **{name: dict(told[name].most_common()) for name in ("validity", "reasons", "point_reasons")},
            "tags": "truth" if self._true_tags else "network",
            "truth": evaluator.report() if len(evaluator) else None,
        }

    def _own(self, frame: Frame, seen: SeenFrame) -> _Seen | None:
        """What the network saw; None where it saw nothing."""
        scene = seen.scene
        if scene is None:
            return None
        tags = seen.instruments
        numbers = track_numbers(scene, self._space)
        names = tuple(self._space.names[tag.class_id] for tag in tags)
        truth = frame.tags.instruments if frame.tags is not None else {}
        view = EyeView(frame.rgb, numbers, tags, names)
        return _Seen(view, seen.record.tags, truth, scene.validity, scene.reason)

    def _true(self, frame: Frame) -> _Seen | None:
        """What a network that is never wrong would see; None where nothing is known of the frame."""
        if frame.tags is None:
            return None
        assert self._class_id is not None
        tags = true_instruments(frame.tags, self._class_id)
        measured = measure_tags(frame_tags(tags, self._space, tentative=False), frame.tags)
        names = (self._space.names[self._class_id],) * len(tags)
        view = EyeView(frame.rgb, frame.tags.instances.astype(np.uint16), tags, names)
        return _Seen(view, measured, frame.tags.instruments)


def _counters() -> dict[str, collections.Counter[str]]:
    """What is counted of a rig: counts of frames, moments and so on, and how often each reason was told."""
    return {name: collections.Counter() for name in ("counts", "validity", "reasons", "point_reasons")}


class _Rig:
    """One pair of eyes."""

    def __init__(self, path: Path, topics: StereoRig, config: StereoConfig) -> None:
        self.path, self.topics = path, topics
        self.told = _counters()
        self.measures: list[SpaceMeasures] = []
        self.failed = False
        """Nothing more comes of it."""
        self._pairer: StampPairer[_Seen] = StampPairer(round(SKEW_MS * 1e6), round(WAIT_MS * 1e6))
        self._solver = MomentSolver(
            config, rectified=named_rectified(base_topic(topics.left)), baseline_m=0.0, changed=lambda line: None
        )
        self._infos: tuple[CameraInfo, CameraInfo] | None = None
        self._newest_ns = 0

    def take(self, side: str, stamp_ns: int, eye: _Seen) -> None:
        """A frame of an eye; moments where the other one's is there. Raises `ClipRlError`."""
        self.told["counts"]["frames"] += 1
        self._newest_ns = max(self._newest_ns, stamp_ns)
        self._solve(self._pairer.put(side, stamp_ns, eye, stamp_ns))

    def finish(self, true_tags: bool) -> None:
        """Nothing comes any more. Raises `ClipRlError`, also where there was no truth to take tags from."""
        self._solve(self._pairer.waited(self._newest_ns + round(WAIT_MS * 1e6)))
        if true_tags and not self.told["counts"]["frames"]:
            raise ClipRlError("--true-tags needs a truth of tags for both eyes; see docs/replay.md")

    def _solve(self, moments: Sequence[Moment[_Seen]]) -> None:
        for moment in moments:
            left, right = moment.left, moment.right
            if moment.anew:
                self._solver.forget()
            if right is None:
                continue
            self.told["counts"]["paired"] += 2
            if self._infos is None:
                one, other = (camera_info_beside(self.path, it) for it in (self.topics.left, self.topics.right))
                self._infos = CameraInfo.of(one), CameraInfo.of(other)
            doubts = doubts_of(left.validity, left.reason, right.validity, right.reason)
            scene = self._solver.solve(
                left.view, right.view, self._infos, skew_ms=moment.skew_ms, alone="", doubts=doubts
            )
            if scene.validity is SpaceValidity.UNCALIBRATED:
                raise ClipRlError(scene.reason)
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
