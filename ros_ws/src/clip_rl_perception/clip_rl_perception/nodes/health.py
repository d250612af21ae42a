"""What the node knows about how it is doing: rates and latencies over a window, last errors, events. No ROS, no clock.

Several threads write, diagnostics read; every method takes the lock. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Mapping

from clip_rl_perception.metrics import latency
from clip_rl_perception.scene.types import Validity


@dataclasses.dataclass(frozen=True)
class Percentiles:
    """Latencies over the window, ms; NaN without frames."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclasses.dataclass(frozen=True)
class HealthSummary:
    """One look at `Health`."""

    input_hz: float
    """Images received per second over the window."""
    output_hz: float
    """Images processed per second over the window."""
    received: int
    """Images received in the window."""
    lost: int
    """Images of the window that never came."""
    replaced: int
    """Images of the window that gave way to newer ones before they were taken up."""
    total_ms: Percentiles
    """Taken up until published."""
    age_ms: Percentiles
    """Header stamp until published, node clock."""
    validity: Mapping[Validity, int]
    """Frames of the window by validity."""
    last_problem: str
    """Newest reason for a frame that was not OK, or an error; empty if there was none since activation."""
    problem_age_s: float
    """Time since then; infinite without one."""
    silent_s: float
    """Time since the last image, or since activation."""
    unchanged_s: float
    """Time for which the pictures that came have all been the same."""
    unchanged: int
    """Pictures of that time, but for the first."""
    late: int
    """Deadlines that `status` missed in the window."""
    late_ever: int
    """Those since activation."""


class Health:
    """Records of the last `window_s` seconds."""

    def __init__(self, window_s: float = 10.0) -> None:
        self._window_s = window_s
        self._lock = threading.Lock()
        self._arrivals: collections.deque[float] = collections.deque()
        self._missing: collections.deque[tuple[float, int, int]] = collections.deque()
        """(time, lost, replaced)"""
        self._frames: collections.deque[tuple[float, Validity, float, float]] = collections.deque()
        self._late: collections.deque[tuple[float, int]] = collections.deque()
        self._late_ever = 0
        self._begun = 0.0
        self._last_arrival: float | None = None
        self._pictures: tuple[float, float, int] | None = None
        """When the picture last changed, when the newest one came, and how many were the same between."""
        self._problem: tuple[float, str] | None = None
        self._events: dict[str, str] = {}

    def begin(self, now: float) -> None:
        """Activation: everything before it is forgotten, but for the events."""
        with self._lock:
            self._arrivals.clear()
            self._missing.clear()
            self._frames.clear()
            self._late.clear()
            self._late_ever = 0
            self._begun = now
            self._last_arrival = None
            self._pictures = None
            self._problem = None

    def arrived(self, now: float) -> None:
        """An image was received."""
        with self._lock:
            self._last_arrival = now
            self._arrivals.append(now)
            self._prune(now)

    def missed(self, now: float, *, lost: int = 0, replaced: int = 0) -> None:
        """So many images never came, or gave way to a newer one."""
        if lost or replaced:
            with self._lock:
                self._missing.append((now, lost, replaced))

    def pictured(self, now: float, changed: bool) -> None:
        """A picture was processed that is, or is not, another one than the last."""
        with self._lock:
            if changed or self._pictures is None:
                self._pictures = now, now, 0
            else:
                self._pictures = self._pictures[0], now, self._pictures[2] + 1

    def late(self, now: float, count: int) -> bool:
        """`status` missed so many deadlines; True where none was missed in the window before: that is news."""
        with self._lock:
            self._prune(now)
            news = not self._late
            self._late.append((now, count))
            self._late_ever += count
            return news

    def published(self, now: float, validity: Validity, reason: str, total_ms: float, age_ms: float) -> None:
        """The status of one image was published; rejected images count too."""
        with self._lock:
            self._frames.append((now, validity, total_ms, age_ms))
            if validity is not Validity.OK:
                self._problem = (now, f"{validity.name}: {reason}")
            self._prune(now)

    def problem(self, now: float, text: str) -> None:
        """Something went wrong that belongs to no single frame."""
        with self._lock:
            self._problem = (now, text)

    def event(self, key: str, text: str) -> None:
        """Set a lasting fact, such as an incompatible publisher; empty text removes it."""
        with self._lock:
            if text:
                self._events[key] = text
            else:
                self._events.pop(key, None)

    @property
    def events(self) -> dict[str, str]:
        """Lasting facts by key."""
        with self._lock:
            return dict(self._events)

    def summary(self, now: float) -> HealthSummary:
        """Appearance at the window that ends now."""
        with self._lock:
            self._prune(now)
            span = max(min(self._window_s, now - self._begun), 1e-3)
            processed = [frame for frame in self._frames if frame[1] is not Validity.INVALID_INPUT]
            since = self._begun if self._last_arrival is None else self._last_arrival
            return HealthSummary(
                input_hz=len(self._arrivals) / span,
                output_hz=len(processed) / span,
                received=len(self._arrivals),
                lost=sum(lost for _, lost, _ in self._missing),
                replaced=sum(replaced for *_, replaced in self._missing),
                total_ms=percentiles([frame[2] for frame in processed]),
                age_ms=percentiles([frame[3] for frame in processed]),
                validity=collections.Counter(frame[1] for frame in self._frames),
                last_problem=self._problem[1] if self._problem else "",
                problem_age_s=now - self._problem[0] if self._problem else float("inf"),
                silent_s=now - since,
                unchanged_s=self._pictures[1] - self._pictures[0] if self._pictures is not None else 0.0,
                unchanged=self._pictures[2] if self._pictures is not None else 0,
                late=sum(count for _, count in self._late),
                late_ever=self._late_ever,
            )

    def _prune(self, now: float) -> None:
        oldest = now - self._window_s
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()
        while self._missing and self._missing[0][0] < oldest:
            self._missing.popleft()
        while self._late and self._late[0][0] < oldest:
            self._late.popleft()
        while self._frames and self._frames[0][0] < oldest:
            self._frames.popleft()


def percentiles(values: list[float]) -> Percentiles:
    """`latency.percentiles`; NaN for no values."""
    found = latency.percentiles(values).items()
    return Percentiles(**{name: float("nan") if value is None else value for name, value in found})
