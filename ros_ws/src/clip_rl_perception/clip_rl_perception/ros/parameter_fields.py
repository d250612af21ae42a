"""ROS parameters as fields of a frozen dataclass: meaning, bounds, when they may change; checks of values. No rclpy.

`declared_parameters.py` declares such a dataclass's fields to rclpy.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Callable
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
    between: tuple[float, float] | tuple[None, None] = (None, None),
    choices: tuple[str, ...] = (),
    fault: Callable[[Any], str] | None = None,
) -> Any:
    """A dataclass field with what a parameter needs beside its name, type and default.

    Args:
        default: of the field.
        meaning: sentences for users.
        when: it may change.
        between: least and greatest possible number.
        choices: all possible values.
        fault: what else is wrong with a value, in words that follow its name and a colon; empty if nothing is.
    """
    low, high = between
    metadata = {"meaning": meaning, "when": when, "low": low, "high": high, "choices": choices, "fault": fault}
    return dataclasses.field(default=default, metadata=metadata)


at_start = functools.partial(setting, when=When.START)
unconfigured = functools.partial(setting, when=When.CONFIGURE)
live = functools.partial(setting, when=When.LIVE)


def fields_of(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    """The parameters of a dataclass of settings, by name."""
    return {field.name: field for field in dataclasses.fields(kind)}


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Raise `ParameterError` when `value` is of the wrong type, out of range, none of the choices or else wrong."""
    name, kind = field.name, type(field.default)
    low, high, choices, fault = (field.metadata[key] for key in ("low", "high", "choices", "fault"))
    if type(value) is not kind:
        hint = f"; write {value}.0" if kind is float and type(value) is int else ""
        raise ParameterError(f"{name}: {value!r} is {type(value).__name__}; expected {kind.__name__}{hint}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"{name}: {value} is not a finite number")
    if low is not None and not low <= value <= high:
        raise ParameterError(f"{name}: {value} is out of range; {low} to {high} is possible")
    if choices and value not in choices:
        raise ParameterError(f"{name}: '{value}' is none of {', '.join(choices)}")
    if fault is not None and (words := fault(value)):
        raise ParameterError(f"{name}: {words}")


def check_change(field: dataclasses.Field[Any], value: Any, *, configured: bool) -> None:
    """Raise `ParameterError` when a parameter may not become `value` now: as `check_value`, or at the wrong moment."""
    check_value(field, value)
    when = field.metadata["when"]
    if when is When.CONFIGURE and configured:
        raise ParameterError(
            f"{field.name}: can change only {when.value}; deactivate and clean up first, then configure again"
        )
    if when is When.START:
        raise ParameterError(f"{field.name}: can be set {when.value}")
