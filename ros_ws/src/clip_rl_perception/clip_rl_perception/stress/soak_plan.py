"""What a soak is asked for, and when it kills what."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from clip_rl_perception.cli_types import CheckpointName, NaturalNumber, PositiveNumber, WidthByHeight
from clip_rl_perception.options import Option

LONG_SHARE = 0.45
"""Part of the whole time that the one long life takes, in the middle."""


@dataclasses.dataclass(frozen=True)
class SoakOptions:
    """How hard, and how long."""

    out: Annotated[Path, Option("--out", "-o")]
    """Folder for report, logs and what was noted of every frame; an earlier soak's is replaced."""
    minutes: PositiveNumber = 60.0
    """How long."""
    rate: PositiveNumber = 30.0
    """Frames a second of the camera."""
    size: WidthByHeight = (1280, 1024)
    """Of its frames; from time to time they have half of it."""
    seed: NaturalNumber = 1
    """The same seed kills at the same times and films the same."""
    model: CheckpointName = "demo"
    """Checkpoint: shipped name or path."""
    engine: str = "auto"
    """What runs it, as the node's parameter."""
    node_minutes: PositiveNumber = 3.0
    """Mean time from the node's start to its SIGKILL; one life in the middle has nearly half of it all."""
    camera_minutes: PositiveNumber = 2.0
    """The same of the camera."""
    settle_minutes: PositiveNumber = 10.0
    """How much of each life of the node is left out where the growth of its memory is judged."""

    @property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(width, height) of the usual frames and of the others."""
        width, height = self.size
        return (width, height), (max(64, width // 2), max(64, height // 2))


@dataclasses.dataclass(frozen=True)
class Life:
    """From start to SIGKILL of one process."""

    number: int
    ends_s: float
    """When it is killed, since the beginning of the soak, s."""
    pause_s: float
    """Until the next life begins, s."""
    compressed: bool
    """Which transport a node subscribes to."""
    recalls: bool
    """Whether a node lets looks at earlier frames count."""


def lives(options: SoakOptions, who: str) -> Iterator[Life]:
    """Lives of ``node`` or ``camera``, without end; a process that is slow to start has the less time to work."""
    draw = random.Random(f"soak {who} {options.seed}")
    total, place, number = options.minutes * 60, 0.0, 0
    mean = 60 * (options.node_minutes if who == "node" else options.camera_minutes)
    long = LONG_SHARE * total if who == "node" and LONG_SHARE * options.minutes > options.settle_minutes else 0.0
    while True:
        length = mean * draw.uniform(0.5, 1.5)
        if long and place + length > (total - long) / 2:
            length, long = long, 0.0
        place += length
        yield Life(number, place, draw.uniform(0.0, 3.0), compressed=number % 2 == 1, recalls=number % 4 < 2)
        number += 1
