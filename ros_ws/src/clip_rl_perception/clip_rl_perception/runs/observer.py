"""Who watches a replay frame by frame: viewers, the chooser of pictures for the report."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.runs.run_record import FrameRecord
from clip_rl_perception.scene.types import Instrument, Scene


@dataclasses.dataclass(frozen=True, eq=False)
class SeenFrame:
    """One frame with its pixels; arrays are shared with the rest of the replay, so nobody may write to them."""

    record: FrameRecord
    """Measured and complete. Frames of kind ``invalid`` are shown too, without pixels of a mask."""
    rgb: ByteArray | None
    """uint8 (H, W, 3); None where the frame could not be decoded."""
    mask: ByteArray | None
    """Class ids of `space` at the frame's size, uint8 (H, W); None without a mask."""
    instruments: tuple[Instrument, ...]
    """As tagged."""
    space: LabelSpace
    """Classes of the mask."""
    confidence: ByteArray | None = None
    """Calibrated probability x 255, uint8 (H, W), where it was computed."""
    truth: ByteArray | None = None
    """Ground truth in the evaluated classes (`RunRecord.evaluated`), uint8 (H, W); 255 is not counted."""
    prediction: ByteArray | None = None
    """`mask` in the evaluated classes, uint8 (H, W); 255 is background. None without truth."""
    palette: ByteArray | None = None
    """Colours of the evaluated classes, RGB uint8 (256, 3); None without truth."""
    scene: Scene | None = None
    """All of the scene, offline; None where only messages are known."""


class FrameObserver(Protocol):
    """Told of every frame, in order, on the writing thread: what it takes is not in the pipeline's time.

    An observer that raises is told of no further frame; the run goes on and the report names it.
    """

    def on_frame(self, frame: SeenFrame) -> None:
        """Take a frame; called once per frame with a mask or refused."""
        ...

    def close(self) -> None:
        """The run is over, complete or not."""
        ...
