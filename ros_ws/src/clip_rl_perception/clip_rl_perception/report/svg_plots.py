"""Small plots as inline SVG: no library, no script, one look in light and dark (colours come from the page's CSS).

Every mark carries a <title>, which browsers show on hover. Sizes are in user units of a viewBox, so plots scale with
the page. A plot of nothing is empty.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

WIDTH = 880
LEFT, RIGHT = 52, 14
TOP = 10


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
    lines: Mapping[str, float],
    events: Sequence[tuple[float, str]] = (),
    names: Sequence[str] = (),
    links: Mapping[int, str] | None = None,
    height: int = 240,
) -> Markup:
    """Values over time with labelled horizontal lines (percentiles) and a tick on the time axis for each event (drops).

    Args:
        times_s: x of each point, s.
        values_ms: y of each point, ms.
        lines: label -> y.
        events: (time in s, text): drawn as a mark below the axis.
        names: text per point for hover.
        links: fragment of the page that a point leads to, by its place; such points are drawn larger.
        height: of the plot, user units.
    """
    links = links or {}
    area = _Area(
        end=max([*times_s, *(time for time, _ in events)], default=1.0),
        high=max([*values_ms, *lines.values()], default=1.0) * 1.08,
        bottom=height - 40,
    )
    parts = [*area.value_axis(unit="ms"), *area.time_axis(height - 4)]
    parts += [_rect((area.x(time) - 1, area.bottom + 6, 2, 12), text, "drop") for time, text in events]
    for index, (time, value, name) in enumerate(zip(times_s, values_ms, names, strict=True)):
        parts.append(_dot(area.x(time), area.y(value), f"{name}: {value:.1f} ms", links.get(index)))
    label_y = math.inf
    for label, value in sorted(lines.items(), key=lambda item: item[1]):
        y = area.y(value)
        label_y = min(y - 4, label_y - 13)  # labels of close lines stand above each other
        parts.append(_line("mark", LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(WIDTH - RIGHT, label_y, f"{label} {value:.1f} ms", "end", "marklabel"))
    return _svg(height, parts, "latency over time")


def histogram(values_ms: Sequence[float], *, bins: int = 44, height: int = 150) -> Markup:
    """How often each range of values occurs."""
    if not values_ms:
        return Markup()
    shown = max(values_ms) * 1.02
    end = max(shown, nice_ticks(0, shown, 8)[-1]) or 1.0
    counts = np.histogram(np.clip(values_ms, 0, end), bins, (0, end))[0].tolist()
    area = _Area(end=end, high=max(counts), bottom=height - 22)
    parts, width = area.value_axis(count=3), (WIDTH - LEFT - RIGHT) / bins
    for index, count in enumerate(counts):
        if count:
            text = f"{index * end / bins:.1f} to {(index + 1) * end / bins:.1f} ms: {count} frames"
            y = area.y(count)
            parts.append(_rect((LEFT + index * width + 0.75, y, width - 1.5, area.bottom - y), text, "bar"))
    return _svg(height, [*parts, *area.time_axis(height - 4, " ms", shown)], "histogram of latency")


def stages(medians_ms: Mapping[str, float]) -> Markup:
    """One bar: how the median time of a frame is shared among stages, in the given order; colours s0, s1, ..."""
    total = sum(medians_ms.values())
    if not total > 0:
        return Markup()
    parts, left = [], 0.0
    for index, (name, value) in enumerate(medians_ms.items()):
        width = WIDTH * value / total
        if value > 0:
            text = f"{name}: {value:.2f} ms, {100 * value / total:.0f} %"
            parts.append(_rect((left, 0, max(0.0, width - 1.5), 26), text, f"stage s{index}"))
        left += width
    return _svg(26, parts, "time per stage")


def strip(segments: Iterable[tuple[float, float, str, str]], end_s: float) -> Markup:
    """A timeline: (start s, end s, CSS class, text) drawn side by side over 0..`end_s`."""
    area = _Area(end_s)
    parts = [
        _rect((area.x(start), 0, max(0.6, area.x(end) - area.x(start)), 18), text, css)
        for start, end, css, text in segments
    ]
    return _svg(38, [*parts, *area.time_axis(34)], "outcome over time")


def course(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float | None]],
    *,
    high: float | None = None,
    unit: str = "",
    links: Mapping[int, str] | None = None,
    names: Sequence[str] = (),
    parts_at: Sequence[tuple[float, str]] = (),
    axis: str = " s",
    height: int = 170,
) -> Markup:
    """One or more quantities over time as lines, with gaps where they are unknown.

    Args:
        x: time of each frame, s, rising.
        lines: name -> value per frame, None where unknown; colours c0, c1, ...
        high: top of the axis, which begins at 0; None: the largest value.
        unit: of the values.
        links: fragment of the page that a frame's points lead to, by its place.
        names: text per frame for hover, or empty.
        parts_at: (time, name) where sequences begin, drawn as separators.
        axis: unit of `x`.
        height: of the plot, user units.
    """
    known = [value for values in lines.values() for value in values if value is not None]
    if not known:
        return Markup()
    area = _Area(end=x[-1] if x else 1.0, high=max(known) * 1.05 if high is None else high, bottom=height - 24)
    parts = [*area.value_axis(unit=unit), *area.time_axis(height - 6, axis)]
    for time, name in parts_at:
        parts.append(_line("part", area.x(time), TOP, area.x(time), area.bottom, name))
    for number, values in enumerate(lines.values()):
        shown = zip(x, values, strict=True)
        points = [None if value is None else (area.x(time), area.y(value)) for time, value in shown]
        parts.append(f'<path class="c{number}" d="{_path(points)}"/>')
    name, values = next(iter(lines.items()))
    for index, link in (links or {}).items():
        value = values[index]
        if value is not None:
            text = f"{names[index] if names else ''}: {name} {value:.3g} {unit}".strip(": ")
            parts.append(_dot(area.x(x[index]), area.y(value), text, link))
    return _svg(height, parts, ", ".join(lines) + " over time")


def lives(rows: Sequence[tuple[str, Sequence[tuple[float, float]], str, str]], end_s: float) -> Markup:
    """One row per identity: (label, [(start s, end s), ...], colour, text for hover)."""
    if not rows:
        return Markup()
    area, step = _Area(end_s), 16
    parts = []
    for number, (label, spans, color, text) in enumerate(rows):
        parts.append(_text(LEFT - 8, number * step + 10, label, "end", "tick"))
        for start, end in spans:
            width = max(1.2, area.x(end) - area.x(start))
            parts.append(_rect((area.x(start), number * step + 2, width, 10), text, "life", fill=color))
    below = len(rows) * step
    return _svg(below + 18, [*parts, *area.time_axis(below + 14)], "identities over time")


def whiskers(rows: Sequence[tuple[str, float | None, Sequence[float] | None, str, str]]) -> Markup:
    """Horizontal bars from 0 to 1 with their intervals: (label, value, (low, high) or None, colour, note)."""
    if not rows:
        return Markup()
    left, right, step = 190, WIDTH - 150, 26
    below, scale, parts = len(rows) * step, right - left, []
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x = left + tick * scale
        parts.append(_line("grid", x, 0, x, below))
        parts.append(_text(x, below + 14, f"{tick:g}", "middle", "tick"))
    for number, (label, value, limits, color, note) in enumerate(rows):
        y = number * step
        parts.append(_text(left - 10, y + 17, label, "end", "label"))
        parts.append(_text(right + 10, y + 17, note, "start", "tick"))
        if value is not None:
            box = (left, y + 5, max(0.5, value * scale), 16)
            parts.append(_rect(box, f"{label}: {value:.3f}", "value", fill=color))
        if limits is not None:
            low, high = (left + limit * scale for limit in limits)
            text = _title(f"{label}: 95 % between {limits[0]:.3f} and {limits[1]:.3f}")
            line = f"M{low:.1f} {y + 8}v10M{low:.1f} {y + 13}H{high:.1f}M{high:.1f} {y + 8}v10"
            parts.append(f'<path class="whisker" d="{line}">{text}</path>')
    return _svg(below + 18, parts, "values with intervals")


@dataclasses.dataclass(frozen=True)
class _Area:
    """Where values stand: 0..`end` from left to right, 0..`high` from `bottom` up to `TOP`."""

    end: float
    high: float = 1.0
    bottom: float = 0.0

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / (self.end or 1.0)

    def y(self, value: float) -> float:
        high = self.high or 1.0
        return self.bottom - (self.bottom - TOP) * min(max(value, 0.0), high) / high

    def time_axis(self, y: float, unit: str = " s", shown: float | None = None) -> list[str]:
        """Labels below the plot, up to `shown`, else to the end."""
        ticks = nice_ticks(0, (self.end or 1.0) if shown is None else shown, 8)
        return [_text(self.x(tick), y, f"{tick:g}{unit}", "middle", "tick") for tick in ticks]

    def value_axis(self, *, unit: str = "", count: int = 4) -> list[str]:
        """Grid lines with their labels; the highest one says the unit."""
        parts, ticks = [], nice_ticks(0, self.high or 1.0, count)
        for tick in ticks:
            y, text = self.y(tick), f"{tick:g} {unit}" if tick == ticks[-1] and unit else f"{tick:g}"
            parts.append(_line("grid", LEFT, y, WIDTH - RIGHT, y))
            parts.append(_text(LEFT - 8, y + 4, text, "end", "tick"))
        return parts


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """SVG path through the points, broken where one is None; a lone point is a short stroke."""
    pieces = []
    for known, group in itertools.groupby(points, key=lambda point: point is not None):
        if known:
            places = [f"{x:.1f} {y:.1f}" for x, y in filter(None, group)]
            pieces.append(f"M{'L'.join(places)}{'h.1' if len(places) == 1 else ''}")
    return "".join(pieces)


def _rect(box: tuple[float, float, float, float], text: str, css: str, *, fill: str = "") -> str:
    """(x, y, width, height) with a class, and a colour of its own where `fill` says one."""
    x, y, width, height = box
    style = f' style="fill:{escape(fill)}"' if fill else ""
    place = f'x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}"'
    return f'<rect class="{css}"{style} {place}>{_title(text)}</rect>'


def _dot(x: float, y: float, text: str, link: str | None) -> str:
    """A point; a larger one where it leads to a fragment of the page."""
    radius, css = (2.6, "dot") if link is None else (4.5, "peak")
    mark = f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{_title(text)}</circle>'
    return mark if link is None else f'<a href="#{escape(link)}">{mark}</a>'


def _line(css: str, x1: float, y1: float, x2: float, y2: float, text: str = "") -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">{_title(text)}</line>'


def _text(x: float, y: float, text: str, anchor: str, css: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _svg(height: int, parts: Iterable[str], label: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>')
