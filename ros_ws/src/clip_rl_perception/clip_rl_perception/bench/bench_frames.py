"""What is measured on: frames of a source, or of a synthetic operation, held in memory, with their hash."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.demo.demo_scene import SyntheticOperation, render
from clip_rl_perception.progress import Stage
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.media_source import open_source

SIZE = (1280, 1024)
"""Width and height of the synthetic operation: a da Vinci endoscope's."""
RATE_HZ = 25.0
"""Of the synthetic operation."""
COUNT = 25
"""Frames that are held; played back and forth they make a film without a jump."""


@dataclasses.dataclass(frozen=True)
class BenchFrames:
    """Frames and where they come from."""

    path: Path
    """Video, folder or bag."""
    frames: tuple[ByteArray, ...]
    """uint8 RGB (height, width, 3)."""

    @property
    def sha256(self) -> str:
        """Of the pixels of all frames, in order."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(frame.tobytes())
        return digest.hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), px."""
        return self.frames[0].shape[0], self.frames[0].shape[1]

    def describe(self) -> dict[str, object]:
        """For the report."""
        return {"frames": len(self.frames), "width": self.size[1], "height": self.size[0]}


def load_frames(source: Path | None, out: Path, *, count: int = COUNT, size: tuple[int, int] = SIZE) -> BenchFrames:
    """The first `count` frames of `source`; None renders a second of a synthetic operation of `size` into `out`.

    Raises:
        SourceError: nothing readable at `source`, or frames of different sizes.
        SyntheticError: the synthetic operation cannot be rendered.
    """
    source = rendered(out, size, count / RATE_HZ) if source is None else source
    frames = [frame.rgb for frame in itertools.islice(open_source(source), count)]
    if not frames:
        raise SourceError(f"{source} holds no frame")
    if len({frame.shape for frame in frames}) > 1:
        raise SourceError(f"the frames of {source} differ in size; give frames of one camera")
    return BenchFrames(source, tuple(frames))


def rendered(out: Path, size: tuple[int, int], seconds: float, seed: int = 0) -> Path:
    """The bag of a synthetic operation of a (width, height), with its truth, under `out`; rendered unless it is there.

    Raises:
        SyntheticError: it cannot be rendered.
    """
    out.mkdir(parents=True, exist_ok=True)
    operation = SyntheticOperation(size, RATE_HZ, seconds, seed)
    with Stage(1, 1, f"rendering {operation.frames} frames of a synthetic operation, {size[0]}x{size[1]}") as stage:
        return render(operation, out, stage)


def back_and_forth(frames: tuple[ByteArray, ...]) -> tuple[ByteArray, ...]:
    """Frames in an order that can be repeated without a jump: 0 1 2 3 2 1, then from the beginning."""
    return frames + frames[-2:0:-1]
