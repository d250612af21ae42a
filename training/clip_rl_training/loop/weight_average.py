"""Exponential moving average of the weights, by torch's `AveragedModel`: what is validated and shipped.

``w_avg <- d w_avg + (1 - d) w`` after every step, with d growing as (1 + n) / (10 + n) until it reaches the configured
decay, so that a short run is not dragged by its first weights (Polyak & Juditsky 1992; the ramp is TensorFlow's).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage(AveragedModel):
    """Average of a module's parameters; buffers (batch norm statistics) are averaged alike, whole numbers copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        def update(averages: Any, values: Any, count: Tensor | int) -> None:
            whole = not averages[0].is_floating_point()
            ramped = 0.0 if whole else min(decay, (1 + int(count)) / (10 + int(count)))
            get_ema_multi_avg_fn(ramped)(averages, values, count)  # type: ignore[no-untyped-call]

        super().__init__(module, multi_avg_fn=update, use_buffers=True)
        self.decay = decay
        # At 0 torch would copy the weights of the first step in place of averaging them.
        self.n_averaged.fill_(1)
        kept = self.module.state_dict()
        self._constants = [name for name, _ in self.module.named_buffers() if name not in kept]

    def update_parameters(self, model: nn.Module) -> None:
        """Take one more step's weights into the average.

        What belongs to no state is no weight but a constant, such as the text tower's mask of minus infinities, whose
        average would be no number.
        """
        super().update_parameters(model)
        for name in self._constants:
            self.module.get_buffer(name).copy_(model.get_buffer(name))

    @property
    def values(self) -> dict[str, Tensor]:
        """The average by name, as the module's own state."""
        return self.module.state_dict()
