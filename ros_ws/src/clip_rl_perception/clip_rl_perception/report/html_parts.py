"""Pieces of report pages: sections, tables, numbers, embedded pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.report.report_style import CSS

PICTURE_WIDTH = 640
"""Widest picture that is embedded, px."""


def page(title: str, facts: Iterable[str], verdict: str, sections: Iterable[str]) -> str:
    """A whole page that needs nothing else; `verdict` and `facts` are text, `sections` HTML."""
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{CSS}</style></head><body><main>'
        f"<header><h1>{escape(title)}</h1><p class=facts>{escape(' · '.join(fact for fact in facts if fact))}</p>"
        f"<p class=verdict>{escape(verdict)}</p></header>"
        + "".join(sections)
        + "<footer>Research software, not a medical device.</footer></main></body></html>\n"
    )


def escape(value: Any) -> str:
    """Text for HTML."""
    return html.escape(str(value))


def section(title: str, *parts: str) -> str:
    """A section; empty where all its parts are."""
    body = "".join(parts)
    anchor = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>' if body else ""


def note(text: str) -> str:
    """A paragraph of small print; `text` is plain."""
    return f"<p class=note>{escape(text)}</p>" if text else ""


def tiles(cells: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (name, value, small print)."""
    made = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><p>{escape(small)}</p></div>"
        for name, value, small in cells
    )
    return f"<dl class=tiles>{made}</dl>"


def keys(names: Iterable[str]) -> str:
    """Legend of the lines of `plots.course`, in their order."""
    made = "".join(f'<span><i class="c{index}"></i>{escape(name)}</span>' for index, name in enumerate(names))
    return f'<p class="legend keys">{made}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int) -> str:
    """Cells are HTML already; the first `text_columns` are text, the others numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if index < text_columns else ' class=n'}>{cell}</{tag}>" for index, cell in enumerate(cells)
        )

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<div class=scroll><table>{top}<tbody>{body}</tbody></table></div>"


def facts_table(facts: Mapping[str, Any]) -> str:
    """Names and plain values; nested mappings become several rows."""
    return table(("", ""), [(escape(name), escape(value)) for name, value in _flat(facts)], text_columns=2)


def swatch(color: Sequence[int] | None, name: str) -> str:
    """A name with its colour before it; black and none leave the place empty."""
    style = f' style="background:rgb{tuple(int(value) for value in color)}"' if color is not None and any(color) else ""
    return f"<i{style}></i>{escape(name)}"


def times(values: Mapping[str, float | None]) -> tuple[str, ...]:
    """Cells of percentiles in ms."""
    return tuple(number(values[name], 2) for name in ("p50", "p95", "p99", "max"))


def number(value: float | None, digits: int) -> str:
    """A number, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, limits: Sequence[float] | None, digits: int = 3) -> str:
    """A number with its confidence interval, where there is one."""
    if value is None or not limits:
        return number(value, digits)
    return f"{value:.{digits}f} <span class=ci>{limits[0]:.{digits}f} to {limits[1]:.{digits}f}</span>"


def data_uri(rgb: ByteArray) -> str:
    """A JPEG of uint8 RGB (H, W, 3), at most `PICTURE_WIDTH` wide, as an address that holds it."""
    if rgb.shape[1] > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(rgb.shape[0] * PICTURE_WIDTH / rgb.shape[1])))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label}: ")
        else:
            yield label, "-" if value is None else value
