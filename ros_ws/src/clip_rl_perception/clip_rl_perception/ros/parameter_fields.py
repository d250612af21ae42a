"""ROS parameters as fields of a dataclass: meaning, bounds, and when they may change. No rclpy here."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from clip_rl_perception.errors import ClipRlError


class ParameterError(ClipRlError, ValueError):
    """A parameter's value cannot be used; the message is one line that names it, its value and what is possible."""


class When(enum.Enum):
    """When a parameter may change."""

    START = "at start only"
    CONFIGURE = "while the node is unconfigured"
    LIVE = "at any time, from the next frame on"


def setting(
    default: Any,
    meaning: str,
    *,
    when: When,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with what rclpy's descriptor needs; `meaning` is the descriptor's description."""
    metadata = {"meaning": meaning, "when": when, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)
