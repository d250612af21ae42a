"""The curriculum: everything that changes over a training, written as data and evaluated at each step.

A schedule is a list of points ``[progress, value]``; progress is the step divided by the training's length, 0 to 1, so
one curriculum serves a short run and a long one. Between points the value moves on a straight line, or on half a cosine
wave where the schedule says so; before the first and after the last point it stays. In YAML::

    curriculum:
      contrastive_weight: [[0.3, 0.0], [0.5, 1.0]]
      learning_rate: {shape: cosine, points: [[0.0, 0.0], [0.05, 1.0], [1.0, 0.0]]}
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from clip_rl_perception.errors import ClipRlError
from pydantic import PlainValidator


class CurriculumError(ClipRlError, ValueError):
    """A schedule is not usable; the message names it and says what was expected."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A piecewise function of progress."""

    points: tuple[tuple[float, float], ...]
    """(progress, value), progress rising strictly, at least one point."""
    shape: str = "linear"
    """``linear`` or ``cosine``: the way from one point to the next."""

    def __post_init__(self) -> None:
        if self.shape not in ("linear", "cosine"):
            raise CurriculumError(f"shape '{self.shape}' is neither linear nor cosine")
        if not self.points:
            raise CurriculumError("a schedule needs at least one point [progress, value]")
        for progress, value in self.points:
            if not 0.0 <= progress <= 1.0 or not math.isfinite(value):
                raise CurriculumError(f"point [{progress}, {value}]: progress must lie in 0..1 and the value be finite")
        for (earlier, _), (later, _) in zip(self.points[:-1], self.points[1:], strict=True):
            if later <= earlier:
                raise CurriculumError(f"progress must rise strictly, but {later} follows {earlier}")

    def at(self, progress: float) -> float:
        """Value at `progress`."""
        if progress <= self.points[0][0]:
            return self.points[0][1]
        for (x0, y0), (x1, y1) in zip(self.points[:-1], self.points[1:], strict=True):
            if progress <= x1:
                share = (progress - x0) / (x1 - x0)
                if self.shape == "cosine":
                    share = 0.5 - 0.5 * math.cos(math.pi * share)
                return y0 + share * (y1 - y0)
        return self.points[-1][1]


OFF = Schedule(((0.0, 0.0),))
"""Stays at 0."""
FULL = Schedule(((0.0, 1.0),))
"""Stays at 1."""


def schedule_from_data(data: Any) -> Schedule:
    """Build a schedule from a number, a list of points or a mapping with ``points`` and ``shape``.

    Raises:
        CurriculumError: says what was expected.
    """
    shape: Any = "linear"
    if isinstance(data, dict):
        unknown = sorted(set(data) - {"points", "shape"})
        if unknown or "points" not in data:
            raise CurriculumError(f"expected keys 'points' and 'shape', got {sorted(data)}")
        data, shape = data["points"], data.get("shape", "linear")
    if isinstance(data, int | float) and not isinstance(data, bool):
        data = [[0.0, data]]
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise CurriculumError(f"expected a number or a list of [progress, value], got {data!r}")
    points = []
    for point in data:
        if (
            not isinstance(point, Sequence)
            or len(point) != 2
            or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in point)
        ):
            raise CurriculumError(f"expected [progress, value] with two numbers, got {point!r}")
        points.append((float(point[0]), float(point[1])))
    return Schedule(tuple(points), str(shape))


Given = Annotated[Schedule, PlainValidator(schedule_from_data)]
"""A schedule in any of its forms."""


class CurriculumPoint(NamedTuple):
    """What holds at one step of the training."""

    learning_rate: float
    """Factor on the optimiser's learning rate."""
    contrastive_weight: float
    """Weight of the image-caption loss."""
    supervised_weight: float
    """Weight of cross-entropy, Dice, IoU and Lovasz losses together."""
    augmentation: float
    """Severity, 0..1, of photometric and geometric augmentation of the images."""
    resolution: float
    """Factor on the network's input size, rounded to multiples of 32: small images early cost less."""
    difficulty: float
    """Which scenes are shown, 0..1: at 0 the easiest of a few candidates for every sample, at 1 all as they come."""
    close_up_steps: float
    """Share of the steps whose batch is close-ups alone, see `DataConfig.close_up_batch`: at 1 a stage of its own."""


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """One schedule per quantity; `CurriculumPoint` says what each means."""

    learning_rate: Given = Schedule(((0.0, 0.02), (0.04, 1.0), (1.0, 0.01)), "cosine")
    contrastive_weight: Given = OFF
    supervised_weight: Given = FULL
    augmentation: Given = FULL
    resolution: Given = FULL
    difficulty: Given = FULL
    close_up_steps: Given = OFF

    def at(self, step: int, total: int) -> CurriculumPoint:
        """Values at `step` of `total` steps."""
        progress = min(1.0, max(0.0, step / max(1, total)))
        return CurriculumPoint(**{name: getattr(self, name).at(progress) for name in CurriculumPoint._fields})
