"""A training run's folder in place of its checkpoint, so that what training says it wrote can be handed on."""

from __future__ import annotations

from pathlib import Path

from clip_rl_perception.folder_files import below
from clip_rl_perception.model.checkpoint_files import CheckpointError

STATE = "state.pt"
PLACES = ("best/model", "best", "model", "last")
"""Where a run keeps its checkpoints, the one that is taken first: best by validation, then the last."""


def checkpoint_in(folder: Path) -> tuple[Path, str]:
    """The safetensors file that a folder stands for, and a line that says which one was taken.

    Raises:
        CheckpointError: there is none, or several; says what to do.
    """
    for name in PLACES:
        weights = folder / f"{name}.safetensors"
        if weights.is_file():
            best = ", the best by validation" if name.startswith("best") else ""
            return weights, f"{folder}: its checkpoint {weights.relative_to(folder)} is taken{best}"
    found = [file for file in below(folder, "*.safetensors") if file.with_suffix(".json").is_file()]
    if len(found) == 1:
        return found[0], f"{folder}: its checkpoint {found[0].name} is taken, the only one"
    if found:
        raise CheckpointError(f"{folder} holds several checkpoints; name one: {', '.join(map(str, found[:5]))}")
    if (folder / STATE).is_file():
        raise CheckpointError(unfinished(folder / STATE))
    raise CheckpointError(f"{folder}: no checkpoint in this folder; expected a run's, with model.safetensors")


def unfinished(state: Path) -> str:
    """Why a run's state is no checkpoint, and how it becomes one."""
    config = state.with_name("config.yaml")
    return (
        f"{state} is what a run goes on from: it has no calibration and no classes. Finish the run, which writes a "
        f"checkpoint: clip-rl train --config {config} --resume; to begin another one with its weights: --set "
        f"start_from={state}"
    )
