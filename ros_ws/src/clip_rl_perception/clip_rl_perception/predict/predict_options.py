"""Which frames are predicted, and what is written of them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from clip_rl_perception.cli_types import Count
from clip_rl_perception.options import Option


@dataclasses.dataclass(frozen=True)
class FrameOptions:
    """Which frames, and what they are to each other."""

    video: bool = False
    """Images follow each other, as the frames of videos and bags do: tracks and memory."""
    max_frames: Annotated[Count | None, Option("--frames", metavar="N")] = None
    """End after N frames."""


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """What is written of each frame."""

    masks: Literal["ids", "palette", "binary"] = "ids"
    """PNG of class ids, which look black; palette: the same ids, which viewers show in the classes' colours; binary:
    255 where the model of two classes sees the second one, else 0."""
    coco: Literal["rle", "polygons", "none"] = "rle"
    """How instances stand in annotations.json."""
    confidence: bool = True
    """Write confidence; False: write no confidence."""
    overlays: bool = True
    """Write overlays; False: write no overlays."""
    overlay_format: Literal["jpg", "png"] = "jpg"
    """png: larger, and without loss."""
    images: bool = False
    """Write the frames too, as images/NAME.png beside masks/NAME.png: a folder to correct and to train on."""
