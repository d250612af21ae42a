"""The journal of a search: one line of JSON for each finished trial; written whole, so never half a line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.typed_data import from_data

UNCHANGED = "unchanged"
"""Who proposed trial 0: the configuration as it is."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One line."""

    controller: str
    """Who proposed it."""
    number: int
    """Its place among the controller's, from 1; 0: unchanged."""
    seed: int
    """Of the training."""
    point: tuple[float, ...]
    """Coordinates, 0 to 1."""
    values: dict[str, Any]
    """Values by key of the space."""
    scores: tuple[float, ...]
    """Instrument IoU of each set of frames that it was asked for; empty where the training diverged."""
    seconds: float
    """What it took."""
    problem: str = ""
    """Why there are no scores."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return trial_name(self.controller, self.number)


def trial_name(controller: str, number: int) -> str:
    """Name of a trial and its folder."""
    return f"{controller}-{number:03d}"


class Journal:
    """Trials on disk."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            ClipRlError: a line that is no trial; names it.
        """
        self.path = path
        self.trials: list[Trial] = []
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        except (OSError, ValueError) as error:
            raise ClipRlError(f"cannot read {path}: {one_line(error)}") from error
        for number, line in enumerate(lines, start=1):
            try:
                self.trials.append(from_data(Trial, json.loads(line), f"{path}:{number}"))
            except ValueError as error:
                raise ClipRlError(
                    f"{path}: line {number} is damaged; delete it, and the same command does that trial again"
                ) from error

    def add(self, trial: Trial) -> None:
        """Write one more line.

        Raises:
            ClipRlError: the disk refuses; the lines before are kept.
        """
        lines = [json.dumps(dataclasses.asdict(each), allow_nan=False) for each in (*self.trials, trial)]
        write_text(self.path, "".join(f"{line}\n" for line in lines))
        self.trials.append(trial)

    def find(self, controller: str, number: int, seed: int) -> Trial | None:
        """The trial of that name and seed, if it is finished."""
        return next(
            (
                trial
                for trial in self.trials
                if (trial.controller, trial.number, trial.seed) == (controller, number, seed)
            ),
            None,
        )
