"""Where the frames of a run stand on the time axis of its plots, and which of them have a picture to go to."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from clip_rl_perception.report.frame_gallery import Picture
from clip_rl_perception.report.run_summary import by_stream
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord


@dataclasses.dataclass(frozen=True)
class Axis:
    """One time axis for all sequences, one after the other; stamps out of order stand by their place instead."""

    x: tuple[float, ...]
    """Time of each frame, s, rising."""
    starts: tuple[tuple[float, str], ...]
    """Where each sequence begins, with its name; empty where there is one."""
    end: float
    """A period after the last frame, s."""
    links: dict[int, str]
    """Anchor of the picture of a frame, by the frame's place in the run."""
    names: tuple[str, ...]
    """How each frame is called."""

    @property
    def ends(self) -> tuple[float, ...]:
        """Where each frame gives way to the next, s."""
        return (*self.x[1:], self.end)[: len(self.x)]

    def only(self, places: Sequence[int]) -> Axis:
        """The axis of the frames at `places` alone."""
        links = {number: self.links[place] for number, place in enumerate(places) if place in self.links}
        x, names = tuple(self.x[place] for place in places), tuple(self.names[place] for place in places)
        return dataclasses.replace(self, x=x, names=names, links=links)


def anchor(frame: FrameRecord) -> str:
    """Identity of a frame within its page."""
    return f"frame-{zlib.crc32(f'{frame.sequence}{frame.topic}'.encode(errors='surrogateescape')):08x}-{frame.index}"


def axis_of(run: RunRecord, pictures: Sequence[Picture]) -> Axis:
    """Lay out the frames of a run."""
    shown = {anchor(picture.record) for picture in pictures}
    x: dict[int, float] = {}  # by the frame's identity
    starts: list[tuple[float, str]] = []
    offset, period = 0.0, 0.04
    sequences = by_stream(run.frames)
    for name, frames in sequences.items():
        times = np.array([frame.stamp_ns for frame in frames], np.int64)
        steps = np.diff(times)
        period = float(np.median(steps)) / 1e9 if len(steps) and np.median(steps) > 0 else period
        seconds = (times - times[0]) / 1e9
        if (steps < 0).any():
            seconds = np.arange(len(frames)) * period
        starts.append((offset, name))
        x |= zip(map(id, frames), (offset + seconds).tolist(), strict=True)
        offset += float(seconds[-1]) + period
    return Axis(
        x=tuple(x[id(frame)] for frame in run.frames),
        starts=tuple(starts) if len(starts) > 1 else (),
        end=offset,
        links={place: anchor(frame) for place, frame in enumerate(run.frames) if anchor(frame) in shown},
        names=tuple(f"{frame.sequence} " * (len(sequences) > 1) + f"frame {frame.index}" for frame in run.frames),
    )
