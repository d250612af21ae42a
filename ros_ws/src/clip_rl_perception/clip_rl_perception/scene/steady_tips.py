"""Tips of a track that do not jump: what a frame is unsure of is drawn towards where the track had it.

A tip is a mean of what frames said, each weighing the square of its confidence, halved every `half_life_s`; what went
before weighs `most_before` at most. So a tip that stands out is where the frame shows it (confidence 0.9: nine tenths
of the way), and one that is guessed moves slowly. Chosen with ten synthetic videos (docs/results/tags.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from clip_rl_perception.scene.types import Instrument


@dataclasses.dataclass(frozen=True)
class SteadyConfig:
    """How much what went before counts."""

    half_life_s: float = 0.125
    """Time after which what was said counts half, s."""
    most_before: float = 0.1
    """Weight of all that went before, at most; that of a frame is the square of its confidence. 0: nothing counts."""


@dataclasses.dataclass(frozen=True)
class RememberedTip:
    """Where a track has a tip."""

    x: float
    """px."""
    y: float
    """px."""
    weight: float
    """Of all that was said of it."""


def steady_tips(
    instrument: Instrument, before: Sequence[RememberedTip], seconds: float, config: SteadyConfig
) -> tuple[Instrument, tuple[RememberedTip, ...]]:
    """Draw the keypoints of the tips towards the nearest ones of before, each of which serves one.

    Args:
        instrument: as seen in this frame; its `tip` stays as it is.
        before: tips of its track.
        seconds: since those were seen.
        config: how much they count.

    Returns:
        The instrument, and what to remember of its tips.
    """
    left = [*before]
    points, remembered = [], []
    for point in instrument.keypoints:
        if point.name.startswith("tip"):
            x, y, weight = point.x, point.y, max(point.confidence, 1e-3) ** 2
            if left:
                nearest = min(left, key=lambda tip: math.hypot(tip.x - point.x, tip.y - point.y))
                left.remove(nearest)
                old = min(nearest.weight * 0.5 ** (seconds / config.half_life_s), config.most_before)
                x, y = (
                    (old * was + weight * now) / (old + weight)
                    for was, now in ((nearest.x, point.x), (nearest.y, point.y))
                )
                weight += old
            point = dataclasses.replace(point, x=x, y=y)
            remembered.append(RememberedTip(x, y, weight))
        points.append(point)
    return dataclasses.replace(instrument, keypoints=tuple(points)), tuple(remembered)
