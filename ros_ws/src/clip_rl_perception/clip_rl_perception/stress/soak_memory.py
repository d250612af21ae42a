"""Resident memory of the node over its lives, and how fast it grows."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import theilslopes

PART_S = 10.0
"""The slope is taken through medians of parts of this length, s."""
LEAST_S = 120.0
"""A life has to go on for so long after it has settled to be judged, s."""
MOST_MB_PER_MINUTE = 1.0
_FIELDS = {"VmRSS:": "rss", "RssAnon:": "own", "RssShmem:": "shared"}


@dataclasses.dataclass(frozen=True)
class Sample:
    """One look at a process."""

    life: int
    age_s: float
    """Since the process was started, s."""
    rss: float
    """Resident memory, MB (2^20 bytes)."""
    own: float
    """What of it belongs to no file and to nobody else, MB."""
    shared: float
    """What of it is shared memory: that of the middleware, its peers' too, MB."""


def sample(pid: int, life: int, age_s: float) -> Sample | None:
    """The memory of a process now; None where it is gone or the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        found = {_FIELDS[name]: int(rest[0]) / 1024 for name, *rest in map(str.split, lines) if name in _FIELDS}
        return Sample(life, age_s, **found)
    except (OSError, TypeError, ValueError):
        return None


def slope(samples: Sequence[Sample], settle_s: float) -> float | None:
    """Growth of resident memory in one life after `settle_s`, MB per minute; None where the life is too short.

    Theil and Sen's slope through the medians of parts of `PART_S`: a moment in which the machine was short of memory,
    or a single step, hardly moves it.
    """
    parts: dict[int, list[float]] = {}
    for each in samples:
        if each.age_s >= settle_s:
            parts.setdefault(int(each.age_s // PART_S), []).append(each.rss)
    if len(parts) * PART_S < LEAST_S:
        return None
    minutes = [(part + 0.5) * PART_S / 60 for part in parts]
    return float(theilslopes([statistics.median(values) for values in parts.values()], minutes).slope)
