"""What a run tells while it goes on: lines, TensorBoard curves, validation pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from clip_rl_training.loop.validate import ValidationResult

_SHOWN = (
    "loss",
    "cross_entropy",
    "dice",
    "contrastive",
    "close_up",
    "text_similarity",
    "refiner/reward",
    "refiner/entropy",
    "refiner/edited",
)
"""Values of a step that its line names; TensorBoard gets all."""


class RunLog:
    """The first process's log, in FOLDER/tensorboard, FOLDER/validation.jpg and by `say`.

    Args:
        folder: of the run.
        steps: of the whole run.
        say: gets one line at a time.
    """

    def __init__(self, folder: Path, steps: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._steps = steps
        self._say = say
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def train(self, step: int, report: dict[str, float], *, rate: float, seconds: float) -> None:
        """After `step` steps: values of the last one, steps per second of this call, seconds since the run began."""
        for name, value in report.items():
            self._writer.add_scalar(f"train/{name}", value, step)
        shown = {name: report[name] for name in _SHOWN if name in report}
        clocks = f"{_clock(seconds)} < {_clock((self._steps - step) / rate)}"
        self._say(f"step {step}/{self._steps}  {rate:.2f} it/s  {clocks}  {spoken(shown)}")

    def validation(self, step: int, result: ValidationResult) -> None:
        """Scores and, where there are any, pictures."""
        scalars = result.scalars()
        for name, value in scalars.items():
            self._writer.add_scalar(f"validation/{name}", value, step)
        if result.pictures:
            sheet = np.concatenate(result.pictures, axis=0)
            self._writer.add_image("validation", sheet, step, dataformats="HWC")
            cv2.imwrite(str(self._folder / "validation.jpg"), sheet[..., ::-1])
        self._say(
            f"validation at step {step}: mIoU {scalars['unrefined/miou']:.3f} unrefined, "
            f"{scalars['refined/miou']:.3f} refined; instrument IoU {scalars['unrefined/instrument_iou']:.3f}, "
            f"{scalars['refined/instrument_iou']:.3f}; {scalars['refine_steps']:.1f} steps"
        )

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()


def spoken(values: dict[str, float]) -> str:
    """Names and values on one line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
