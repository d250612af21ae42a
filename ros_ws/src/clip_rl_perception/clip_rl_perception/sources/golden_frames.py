"""Frames that engines are checked and calibrated on: the shipped ones, or any source's."""

from __future__ import annotations

import itertools
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.resources import share_path
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.sources.frames import FrameSource
from clip_rl_perception.sources.media_source import FolderSource, open_source

SHIPPED_FRAMES = 8
"""How many of the shipped frames become golden frames."""


def golden_images(
    input_size: tuple[int, int], source: str | Path | None = None, count: int = SHIPPED_FRAMES
) -> list[ByteArray]:
    """Network-sized frames, evenly spread over a source.

    Args:
        input_size: (H, W) of the network input.
        source: video, image folder or bag; None takes the synthetic frames that ship with the models.
        count: at most so many frames.

    Returns:
        uint8 RGB arrays (H, W, 3), each the whole frame with its aspect kept.

    Raises:
        SourceError: nothing readable at `source`.
        ResourceError: the shipped frames are missing from this installation.
    """
    opened: FrameSource = FolderSource(share_path("models", "golden")) if source is None else open_source(source)
    total = opened.info.frames
    every = max(1, total // count) if total else 1
    frames = itertools.islice(opened, 0, None, every)
    return [
        to_network(frame.rgb, make_letterbox((frame.rgb.shape[0], frame.rgb.shape[1]), input_size))
        for frame in itertools.islice(frames, count)
    ]
