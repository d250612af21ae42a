"""Types of options that need more than their own constructor."""

from __future__ import annotations

import argparse
import re
from typing import Annotated

from clip_rl_perception.options import Option


def positive_number(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def width_by_height(text: str) -> tuple[int, int]:
    """A size such as 1280x1024: (width, height)."""
    return _size(text, "WIDTHxHEIGHT, for example 1280x1024")


def height_by_width(text: str) -> tuple[int, int]:
    """A size such as 288x352: (height, width)."""
    return _size(text, "HEIGHTxWIDTH, for example 288x352")


def _size(text: str, expected: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not {expected}")
    return int(match[1]), int(match[2])


Count = Annotated[int, Option(least=1)]
NaturalNumber = Annotated[int, Option(least=0)]
NotNegative = Annotated[float, Option(least=0)]
Share = Annotated[float, Option(least=0, most=1)]
PositiveNumber = Annotated[float, Option(type=positive_number)]
WidthByHeight = Annotated[tuple[int, int], Option(type=width_by_height)]
CheckpointName = Annotated[str, Option("--checkpoint", "--model")]
HeightByWidth = Annotated[tuple[int, int], Option(type=height_by_width)]
