"""Frames of a video file with the container's time of each, whatever its rate does; decoded by PyAV, FFmpeg's wrapper.

Ours would be OpenCV's reader, but that ends at the first damaged packet, and loses count where it goes on. Here the
packets are looked at before anything is decoded: their times are the frames' times and places, so that a frame which
cannot be decoded is left out by its number, and the masks of those after it stay theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.sources.frames import DEFAULT_RATE, Frame, LeftOut, SourceError, SourceInfo, hash_files

CUT_S = 1.0
"""A file that ends so long before the end that its header names was cut off, s."""


class VideoSource:
    """Frames of one video file, in order of time. Stamps count from the first frame."""

    def __init__(self, path: str | Path, *, rate_hz: float | None = None) -> None:
        """Look at every packet of `path` and decode its first frame.

        Args:
            path: anything that FFmpeg reads.
            rate_hz: frames per second; stamps are then by number. None: the container's times.

        Raises:
            SourceError: no such file, no video in it, or none that can be decoded.
        """
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        self._path = Path(path)
        self._fixed = rate_hz
        with self._open() as container:
            self._timeline = _look(container, self._path)
        self._opening_problems = (f"{self._path}: {self._timeline.cut}",) if self._timeline.cut else ()
        rate = rate_hz or self._timeline.rate_hz
        count = None if self._timeline.hiding or self._timeline.cut else len(self._timeline.places) or None
        self._info = SourceInfo("video", self._path, count, rate, (0, 0))
        with contextlib.closing(iter(self)) as frames:
            first = next(frames, None)
        if first is None:
            told = f": {self.left_out[0].reason}" if self.left_out else ""
            raise SourceError(f"{self._path}: no frame of this video can be decoded{told}; expected one that plays")
        self._info = dataclasses.replace(self._info, size=first.rgb.shape[:2])
        self.problems = list(self._opening_problems)

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Generator[Frame, None, None]:
        self.problems, self.left_out = list(self._opening_problems), []
        places, index, last = self._timeline.places, 0, -1
        failed: list[str] = []
        marred: list[int] = []  # frames since a damaged one that are not known to be whole
        with self._open() as container:
            decoded = _decoded(container)
            while True:
                begun = time.perf_counter()
                item = next(decoded, None)
                if isinstance(item, str):
                    failed.append(item)
                    continue
                # Only as many places are lost as decoding failed: some packets are no pictures.
                place = (places.get(item.pts, last + 1) if item is not None else len(places)) if places else None
                for reason in failed[: max(0, place - last - 1)] if place is not None else failed:
                    last += 1
                    self._leave_out(index, last, reason)
                    index += 1
                    marred = marred or [index]
                failed, last = [], max(last + 1, place or 0)
                if item is None or item.key_frame:
                    self._tell_marred(marred, index)
                    marred = []
                if item is None:
                    return
                if item.is_corrupt:
                    marred = marred or [index + 1]
                    self._leave_out(index, last, "the decoder filled in what is missing of it")
                else:
                    rgb, spent = _rgb(item), (time.perf_counter() - begun) * 1e3
                    yield Frame(
                        rgb, self._stamp(index, last), f"{self._path.name}#{index}", index=index, decode_ms=spent
                    )
                index += 1

    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hash_files([self._path])

    def _stamp(self, index: int, place: int) -> int:
        stamps = self._timeline.stamps
        if self._fixed is not None or place >= len(stamps):
            return round(index * 1e9 / self._info.rate_hz)
        return stamps[place]

    def _leave_out(self, index: int, place: int, reason: str) -> None:
        stamp = self._stamp(index, place)
        self.problems.append(f"{self._path}: frame {index} at {stamp / 1e9:.3f} s: {reason}; left out")
        self.left_out.append(LeftOut(index, stamp, reason))

    def _tell_marred(self, first: list[int], end: int) -> None:
        if first and first[0] < end:
            self.problems.append(
                f"{self._path}: frames {first[0]} to {end - 1} build on a damaged one and may show its damage"
            )

    def _open(self) -> Any:
        if not self._path.is_file():
            raise SourceError(f"{self._path}: no such video file")
        try:
            import av
        except ImportError as error:
            raise SourceError(f"{self._path}: videos are read with PyAV, which is missing: pip install av") from error
        try:
            return av.open(str(self._path))
        except (av.error.FFmpegError, ValueError) as error:
            raise SourceError(
                f"{self._path}: not a video that can be read ({_reason(error)}); expected .mp4, .avi, .mkv or the like"
            ) from error


@dataclasses.dataclass(frozen=True)
class _Timeline:
    """The packets of a video that are shown."""

    places: dict[int, int]
    """Place in order of time, by the packet's own time; empty where packets carry none."""
    stamps: list[int]
    """By place, ns since the first."""
    rate_hz: float
    hiding: bool
    """True where a packet need not be a picture, so that how many there are is known after reading."""
    cut: str
    """Why the file seems cut off; empty if it does not."""


