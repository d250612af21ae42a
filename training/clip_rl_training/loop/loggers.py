"""Loggers beside metrics.csv: TensorBoard, Weights & Biases, MLflow by Lightning's classes, each where installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import one_line
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from clip_rl_training.loop.training_config import LoggerName

_PROJECT = "clip-rl"


def open_loggers(names: Sequence[LoggerName], folder: Path, run: str, say: Callable[[str], None]) -> list[Logger]:
    """Open those that can be had; one line is said of each that cannot, and the run goes on.

    Args:
        names: as in `TrainConfig.loggers`.
        folder: of the run; files go there.
        run: its name.
        say: gets the lines.
    """
    opened = []
    for name in names:
        try:
            opened.append(_open(name, folder, run))
        except Exception as error:  # whatever a service has against it: metrics.csv is written anyway
            say(f"no {name}: {one_line(error, 160)}; metrics.csv has every value")
    return opened


def _open(name: LoggerName, folder: Path, run: str) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    loggers = _lightning_loggers()
    if name == "wandb":
        logger = loggers.WandbLogger(project=_PROJECT, name=run, save_dir=str(folder))
    else:
        logger = loggers.MLFlowLogger(experiment_name=_PROJECT, run_name=run, save_dir=str(folder / "mlruns"))
    logger.log_hyperparams({"run": run})  # it connects now: what is wrong is told before training begins
    connected: Logger = logger
    return connected


def _lightning_loggers() -> Any:
    """The module with Lightning's loggers for services, of either package that has it."""
    for module in ("lightning.pytorch.loggers", "pytorch_lightning.loggers"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("lightning", "pytorch_lightning"):
                raise
    raise ModuleNotFoundError("it needs the package lightning: pip install lightning, and wandb or mlflow")
