"""What a network says of the frames of a video that is over: four mirror images of each, and memory both ways in time.

A stream knows the frames before; here those after are known too, so evidence is carried forwards and backwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.looks.evidence import Carried, Evidence, EvidenceConfig, carry, gather
from clip_rl_perception.looks.look import MIRRORS, take_looks
from clip_rl_perception.looks.motion import picture_of
from clip_rl_perception.model.calibration import mean_direction
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.scene.content_area import ContentAreaTracker
from clip_rl_perception.scene.types import Letterbox, Validity
from clip_rl_perception.scene.validity import judge


@dataclasses.dataclass(frozen=True)
class SeenFrame:
    """A frame and what the network says of it at every mirror image."""

    view: Letterbox
    """How the network saw it."""
    picture: ByteArray
    """Of it, as of `motion.picture_of`."""
    looked: npt.NDArray[np.float16]
    """Log-probabilities of the looks of `MIRRORS`, on the plain look's grid, (4, K, h, w)."""
    stamp_ns: int
    """When it was taken, ns; of one video rising."""
    validity: Validity
    """Whether it can be used."""
    reason: str
    """Why not, one line."""

    @property
    def usable(self) -> bool:
        """Whether it shows the inside of a body; that it is dark or blurred is no reason not to know it."""
        return self.validity not in (Validity.OUT_OF_BODY, Validity.OUT_OF_DISTRIBUTION)


def look_at_frames(pipeline: PerceptionPipeline, frames: Iterable[tuple[ByteArray, int]]) -> Iterator[SeenFrame]:
    """Take all mirror images of each frame of one video.

    Args:
        pipeline: engine, classes, calibration; its limits of validity hold.
        frames: uint8 RGB (height, width, 3), and their stamps, ns.
    """
    tracker: ContentAreaTracker | None = None
    for rgb, stamp_ns in frames:
        prepared = pipeline.prepare(rgb, tracker)
        tracker = prepared.content
        outputs = take_looks(pipeline.engine, prepared.network_rgb, pipeline.text, MIRRORS).outputs
        embedding = mean_direction([output.embedding for output in outputs])
        validity, reason = judge(
            prepared.network_rgb,
            prepared.view,
            pipeline.calibration.novelty(embedding),
            False,
            pipeline.config.validity,
            tell=pipeline.calibration.teller(embedding),
        )
        yield SeenFrame(
            view=prepared.view,
            picture=picture_of(prepared.network_rgb),
            looked=np.stack([output.log_probs for output in outputs]).astype(np.float16),
            stamp_ns=stamp_ns,
            validity=validity,
            reason=reason,
        )


def evidence_of(frames: Sequence[SeenFrame], config: EvidenceConfig) -> list[Evidence]:
    """What all looks say of each frame: its own four, and those of the frames before and after where they still fit."""
    before = _carried_along(frames, config)
    after = _carried_along(frames[::-1], config)[::-1]
    return [
        gather(_looks(frame), frame.picture, _joined(one, other))
        for frame, one, other in zip(frames, before, after, strict=True)
    ]


def _carried_along(frames: Sequence[SeenFrame], config: EvidenceConfig) -> list[Carried | None]:
    """What the frames before each frame say of it, in the order given."""
    found: list[Carried | None] = []
    evidence: Evidence | None = None
    last: SeenFrame | None = None
    for frame in frames:
        carried = None
        if last is not None and last.view == frame.view:
            carried = carry(evidence, abs(frame.stamp_ns - last.stamp_ns) / 1e9, frame.picture, config)
        found.append(carried)
        evidence, last = gather(_looks(frame), frame.picture, carried), frame
    return found


def _looks(frame: SeenFrame) -> list[FloatArray]:
    return [np.ascontiguousarray(one, np.float32) for one in frame.looked]


def _joined(one: Carried | None, other: Carried | None) -> Carried | None:
    """Both together, each for as much as it counts."""
    if one is None or other is None:
        return other if one is None else one
    weight = one.weight + other.weight
    share = one.weight / np.maximum(weight, np.float32(1e-6))
    return Carried(
        belief=share * one.belief + (1 - share) * other.belief,
        weight=weight,
        age=share * one.age + (1 - share) * other.age,
        disagreement=share * one.disagreement + (1 - share) * other.disagreement,
        looks=one.looks + other.looks,
    )
