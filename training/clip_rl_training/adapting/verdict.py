"""Whether an adapted network can be trusted to be better, by what can be measured without labels."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from clip_rl_training.adapting.adapt_config import TrustConfig
from clip_rl_training.adapting.self_consistency import Consistency


@dataclasses.dataclass(frozen=True)
class Measured:
    """A network before or after."""

    real: Consistency
    """On frames held out."""
    synthetic: float
    """IoU of instruments on synthetic validation scenes."""
    tags: float | None = None
    """PQ of tags on synthetic videos; None: not measured."""


def doubts(before: Measured, after: Measured, config: TrustConfig) -> list[str]:
    """Why the adapted network is not to be trusted, a phrase each; empty: it is."""
    found = []
    gained = after.real.mirrors - before.real.mirrors
    if not gained >= config.mirrors:  # NaN too
        found.append(
            f"mirror images agree by {after.real.mirrors:.3f} IoU, before by {before.real.mirrors:.3f}, "
            f"expected {config.mirrors:g} more"
        )
    if not before.real.consistency - after.real.consistency <= config.consistency:
        found.append(
            f"from frame to frame masks agree by {after.real.consistency:.3f}, before by "
            f"{before.real.consistency:.3f}, expected at most {config.consistency:g} less"
        )
    if not before.real.teacher - after.real.teacher <= config.teacher:
        found.append(
            f"one plain look agrees with what the teacher is sure of by {after.real.teacher:.3f}, before by "
            f"{before.real.teacher:.3f}, expected at most {config.teacher:g} less"
        )
    if not 1 / config.area <= after.real.area <= config.area:
        found.append(
            f"instruments cover {after.real.area:.2f} times what the teacher is sure of, expected "
            f"{1 / config.area:.2f} to {config.area:.2f}"
        )
    if not before.synthetic - after.synthetic <= config.synthetic:
        found.append(
            f"synthetic scenes fell from {before.synthetic:.3f} to {after.synthetic:.3f} IoU, expected at most "
            f"{config.synthetic:g} less"
        )
    return found


def measured_from(data: dict[str, Any]) -> Measured:
    """Inverse of `to_data`; a number that was not finite is null there."""
    real = {name: math.nan if value is None else value for name, value in data["real"].items()}
    frames = int(real.pop("frames"))
    return Measured(Consistency(frames=frames, **real), float(data["synthetic"]), data["tags"])


def finite(value: Any) -> Any:
    """Plain data with null in place of numbers that JSON does not know."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
