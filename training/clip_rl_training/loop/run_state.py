"""The resumable state of a run: written aside, then renamed, so that the last good one survives whatever happens.

Reading runs no code: the file holds tensors and plain values only (torch's ``weights_only``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from clip_rl_perception.errors import ClipRlError, one_line


class TrainError(ClipRlError):
    """Training cannot go on; the message says why, what is kept and what to do."""


class DivergedError(TrainError):
    """Loss or gradient is not finite."""


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that `path` holds either the old or the new one, never a part.

    Raises:
        TrainError: the disk refuses; the old state is untouched and the partial file removed.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except (OSError, RuntimeError) as error:
        # torch's zip writer reports a full disk as RuntimeError.
        aside.unlink(missing_ok=True)
        kept = "no earlier state exists; free space, and begin again"
        if path.is_file():
            kept = f"the state of step {_step_of(path)} is kept; free space and --resume"
        raise TrainError(f"cannot write {path}: {one_line(error, 200)}; {kept}") from error


def read_state(path: Path) -> dict[str, Any]:
    """Read a state.

    Raises:
        TrainError: missing or damaged; says which.
    """
    if not path.is_file():
        raise TrainError(f"nothing to resume: {path} does not exist; start without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainError(f"{path} is damaged ({one_line(error, 120)}); remove it, or begin another run") from error
    if not isinstance(state, dict) or "step" not in state:
        raise TrainError(f"{path} is not a training state; remove it, or begin another run")
    return state


def _step_of(path: Path) -> str:
    try:
        return str(read_state(path)["step"])
    except TrainError:
        return "?"
