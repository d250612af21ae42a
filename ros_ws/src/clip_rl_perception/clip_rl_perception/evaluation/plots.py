"""Small plots as inline SVG: no library, no script, one look in light and dark (colours come from the page's CSS).

Every mark carries a <title>, which browsers show on hover. Sizes are in user units of a viewBox, so plots scale with
the page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

WIDTH = 880
LEFT, RIGHT = 52, 14


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2, 5 x 10^n) from `low` to `high`."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def scatter(
    times_s: Sequence[float],
    values_ms: Sequence[float],
    *,
    lines: dict[str, float],
    events: Sequence[tuple[float, str]] = (),
    names: Sequence[str] = (),
    height: int = 240,
) -> str:
    """Values over time with labelled horizontal lines (percentiles) and a tick on the time axis for each event (drops).

    Args:
        times_s: x of each point, s.
        values_ms: y of each point, ms.
        lines: label -> y.
        events: (time in s, text): drawn as a mark below the axis.
        names: text per point for hover, or empty.
        height: of the plot, user units.
    """
    end = max([*times_s, *(time for time, _ in events)], default=1.0) or 1.0
    highest = max([*values_ms, *lines.values()], default=1.0) * 1.08 or 1.0
    top, bottom = 10, height - 40

    def x(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * time / end

    def y(value: float) -> float:
        return bottom - (bottom - top) * value / highest

    parts = _y_axis([(y(tick), f"{tick:g}") for tick in nice_ticks(0, highest, 4)], "ms")
    parts += [_text(x(tick), height - 4, f"{tick:g} s", "middle", "tick") for tick in nice_ticks(0, end, 8)]
    for time, text in events:
        parts.append(
            f'<rect class="drop" x="{x(time) - 1:.1f}" y="{bottom + 6}" width="2" height="12">{_title(text)}</rect>'
        )
    for index, (time, value) in enumerate(zip(times_s, values_ms, strict=True)):
        text = f"{names[index]}: {value:.1f} ms" if names else f"{value:.1f} ms"
        parts.append(f'<circle class="dot" cx="{x(time):.1f}" cy="{y(value):.1f}" r="2.6">{_title(text)}</circle>')
    previous = math.inf
    for label, value in sorted(lines.items(), key=lambda item: item[1]):
        parts.append(f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        place = min(y(value) - 4, previous - 13)  # labels of close lines stand above each other
        previous = place
        parts.append(_text(WIDTH - RIGHT, place, f"{label} {value:.1f} ms", "end", "marklabel"))
    return _svg(height, parts, "latency over time")


def histogram(values_ms: Sequence[float], *, bins: int = 44, height: int = 150) -> str:
    """How often each range of values occurs."""
    if not values_ms:
        return ""
    ticks = nice_ticks(0, max(values_ms) * 1.02, 8)
    end = max(max(values_ms) * 1.02, ticks[-1]) or 1.0
    counts = [0] * bins
    for value in values_ms:
        counts[min(bins - 1, int(value / end * bins))] += 1
    top, bottom = 10, height - 22
    width = (WIDTH - LEFT - RIGHT) / bins
    highest = max(counts)
    parts = _y_axis(
        [(bottom - (bottom - top) * tick / highest, f"{tick:g}") for tick in nice_ticks(0, highest, 3)], "frames"
    )
    for index, count in enumerate(counts):
        if count:
            size = (bottom - top) * count / highest
            text = f"{index * end / bins:.1f} to {(index + 1) * end / bins:.1f} ms: {count} frames"
            parts.append(
                f'<rect class="bar" x="{LEFT + index * width + 0.75:.1f}" y="{bottom - size:.1f}" '
                f'width="{width - 1.5:.1f}" height="{size:.1f}" rx="1.5">{_title(text)}</rect>'
            )
    scale = (WIDTH - LEFT - RIGHT) / end
    parts += [_text(LEFT + tick * scale, height - 4, f"{tick:g} ms", "middle", "tick") for tick in ticks]
    return _svg(height, parts, "histogram of latency")


def stages(medians_ms: dict[str, float]) -> str:
    """One bar: how the median time of a frame is shared among stages, in the given order; colours s0, s1, ..."""
    total = sum(medians_ms.values())
    if not total > 0:
        return ""
    parts, left = [], 0.0
    for index, (name, value) in enumerate(medians_ms.items()):
        width = WIDTH * value / total
        if width > 0:
            text = f"{name}: {value:.2f} ms, {100 * value / total:.0f} %"
            parts.append(
                f'<rect class="s{index}" x="{left:.1f}" y="0" width="{max(0.0, width - 1.5):.1f}" height="26" rx="2">'
                f"{_title(text)}</rect>"
            )
        left += width
    return _svg(26, parts, "time per stage")


def strip(segments: Sequence[tuple[float, float, str, str]], end_s: float) -> str:
    """A timeline: (start s, end s, CSS class, text) drawn side by side over 0..`end_s`."""
    scale = (WIDTH - LEFT - RIGHT) / (end_s or 1.0)
    parts = [
        f'<rect class="{style}" x="{LEFT + start * scale:.2f}" y="0" width="{max(0.6, (end - start) * scale):.2f}" '
        f'height="18">{_title(text)}</rect>'
        for start, end, style, text in segments
    ]
    parts += [_text(LEFT + tick * scale, 34, f"{tick:g} s", "middle", "tick") for tick in nice_ticks(0, end_s, 8)]
    return _svg(38, parts, "outcome over time")


def _y_axis(ticks: Sequence[tuple[float, str]], unit: str) -> list[str]:
    parts = []
    for index, (place, label) in enumerate(ticks):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        text = f"{label} {unit}" if index == len(ticks) - 1 and unit == "ms" else label
        parts.append(_text(LEFT - 8, place + 4, text, "end", "tick"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _title(text: str) -> str:
    return f"<title>{html.escape(text)}</title>"


def _svg(height: int, parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
