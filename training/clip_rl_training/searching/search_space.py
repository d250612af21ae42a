"""The space of a search: numbers and choices of a training configuration, each one coordinate from 0 to 1.

A point is float64 (D,) in the order of the knobs. A range is linear or logarithmic in its coordinate; choices are equal
parts of it. The configuration's own values are a point too: every gain is measured against that one.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from clip_rl_perception.typed_data import ConfigError, to_data

from clip_rl_training.loop.training_config import TrainConfig, config_from_data

Point = npt.NDArray[np.float64]
"""(D,), each 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Knob:
    """One field of the training configuration that is searched: a range of numbers, or choices."""

    low: float | None = None
    """Smallest value."""
    high: float | None = None
    """Largest value."""
    log: bool = False
    """Equal steps are equal factors; needs `low` above 0."""
    choices: tuple[Any, ...] = ()
    """Values of any type in place of a range."""

    def __post_init__(self) -> None:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("expected choices, or low and high, not both")
            if len(self.choices) < 2 or any(self.choices.count(choice) > 1 for choice in self.choices):
                raise ValueError(f"choices are {list(self.choices)}; expected two or more, none twice")
            return
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"the range is {self.low} to {self.high}; low must be below high, and both finite")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, got {self.low}")

    def value(self, coordinate: float) -> Any:
        """The value at a coordinate; what lies outside 0 to 1 is taken to the nearest end."""
        place = min(1.0, max(0.0, coordinate))
        if self.choices:
            return self.choices[min(len(self.choices) - 1, int(place * len(self.choices)))]
        low, high = self._ends()
        value = low + place * (high - low)
        return _rounded(min(high, max(low, value)) if not self.log else math.exp(value))

    def coordinate(self, value: Any) -> float:
        """The coordinate of a value; of a choice the middle of its part.

        Raises:
            ValueError: the value is none of the choices, or lies outside the range.
        """
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"is {value}; expected one of the choices {list(self.choices)}")
            return (self.choices.index(value) + 0.5) / len(self.choices)
        assert self.low is not None and self.high is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"is {value}, which is no single number; name a number in it, or give choices")
        if not self.low <= value <= self.high:
            raise ValueError(f"is {value}, outside {self.low} to {self.high}; the search must hold what it begins with")
        low, high = self._ends()
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def _ends(self) -> tuple[float, float]:
        assert self.low is not None and self.high is not None
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)


class SearchSpace:
    """Knobs by dotted key, over a training configuration."""

    def __init__(self, knobs: Mapping[str, Knob], base: TrainConfig, source: str) -> None:
        """Bind the knobs to the configuration, whose values must lie among them.

        Args:
            knobs: by dotted key; numbers in it are places in a list: ``data.scene.radius.1``.
            base: the configuration as it is.
            source: what errors begin with.

        Raises:
            ConfigError: no knobs, no such key, a value outside its knob, a value that the configuration refuses.
        """
        if not knobs:
            raise ConfigError(f"{source}: the space is empty; name a key and its range under 'space'")
        self.keys = tuple(knobs)
        self.knobs = tuple(knobs.values())
        self._data = to_data(base)
        self._source = source
        own = []
        for key, knob in knobs.items():
            value = _at(self._data, key, source)
            try:
                own.append(knob.coordinate(value))
            except ValueError as error:
                raise ConfigError(f"{source}: space.{key}: the value of the configuration {error}") from error
        self.unchanged: Point = np.array(own)
        """The configuration's own values."""
        for place, (key, knob) in enumerate(knobs.items()):
            count = len(knob.choices)
            for coordinate in ((index + 0.5) / count for index in range(count)) if count else (0.0, 1.0):
                point = self.unchanged.copy()
                point[place] = coordinate
                try:
                    self.applied(point)
                except ConfigError as error:
                    raise ConfigError(f"{source}: space.{key}: {knob.value(coordinate)} is refused: {error}") from error

    def __len__(self) -> int:
        return len(self.keys)

    def values(self, point: Point) -> dict[str, Any]:
        """Values by key."""
        return {key: knob.value(float(at)) for key, knob, at in zip(self.keys, self.knobs, point, strict=True)}

    def point(self, values: Mapping[str, Any]) -> Point:
        """The point of values by key. Raises `ValueError` for one outside its knob, `KeyError` for one missing."""
        return np.array([knob.coordinate(values[key]) for key, knob in zip(self.keys, self.knobs, strict=True)])

    def applied(self, point: Point, changes: Mapping[str, Any] | None = None) -> TrainConfig:
        """The configuration with a point's values, and with `changes` by dotted key.

        Raises:
            ConfigError: the values do not go together.
        """
        data = to_data(config_from_data(self._data, self._source))  # a copy, of which lists may be changed
        moved = [place for place in range(len(self)) if point[place] != self.unchanged[place]]
        values = self.values(point)
        for key in (self.keys[place] for place in moved):
            _put(data, key, values[key])
        for key, value in (changes or {}).items():
            _put(data, key, value)
        return config_from_data(data, self._source)


def _rounded(value: float) -> float:
    """Six significant digits: what is written into a configuration is what was tried."""
    return float(f"{value:.6g}")


def _at(data: Any, key: str, source: str) -> Any:
    for depth, part in enumerate(key.split(".")):
        above = ".".join(key.split(".")[:depth])
        if isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        elif isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list):
            raise ConfigError(
                f"{source}: space.{key}: '{above}' is a list of {len(data)}; expected a place in it, from 0, for "
                f"example {above}.0"
            )
        elif isinstance(data, dict):
            close = difflib.get_close_matches(part, data, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(
                f"{source}: space.{key}: no such key of a training configuration; {hint}"
                f"{f'in {above} ' if above else ''}there are: {', '.join(data)}"
            )
        else:
            raise ConfigError(f"{source}: space.{key}: '{above}' is {data}, which has no parts")
    return data


def _put(data: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        data = data[int(part)] if isinstance(data, list) else data[part]
    data[int(last) if isinstance(data, list) else last] = value
