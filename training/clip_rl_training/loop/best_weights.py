"""The weights of the step that validated best, kept beside those of the last step.

They lie in ``best/step-N.safetensors`` of the run's folder until the run ends and a checkpoint is made of them. A run
that is resumed finds those that its state speaks of: older ones are deleted only once a newer state is written.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import one_line
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clip_rl_training.loop.run_state import TrainError

FOLDER = "best"
"""Of a run's folder."""


@dataclasses.dataclass(frozen=True)
class Validated:
    """A step that was validated."""

    step: int
    score: float
    """mIoU."""
    images: int
    """Shown until then, to all processes together."""
    seconds: float
    """Trained until then."""


class BestWeights:
    """Keeps the best of what it is offered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.found: Validated | None = None

    def offer(self, validated: Validated, network: nn.Module) -> bool:
        """Keep the weights of `network` if they validated better than those kept; whether they did.

        Raises:
            TrainError: they cannot be written.
        """
        if math.isnan(validated.score) or (self.found is not None and validated.score <= self.found.score):
            return False
        write_weights(self._path(validated.step), network)
        self.found = validated
        return True

    def kept(self) -> bool:
        """Whether the weights are there; of a finished run only the checkpoint made of them is."""
        return self.found is not None and self._path(self.found.step).is_file()

    def weights(self) -> dict[str, Tensor]:
        """What was kept. Raises `TrainError` where the file is gone or damaged."""
        assert self.found is not None
        try:
            return load_file(self._path(self.found.step))
        except Exception as error:  # safetensors has errors of its own
            raise TrainError(
                f"the best weights cannot be read: {one_line(error, 200)}; delete {self.folder}"
            ) from error

    def forget_others(self) -> None:
        """Delete the weights of other steps than the best one."""
        for path in self.folder.glob("step-*.safetensors"):
            if self.found is None or path != self._path(self.found.step):
                path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete all weights: a checkpoint was made of them."""
        for path in self.folder.glob("step-*.safetensors"):
            path.unlink(missing_ok=True)

    def state(self) -> dict[str, Any] | None:
        """Plain values for the run's state."""
        return dataclasses.asdict(self.found) if self.found else None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from `state`."""
        self.found = Validated(**state) if state else None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}.safetensors"


def write_weights(path: Path, module: nn.Module) -> None:
    """A module's weights as safetensors, written aside and renamed.

    Raises:
        TrainError: the disk refuses; what was there is untouched.
    """
    aside = path.with_name(f".{path.name}.part")
    kept = {name: value.contiguous() for name, value in module.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(kept, aside)
        aside.replace(path)
    except Exception as error:  # safetensors reports a full disk by an error of its own
        aside.unlink(missing_ok=True)
        raise TrainError(f"cannot write {path}: {one_line(error, 200)}; free space and --resume") from error
