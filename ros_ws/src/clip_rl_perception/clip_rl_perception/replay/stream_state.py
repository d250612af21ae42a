"""One stream of frames through the pipeline: its memory, its stamps, and what is told of each frame."""

from __future__ import annotations

import dataclasses

from clip_rl_perception.errors import named_line
from clip_rl_perception.pipeline import PerceptionPipeline, SceneMemory
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.stamps import StampMonitor
from clip_rl_perception.scene.types import Scene, Validity
from clip_rl_perception.sources.frames import Frame

CLOCK_JUMP_NS = 1_000_000_000
"""A step back of at least this begins a new timeline; the node's default (parameter clock_jump_ms)."""


@dataclasses.dataclass(frozen=True)
class Processed:
    """What became of a frame."""

    scene: Scene | None
    """None where the pipeline refused it."""
    validity: Validity
    reason: str
    forgot: bool = False
    """True where stamps jumped back: tracks and memory begin anew with this frame."""


class StreamState:
    """The memory of one stream; judges stamps as the node does, but for a clock: files are never late."""

    def __init__(self, pipeline: PerceptionPipeline) -> None:
        self._pipeline = pipeline
        self._memory: SceneMemory | None = None
        self._stamps = StampMonitor()

    def process(self, frame: Frame, *, want_confidence: bool) -> Processed:
        """Make a scene of the next frame of the stream."""
        stamp = frame.stamp_ns
        # The time of a video begins at 0, which as a header stamp would mean that there is none.
        given = stamp + 1 if frame.stamped else 0
        verdict = self._stamps.check(given, stamp + 1, future_tolerance_ns=0, jump_ns=CLOCK_JUMP_NS)
        if verdict.reset:
            self._memory = None
        if self._memory is not None:
            stamp = max(stamp, self._memory.stamp_ns)
        try:
            scene, self._memory = self._pipeline.process(
                frame.rgb, stamp, self._memory, want_confidence=want_confidence
            )
        except Exception as error:  # one frame must not end a run, whatever an engine raises; the node does the same
            return Processed(None, Validity.INVALID_INPUT, f"processing failed: {named_line(error)}", verdict.reset)
        validity, reason = conclude(scene.validity, scene.reason, verdict, age_ms=0.0, max_age_ms=0.0)
        return Processed(scene, validity, reason, verdict.reset)
