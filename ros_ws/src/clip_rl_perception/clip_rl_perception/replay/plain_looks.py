"""Masks of one plain look at each frame alone: what a run's looks and memory gain is told against them."""

from __future__ import annotations

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.replay.run_builder import StreamKey
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.stream import LoadedModel, StreamRunner


class PlainLooks:
    """One model that looks once at each frame, plainly, and remembers the content area alone.

    Args:
        model: as the run has it; its engine is shared, so both infer in one thread.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model.looking_plainly()
        self._streams: dict[StreamKey, StreamRunner] = {}

    def mask_of(self, stream: StreamKey, frame: Frame) -> ByteArray | None:
        """Class ids at the frame's size, uint8 (H, W); None where the look fails, which the run itself tells of."""
        runner = self._streams.setdefault(stream, StreamRunner(self._model))
        scene = runner.process_file_frame(frame, want_confidence=False).scene
        return scene.label_map if scene is not None else None
