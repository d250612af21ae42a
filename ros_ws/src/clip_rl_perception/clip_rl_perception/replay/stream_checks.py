"""What is unusual about a stream of frames though each can be read: changes of size or encoding, gaps, an early end."""

from __future__ import annotations

from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.streams import Stream

GAP_PERIODS = 5
"""A pause of so many nominal periods is told."""
GAP_LEAST_NS = 500_000_000
"""And never one shorter than this, ns."""
END_LEAST_NS = 1_000_000_000
"""A topic that ends so long before its bag's other image topics has stopped, ns."""


class StreamCheck:
    """Watches one stream in order."""

    def __init__(self, stream: Stream) -> None:
        """Before the first frame."""
        self.path = stream.path
        self.last_ns = 0
        """Latest stamp."""
        self._place = f"{stream.path}: {stream.topic}" if stream.topic else str(stream.path)
        self._gap_ns = max(GAP_LEAST_NS, round(GAP_PERIODS * 1e9 / stream.source.info.rate_hz))
        self._previous: Frame | None = None

    def take(self, frame: Frame) -> list[str]:
        """Appearance at the next frame; returns what is unusual about it, a line each."""
        before, self._previous = self._previous, frame
        self.last_ns = max(self.last_ns, frame.stamp_ns)
        found = [frame.doubt] if frame.doubt != (before.doubt if before is not None else "") and frame.doubt else []
        if before is None:
            found += [] if frame.stamped else ["header stamps are zero; bag times are used"]
            return [f"{self._place} at {_s(frame)}: {text}" for text in found]
        step = frame.stamp_ns - before.stamp_ns
        if step == 0:
            found.append(f"stamp repeats that of image {before.index}; both are evaluated, degraded")
        elif step < 0:
            found.append(f"stamp is {-step / 1e9:.3f} s older than that of image {before.index}, out of order")
        elif step > self._gap_ns:
            found.append(f"{step / 1e9:.2f} s without images before it")
        if frame.encoding != before.encoding:
            found.append(f"encoding changes from '{before.encoding}' to '{frame.encoding}'")
        if frame.rgb.shape != before.rgb.shape:
            (old_height, old_width), (height, width) = before.rgb.shape[:2], frame.rgb.shape[:2]
            found.append(f"size changes from {old_width}x{old_height} to {width}x{height} px")
        return [f"{self._place} at {_s(frame)}: {text}" for text in found]

    def finish(self, end_ns: int) -> list[str]:
        """Called at the end; `end_ns`: latest stamp of all image topics of the bag."""
        early = end_ns - self.last_ns
        if self.last_ns and early > max(END_LEAST_NS, self._gap_ns):
            return [f"{self._place}: stops at {self.last_ns / 1e9:.3f} s, {early / 1e9:.1f} s before the others"]
        return []


def _s(frame: Frame) -> str:
    return f"{frame.stamp_ns / 1e9:.3f} s"
