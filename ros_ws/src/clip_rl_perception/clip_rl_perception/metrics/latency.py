"""Percentiles of times, and rates from times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    """p50, p95, p99 and max of times in ms, linearly interpolated between samples; None without samples."""
    if not len(values_ms):
        return {"p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99 = np.percentile(values_ms, (50, 95, 99))
    return {
        "p50": round(float(p50), 3),
        "p95": round(float(p95), 3),
        "p99": round(float(p99), 3),
        "max": max_of(values_ms),
    }


def max_of(values_ms: Sequence[float]) -> float:
    """The largest of at least one value, rounded as percentiles are."""
    return round(float(max(values_ms)), 3)


def rate_hz(times_ns: Sequence[int]) -> float | None:
    """Events per second between the first and the last of `times_ns`; None with fewer than two."""
    if len(times_ns) < 2 or max(times_ns) <= min(times_ns):
        return None
    return round((len(times_ns) - 1) * 1e9 / (max(times_ns) - min(times_ns)), 3)
