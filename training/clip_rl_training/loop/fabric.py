"""Where a run computes and in which numbers: its Lightning Fabric."""

from __future__ import annotations

from typing import Any, Literal

import lightning_fabric
import numpy as np
import torch
from clip_rl_perception.engine.graphs import default_gpu_precision
from clip_rl_perception.engine.manifest import cpu_computes_in_bf16
from lightning_fabric.strategies.ddp import DDPStrategy

from clip_rl_training.loop.training_config import TrainConfig

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def precision_here(config: TrainConfig) -> Precision:
    """The precision of a run on this machine.

    With ``auto`` half precision, where the device computes in it: a CPU that does not takes ten times as long as in
    single precision. A run that goes on elsewhere may get another one.
    """
    if config.precision != "auto":
        return config.precision
    if config.accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if default_gpu_precision() == "bf16" else "16-mixed"
    return "bf16-mixed" if cpu_computes_in_bf16() else "32-true"


def open_fabric(config: TrainConfig) -> lightning_fabric.Fabric:
    """The Fabric of a run, launched: with several devices this starts their processes."""
    strategy: Any = DDPStrategy(find_unused_parameters=True) if config.devices > 1 else "auto"
    fabric = lightning_fabric.Fabric(
        accelerator=config.accelerator, devices=config.devices, strategy=strategy, precision=precision_here(config)
    )
    fabric.launch()
    return fabric


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make what networks draw in a step, such as dropout, depend on these alone: a resumed run draws the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))
