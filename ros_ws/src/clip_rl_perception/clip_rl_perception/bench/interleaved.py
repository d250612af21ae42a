"""Interleaved timing: every candidate meets every frame in turn, so that what drifts hits all of them alike.

Absolute times on a shared machine mean little; ratios of times taken within the same round do.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.metrics.latency import percentiles
from clip_rl_perception.progress import Stage

TOTAL = "total"
"""Stage that every candidate has: the whole call, ms."""


class Candidate(Protocol):
    """Something that processes frames and knows its stages."""

    @property
    def name(self) -> str:
        """Unique within a run."""
        ...

    def run(self, frame: ByteArray) -> dict[str, float]:
        """Process a frame, uint8 RGB (height, width, 3); returns ms by stage (all of them, some or none)."""
        ...


class Laps:
    """The stages of one call as they end, ms."""

    def __init__(self, device: str = "cpu") -> None:
        """Begin the first stage; stages on ``cuda`` end when all work launched so far is done."""
        self.ms: dict[str, float] = {}
        self._device, self._last = device, time.perf_counter()

    def end(self, stage: str) -> None:
        """A stage is over, the next one begins."""
        synchronise(self._device)
        now = time.perf_counter()
        self.ms[stage], self._last = (now - self._last) * 1e3, now


def synchronise(device: str) -> None:
    """Until all work launched on a device, ``cpu`` or ``cuda``, is done."""
    if device != "cpu":
        torch.cuda.synchronize()


@dataclasses.dataclass
class Series:
    """Times of one candidate, by stage; the i-th of each belongs to the i-th round."""

    stages: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def add(self, times: dict[str, float]) -> None:
        """Append one call's times, ms."""
        for stage, value in times.items():
            self.stages.setdefault(stage, []).append(value)

    @property
    def total(self) -> list[float]:
        """The whole calls, ms."""
        return self.stages.get(TOTAL, [])

    def median(self, stage: str = TOTAL) -> float:
        """Median of a stage, ms; raises KeyError for a stage it has not."""
        return float(np.median(self.stages[stage]))

    def summed(self, *stages: str) -> list[float]:
        """The sum of some stages of each call, ms."""
        return [sum(times) for times in zip(*(self.stages[stage] for stage in stages), strict=True)]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """p50, p95, p99 and max of every stage, ms."""
        return {stage: percentiles(values) for stage, values in self.stages.items()}

    def fps(self) -> float:
        """Frames per second, one after the other, at the median time."""
        return 1e3 / self.median()


def interleave(
    candidates: Sequence[Candidate], frames: Sequence[ByteArray], rounds: int, *, warm_up: int = 3
) -> dict[str, Series]:
    """Time candidates in turns.

    Args:
        candidates: in another order every round, the same in every run: threads of one that still wait for work, and
            what it left in caches, slow down the next, which must not always be the same one.
        frames: used one after the other, from the beginning again when they end.
        rounds: timed calls of each candidate.
        warm_up: untimed rounds before.

    Returns:
        Times by name.
    """
    series = {candidate.name: Series() for candidate in candidates}
    if len(series) != len(candidates):
        raise ValueError("candidates need different names")
    order = np.random.default_rng(0)
    with Stage(1, 1, f"{candidates[0].name} and {len(candidates) - 1} more in turns, {rounds} rounds") as stage:
        for turn in range(-warm_up, rounds):
            frame = frames[turn % len(frames)]
            for place in order.permutation(len(candidates)):
                candidate = candidates[place]
                start = time.perf_counter()
                times = candidate.run(frame)
                whole = (time.perf_counter() - start) * 1e3
                if turn >= 0:
                    series[candidate.name].add({**times, TOTAL: whole})
            stage.update(max(0, turn + 1), rounds)
    return series


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times as long `slow` takes: median of the ratios within each round."""
    if len(slow) != len(fast) or not len(slow):
        raise ValueError(f"{len(slow)} times cannot be compared with {len(fast)}")
    return float(np.median(np.asarray(slow) / np.asarray(fast)))


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What making something cost."""

    value: Any
    seconds: float
    memory_mb: float
    """Growth of the process's resident memory, MB."""


def timed(make: Callable[[], Any]) -> Loaded:
    """Call `make`; time and memory that it took."""
    before, start = resident_mb(), time.perf_counter()
    value = make()
    return Loaded(value, time.perf_counter() - start, max(0.0, resident_mb() - before))


def resident_mb() -> float:
    """Resident memory of this process, MB; 0 where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1.024e-3  # of 1024 bytes
    except OSError:
        pass
    return 0.0
