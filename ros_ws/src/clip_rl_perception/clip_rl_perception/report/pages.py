"""Pages from the templates in templates/: one file each that opens offline, in light and dark.

Python computes what a page shows, templates say it. Everything is escaped but drawings, which are `Markup`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import jinja2

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.picture_encoding import encode_jpeg
from clip_rl_perception.report.frame_gallery import shrunk
from clip_rl_perception.report.time_axis import anchor


def render(template: str, **shown: Any) -> str:
    """The page that `template` makes of `shown`; raises `jinja2.UndefinedError` for what a template misses."""
    return _TEMPLATES.get_template(template).render(shown)


def templates(folder: Path, *, escape: bool) -> jinja2.Environment:
    """The templates of `folder`, which say numbers as `number` and `percent` do; `escape` for HTML."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {"number": number, "percent": percent}
    found.tests["known"] = known
    return found


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A number, or a dash where it is undefined; `sign` "+" says the sign of positive ones too."""
    return f"{value:{sign}.{digits}f}" if known(value) else "-"


def percent(share: float | None, digits: int = 1, sign: str = "", unit: str = "") -> str:
    """A share in percent, as `number` says it, and its `unit`; a dash alone where it is undefined."""
    return number(100 * share, digits, sign) + unit if known(share) else "-"


def known(value: float | None) -> TypeGuard[float]:
    """False for None and NaN."""
    return value is not None and not math.isnan(value)


def rgb_css(color: Sequence[int]) -> str:
    """A colour, RGB in 0..255, for CSS; empty for black, which stands for no colour."""
    return f"rgb{tuple(int(value) for value in color)}" if any(color) else ""


def data_uri(rgb: ByteArray) -> str:
    """A JPEG of uint8 RGB (H, W, 3), as wide as the gallery's pictures at most, as an address that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(shrunk(rgb), 85)).decode()}"


_TEMPLATES = templates(Path(__file__).with_name("templates"), escape=True)
_TEMPLATES.filters |= {"data_uri": data_uri, "anchor": anchor}
