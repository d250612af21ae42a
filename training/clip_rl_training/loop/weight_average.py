"""Exponential moving average of the weights: what is validated and shipped.

``w_avg <- d w_avg + (1 - d) w`` after every step, with d growing as (1 + n) / (10 + n) until it reaches the configured
decay, so that a short run is not dragged by its first weights (Polyak & Juditsky 1992; the ramp is TensorFlow's).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of a module's parameters; buffers (batch norm statistics) are averaged alike, whole numbers copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def to(self, device: torch.device) -> None:
        """Move the average to `device`."""
        self.values = {name: value.to(device) for name, value in self.values.items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step of `module` into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in module.state_dict().items():
            average = self.values[name]
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1.0 - decay)
            else:
                average.copy_(value)

    @contextmanager
    def swapped_into(self, module: nn.Module) -> Iterator[None]:
        """Within the context `module` holds the average; afterwards its own weights again, bit for bit."""
        own = copy.deepcopy(module.state_dict())
        module.load_state_dict(self.values)
        try:
            yield
        finally:
            module.load_state_dict(own)
