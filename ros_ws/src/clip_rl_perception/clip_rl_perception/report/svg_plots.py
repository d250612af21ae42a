"""Small plots as inline SVG: no library, no script, one look in light and dark (colours come from the page's CSS).

Every mark carries a <title>, which browsers show on hover. Sizes are in user units of a viewBox, so plots scale with
the page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

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
    links: Mapping[int, str] | None = None,
    height: int = 240,
) -> str:
    """Values over time with labelled horizontal lines (percentiles) and a tick on the time axis for each event (drops).

    Args:
        times_s: x of each point, s.
        values_ms: y of each point, ms.
        lines: label -> y.
        events: (time in s, text): drawn as a mark below the axis.
        names: text per point for hover, or empty.
        links: fragment of the page that a point leads to, by its place; such points are drawn larger.
        height: of the plot, user units.
    """
    links = links or {}
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
        radius, style = (4.5, "peak") if index in links else (2.6, "dot")
        dot = f'<circle class="{style}" cx="{x(time):.1f}" cy="{y(value):.1f}" r="{radius}">{_title(text)}</circle>'
        parts.append(_linked(dot, links.get(index)))
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


def course(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float | None]],
    *,
    low: float = 0.0,
    high: float | None = None,
    unit: str = "",
    links: Mapping[int, str] | None = None,
    names: Sequence[str] = (),
    parts_at: Sequence[tuple[float, str]] = (),
    axis: str = " s",
    height: int = 170,
) -> str:
    """One or more quantities over time as lines, with gaps where they are unknown.

    Args:
        x: time of each frame, s, rising.
        lines: name -> value per frame, None where unknown; colours c0, c1, ...
        low: bottom of the axis.
        high: top; None: the largest value.
        unit: of the values.
        links: fragment of the page that a frame's points lead to, by its place.
        names: text per frame for hover, or empty.
        parts_at: (time, name) where sequences begin, drawn as separators.
        axis: unit of `x`.
        height: of the plot, user units.
    """
    known = [value for values in lines.values() for value in values if value is not None]
    if not known:
        return ""
    top, bottom = 10, height - 24
    highest = high if high is not None else (max(known) * 1.05 or 1.0)
    span, end = (highest - low) or 1.0, (x[-1] if x else 1.0) or 1.0

    def place(time: float, value: float) -> tuple[float, float]:
        shown = min(max(value, low), highest)
        return LEFT + (WIDTH - LEFT - RIGHT) * time / end, bottom - (bottom - top) * (shown - low) / span

    parts = _y_axis([(place(0, tick)[1], f"{tick:g}") for tick in nice_ticks(low, highest, 4)], unit)
    parts += [
        _text(place(tick, low)[0], height - 6, f"{tick:g}{axis}", "middle", "tick") for tick in nice_ticks(0, end, 8)
    ]
    for time, name in parts_at:
        left = place(time, low)[0]
        parts.append(
            f'<line class="part" x1="{left:.1f}" x2="{left:.1f}" y1="{top}" y2="{bottom}">{_title(name)}</line>'
        )
    for number, values in enumerate(lines.values()):
        points = [None if value is None else place(time, value) for time, value in zip(x, values, strict=True)]
        parts.append(f'<path class="c{number}" d="{_path(points)}"/>')
    for number, (name, values) in enumerate(lines.items()):
        for index, link in (links or {}).items() if number == 0 else ():
            value = values[index]
            if value is not None:
                left, up = place(x[index], value)
                text = f"{names[index] if names else ''}: {name} {value:.3g} {unit}".strip(": ")
                dot = f'<circle class="peak" cx="{left:.1f}" cy="{up:.1f}" r="4.5">{_title(text)}</circle>'
                parts.append(_linked(dot, link))
    return _svg(height, parts, ", ".join(lines) + " over time")


def lives(rows: Sequence[tuple[str, Sequence[tuple[float, float]], str, str]], end_s: float) -> str:
    """One row per identity: (label, [(start s, end s), ...], colour, text for hover)."""
    if not rows:
        return ""
    scale, step = (WIDTH - LEFT - RIGHT) / (end_s or 1.0), 16
    parts = []
    for number, (label, spans, color, text) in enumerate(rows):
        parts.append(_text(LEFT - 8, number * step + 10, label, "end", "tick"))
        for start, end in spans:
            parts.append(
                f'<rect style="fill:{color}" x="{LEFT + start * scale:.2f}" y="{number * step + 2}" '
                f'width="{max(1.2, (end - start) * scale):.2f}" height="10" rx="2">{_title(text)}</rect>'
            )
    below = len(rows) * step
    parts += [_text(LEFT + t * scale, below + 14, f"{t:g} s", "middle", "tick") for t in nice_ticks(0, end_s, 8)]
    return _svg(below + 18, parts, "identities over time")


def whiskers(rows: Sequence[tuple[str, float | None, tuple[float, float] | None, str, str]]) -> str:
    """Horizontal bars from 0 to 1 with their intervals: (label, value, (low, high) or None, colour, note)."""
    if not rows:
        return ""
    label_width, note_width, step = 190, 150, 26
    left, right = label_width, WIDTH - note_width
    scale, parts = right - left, []
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x = left + tick * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{len(rows) * step}"/>')
        parts.append(_text(x, len(rows) * step + 14, f"{tick:g}", "middle", "tick"))
    for number, (label, value, limits, color, note) in enumerate(rows):
        y = number * step
        parts.append(_text(left - 10, y + 17, label, "end", "label"))
        parts.append(_text(right + 10, y + 17, note, "start", "tick"))
        if value is not None:
            parts.append(
                f'<rect style="fill:{color}" x="{left}" y="{y + 5}" width="{max(0.5, value * scale):.1f}" height="16" '
                f'rx="2" opacity="0.85">{_title(f"{label}: {value:.3f}")}</rect>'
            )
        if limits is not None:
            low, high = left + limits[0] * scale, left + limits[1] * scale
            text = _title(f"{label}: 95 % between {limits[0]:.3f} and {limits[1]:.3f}")
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {y + 8}v10M{low:.1f} {y + 13}H{high:.1f}M{high:.1f} {y + 8}v10">'
                f"{text}</path>"
            )
    return _svg(len(rows) * step + 18, parts, "values with intervals")


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """SVG path through the points, broken where one is None; a lone point is a short stroke."""
    pieces, open_ = [], False
    for index, point in enumerate(points):
        if point is None:
            open_ = False
            continue
        alone = not open_ and (index + 1 == len(points) or points[index + 1] is None)
        pieces.append(f"{'L' if open_ else 'M'}{point[0]:.1f} {point[1]:.1f}{'h.1' if alone else ''}")
        open_ = True
    return "".join(pieces)


def _linked(mark: str, link: str | None) -> str:
    return mark if link is None else f'<a href="#{html.escape(link)}">{mark}</a>'


def _y_axis(ticks: Sequence[tuple[float, str]], unit: str) -> list[str]:
    parts = []
    for index, (place, label) in enumerate(ticks):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        text = f"{label} {unit}" if index == len(ticks) - 1 and unit in ("ms", "px") else label
        parts.append(_text(LEFT - 8, place + 4, text, "end", "tick"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _title(text: str) -> str:
    return f"<title>{html.escape(text)}</title>"


def _svg(height: int, parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
