"""What one eye brings to a moment: its image, whose pixels are whose, and its tags."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.scene.types import Instrument, Keypoint

Words = npt.NDArray[np.uint16]


@dataclasses.dataclass(frozen=True)
class EyeView:
    """One eye's frame. Arrays are looked at in small parts only and never copied as a whole."""

    image: ByteArray
    """uint8 (height, width) or (height, width, 3)."""
    instances: Words | None
    """uint16 (h, w): the number of each pixel's track, 0 for none; of the whole frame, at any size. None: not there."""
    instruments: tuple[Instrument, ...]
    class_names: tuple[str, ...] = ()
    """Of each instrument."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image, px."""
        return self.image.shape[1], self.image.shape[0]


def track_number(track_id: int) -> int:
    """The number of a track in `instances`; 0 for none."""
    return (track_id - 1) % 0xFFFF + 1 if track_id else 0


def keypoints_of(tag: Instrument) -> dict[str, Keypoint]:
    """Keypoints by name; of a model that tells none, the tip."""
    if tag.keypoints:
        return {point.name: point for point in tag.keypoints}
    return {"tip_1": Keypoint("tip_1", *tag.tip, tag.confidence, True)}
