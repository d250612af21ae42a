"""Whether instruments are called what they are, by tag and by track."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

LONG_S = 2.0
"""Tracks seen for so long are scored by themselves too, s."""
NOTHING = "(nothing)"
"""Where a tag tells no type."""


class NamedMatch(NamedTuple):
    """A tag that matches an instrument of known type."""

    track: tuple[str, int]
    """Sequence and identity."""
    stamp_s: float
    true_type: str
    told: str
    """Empty: nothing."""


def type_scores(matches: Sequence[NamedMatch], *, tracks: bool) -> dict[str, Any]:
    """Scores of tags in order of time.

    Names are compared without regard to case, hyphens and underscores. A track counts once: its last answer against the
    type that most of its matches have.

    Args:
        matches: those with a known `true_type`.
        tracks: identities mean something.

    Returns:
        Plain data: tags and, with `tracks`, tracks and long_tracks (from first to last match `LONG_S` or more), each of
        {count, right (share)}; majority (share of the commonest type), chance (one over the number of types);
        confusion, {true type: {told: tags}}. None where undefined.
    """
    confusion: dict[str, collections.Counter[str]] = {}
    by_track: dict[tuple[str, int], list[NamedMatch]] = {}
    for match in matches:
        confusion.setdefault(spoken(match.true_type), collections.Counter())[spoken(match.told) or NOTHING] += 1
        by_track.setdefault(match.track, []).append(match)
    sizes = [told.total() for told in confusion.values()]
    report: dict[str, Any] = {
        "tags": _share([spoken(match.true_type) == spoken(match.told) for match in matches]),
        "majority": max(sizes) / sum(sizes) if sizes else None,
        "chance": 1 / len(sizes) if sizes else None,
        "confusion": {true: dict(sorted(confusion[true].items())) for true in sorted(confusion)},
    }
    if tracks:
        right = {track: _is_right(seen) for track, seen in by_track.items()}
        spans = {track: seen[-1].stamp_s - seen[0].stamp_s for track, seen in by_track.items()}
        report["tracks"] = _share(list(right.values()))
        report["long_tracks"] = _share([right[track] for track, span in spans.items() if span >= LONG_S])
    return report


def spoken(name: str) -> str:
    """A name in small letters, words apart by a space."""
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())


def _is_right(seen: Sequence[NamedMatch]) -> bool:
    types = collections.Counter(spoken(match.true_type) for match in seen)
    return types.most_common(1)[0][0] == spoken(seen[-1].told)


def _share(right: Sequence[bool]) -> dict[str, Any]:
    return {"count": len(right), "right": sum(right) / len(right) if right else None}
