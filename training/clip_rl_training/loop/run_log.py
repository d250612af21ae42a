"""What a run tells while it goes on: lines, metrics.csv, loggers, validation pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes
from clip_rl_perception.picture_encoding import encode_jpeg
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from clip_rl_training.loop.loggers import open_loggers
from clip_rl_training.loop.metrics_file import MetricsFile
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.validate import COLUMNS, ValidationResult

_SHOWN = (
    "loss",
    "cross_entropy",
    "dice",
    "contrastive",
    "close_up",
    "text_similarity",
)
"""Values of a step that its line names; metrics.csv has all."""


class RunLog:
    """The first process's log, in FOLDER/metrics.csv, FOLDER/validation.jpg, the loggers' places and by `say`.

    Args:
        folder: of the run.
        config: of the run.
        after: the step behind which it goes on.
        say: gets one line at a time.
    """

    def __init__(self, folder: Path, config: TrainConfig, after: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._steps = config.steps
        self._say = say
        self._metrics = MetricsFile(folder / "metrics.csv", after=after)
        self._loggers = open_loggers(config.loggers, folder, config.name, say)

    def train(self, step: int, report: dict[str, float], *, rate: float, seconds: float) -> None:
        """After `step` steps: values of the last one, steps per second of this call, seconds since the run began."""
        self._values("train", step, report)
        shown = {name: report[name] for name in _SHOWN if name in report}
        clocks = f"{_clock(seconds)} < {_clock((self._steps - step) / rate)}"
        self._say(f"step {step}/{self._steps}  {rate:.2f} it/s  {clocks}  {spoken(shown)}")

    def validation(self, step: int, result: ValidationResult, best: str) -> None:
        """Scores and, where there are any, pictures; `best` says how this step stands among all."""
        scalars = result.scalars()
        self._values("validation", step, scalars)
        if result.pictures:
            sheet = np.concatenate([_titles(result.pictures[0].shape[1]), *result.pictures], axis=0)
            for logger in self._loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image("validation", sheet, step, dataformats="HWC")
            write_bytes(self._folder / "validation.jpg", encode_jpeg(sheet, 95))
        self._say(
            f"validation at step {step}: mIoU {scalars['miou']:.3f}, "
            f"instrument IoU {scalars['instrument_iou']:.3f}; {best}"
        )

    def close(self) -> None:
        """Write what is not written yet."""
        for logger in self._loggers:
            logger.finalize("success")

    def _values(self, kind: str, step: int, values: dict[str, float]) -> None:
        named = {f"{kind}/{name}": value for name, value in values.items()}
        self._metrics.add(step, named)
        for logger in self._loggers:
            logger.log_metrics(named, step)


def _titles(width: int) -> ByteArray:
    """A row that names the columns of the pictures below, uint8 RGB (24, `width`, 3)."""
    row = np.full((24, width, 3), 24, np.uint8)
    for place, title in enumerate(COLUMNS):
        left = place * width // len(COLUMNS) + 6
        cv2.putText(row, title, (left, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return row


def spoken(values: dict[str, float]) -> str:
    """Names and values on one line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