def _look(container: Any, path: Path) -> _Timeline:
    if not container.streams.video:
        raise SourceError(f"{path}: no video in this file; expected one with pictures")
    stream = container.streams.best("video")
    shown, stored, timed, end = set(), 0, True, 0.0
    for packet in _packets(container):
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float(packet.pts * packet.time_base))
        if packet.stream.index == stream.index and packet.size:
            stored += 1
            timed &= packet.pts is not None
            if packet.pts is not None and not packet.is_discard:
                shown.add(packet.pts)
    times = sorted(shown) if timed else []
    stamps = [round((one - times[0]) * stream.time_base * 1_000_000_000) for one in times]
    cut, length = "", (container.duration or 0) / 1e6
    if stream.frames > stored:
        cut = f"holds {stored} of the {stream.frames} frames that its header names; it was cut off"
    elif length > end + CUT_S and stored:
        cut = f"ends at {end:.1f} s of the {length:.1f} s that its header names; it was cut off"
    codec = stream.codec_context
    hiding = codec.name == "vp8" or (codec.name == "mpeg4" and codec.has_b_frames)
    places = {one: place for place, one in enumerate(times)}
    return _Timeline(places, stamps, _rate(stream, stamps), hiding, cut)


def _rate(stream: Any, stamps: list[int]) -> float:
    """Frames per second, Hz: as the container says where its times agree, else by these."""
    said: Fraction | None = stream.average_rate or stream.guessed_rate
    rate = float(said) if said and 1 <= said <= 1000 else DEFAULT_RATE
    steps = [after - before for before, after in itertools.pairwise(stamps)]
    if not steps or abs(statistics.median(steps) * rate / 1e9 - 1) < 0.1 > abs(
        stamps[-1] * rate / len(steps) / 1e9 - 1
    ):
        return rate
    return len(steps) * 1e9 / stamps[-1]


def _packets(container: Any) -> Iterator[Any]:
    import av

    try:
        yield from container.demux()
    except av.error.FFmpegError:  # what follows cannot be found; what came before is there
        return


def _decoded(container: Any) -> Iterator[Any]:
    """Frames in order of time, and for each that failed a line that says why."""
    import av

    stream = container.streams.best("video")
    stream.thread_type = "AUTO"
    if stream.codec_context.name == "mjpeg":  # each picture stands alone: a damaged one is not filled in
        stream.codec_context.options = {"err_detect": "explode"}
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            yield f"cannot be decoded: {_reason(error)}"


def _rgb(frame: Any) -> ByteArray:
    """uint8 (H, W, 3), turned and mirrored as the container asks for."""
    rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    stored = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return rgb
    # Pixel (x, y) is shown at (ax + cy, bx + dy) (ISO 14496-12, 6.2.2).
    a, b, _, c, d = np.frombuffer(bytes(stored), np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
