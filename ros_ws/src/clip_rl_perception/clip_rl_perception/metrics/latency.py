"""Percentiles of times, and rates from times: one definition for reports, diagnostics and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

PERCENTILES = (50, 95, 99)
"""Those that are told, in percent; linearly interpolated between samples."""


def percentiles(values_ms: Iterable[float | None]) -> dict[str, float | None]:
    """p50, p95, p99 and max of the known ones among times in ms, to the microsecond; None without any."""
    names = (*(f"p{share}" for share in PERCENTILES), "max")
    known = [value for value in values_ms if value is not None]
    if not known:
        return dict.fromkeys(names)
    values = (*np.percentile(known, PERCENTILES), max(known))
    return {name: round(float(value), 3) for name, value in zip(names, values, strict=True)}


def rate_hz(times_ns: Sequence[int]) -> float | None:
    """Events per second between the first and the last of `times_ns`; None with fewer than two."""
    if len(times_ns) < 2 or max(times_ns) <= min(times_ns):
        return None
    return round((len(times_ns) - 1) * 1e9 / (max(times_ns) - min(times_ns)), 3)
