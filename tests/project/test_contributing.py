"""CONTRIBUTING.md and docs/architecture.md name files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    ROOT,
    ROOT / "ros_ws/src/clip_rl_perception",
    ROOT / "ros_ws/src/clip_rl_perception/clip_rl_perception",
    ROOT / "training",
    ROOT / "training/clip_rl_training",
)
NAMED = re.compile(r"`([\w.]+(?:/[\w.]+)+)`")


def missing(text: str) -> list[str]:
    """What a page names in code spans with a slash in them, and is nowhere."""
    return [name for name in NAMED.findall(text) if not any((place / name).exists() for place in PLACES)]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(NAMED.findall(text)) > 10
    assert missing(text) == []


def test_a_file_that_is_gone_is_seen() -> None:
    assert missing("see `scene/tracks.py`, `scene/gone.py` and `tests/nowhere`") == ["scene/gone.py", "tests/nowhere"]
