"""What a run has to keep to be one run: classes, training frames, the seed of their order; kept in its state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.labels import LabelSpace

from clip_rl_training.data.dataset_stills import DatasetStills
from clip_rl_training.data.samples import TRAINING, Stills
from clip_rl_training.loop.run_state import TrainError


def task_of(spaces: Mapping[str, LabelSpace], stills: Stills, seed: int) -> dict[str, Any]:
    """Plain values by name; frames of a data set as a hash of their names, wherever it lies."""
    items = stills.parts[TRAINING].items if isinstance(stills, DatasetStills) else ()
    frames = "\n".join(f"{item.sequence}/{item.image.name}" for item in items)
    return {
        "classes": {name: list(space.names) for name, space in spaces.items()},
        "frames": hashlib.sha256(frames.encode()).hexdigest() if items else "",
        "seed": seed,
    }


def check_task(state: Mapping[str, Any], task: Mapping[str, Any], *, steps: int, folder: Path) -> None:
    """Raise `TrainError` where a state is another task's, or of a later step than is asked for.

    States of before this was noted go on as they did.
    """
    held = state.get("task", task)
    if other := [name for name, value in task.items() if held.get(name) != value]:
        raise TrainError(
            f"{folder} holds a run with other {' and '.join(other)}, which its state and card would go on with; name "
            "another folder (clip-rl train: --set name=NAME)"
        )
    if int(state["step"]) > steps:
        raise TrainError(
            f"{folder} holds a run at step {state['step']}, beyond the {steps} steps asked for; ask for more"
        )
