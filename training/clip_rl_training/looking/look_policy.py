"""The policy that chooses the next look: one small network that scores each look by its state, and a critic."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LookPolicy(nn.Module):
    """Scores of looks and the value of a state; the same weights for every look, whose state says which it is."""

    mean: Tensor
    spread: Tensor

    def __init__(self, features: int, *, head_start: float = 2.0, hidden: int = 32, dropout: float = 0.1) -> None:
        """`head_start`: logit by which it prefers the fixed turn: untrained it is the best schedule known."""
        super().__init__()
        self.head_start = head_start
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.body = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.score, self.value = nn.Linear(hidden, 1), nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def normalise(self, states: Tensor) -> None:
        """Take mean and spread of features from states (..., features)."""
        flat = states.flatten(0, -2)
        self.mean.copy_(flat.mean(0))
        self.spread.copy_(flat.std(0) + 0.05)

    def forward(self, states: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (..., looks) and values (...) of states (..., looks, features).

        Args:
            states: as of `LookingEnv.see`.
            turn: 1 for the look of the fixed turn, (..., looks).
        """
        hidden = self.body(((states - self.mean) / self.spread).clamp(-3, 3))
        return self.score(hidden)[..., 0] + self.head_start * turn, self.value(hidden.mean(-2))[..., 0]
