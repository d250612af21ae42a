"""A policy over the space, learned by reinforcement: the search as a bandit whose arms are trainings.

Numbers are Gaussian around a mean, choices categorical; both begin at the unchanged configuration. The gradient is
REINFORCE's (Williams 1992) with the generation's mean as baseline; Gaussian noise comes in mirrored pairs, whose
difference has less variance (Salimans et al. 2017, arXiv 1703.03864, section 2.1). As trials are dear, each generation
is learned from in a few steps, bounded by the clipped ratio of proximal policy optimisation (Schulman et al. 2017,
arXiv 1707.06347, equation 7), of each coordinate on its own since coordinates are drawn independently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from clip_rl_training.searching.search_config import SearchConfig
from clip_rl_training.searching.search_space import Point, SearchSpace

_SPREADS = (0.02, 0.5)
"""Smallest and largest standard deviation of a coordinate."""


class PolicyController:
    """See the module."""

    def __init__(self, space: SearchSpace, config: SearchConfig) -> None:
        self._config = config.policy
        self._size = config.generation
        self._numbers = [place for place, knob in enumerate(space.knobs) if not knob.choices]
        self._choices = {place: len(knob.choices) for place, knob in enumerate(space.knobs) if knob.choices}
        self._generator = torch.Generator().manual_seed(config.seed)
        self.mean = nn.Parameter(torch.tensor(space.unchanged[self._numbers], dtype=torch.float64))
        self.log_spread = nn.Parameter(torch.full_like(self.mean, math.log(config.policy.spread)))
        self.logits: list[Tensor] = []
        for place, count in self._choices.items():
            logits = torch.zeros(count, dtype=torch.float64)
            logits[int(space.unchanged[place] * count)] = config.policy.preference
            self.logits.append(nn.Parameter(logits))
        self._optimizer = torch.optim.Adam([self.mean, self.log_spread, *self.logits], config.policy.learning_rate)
        self._taken = torch.empty(0)
        self._chosen: list[Tensor] = []

    @torch.no_grad()
    def propose(self) -> list[Point]:
        """The next generation; what falls outside 0 to 1 is taken to the nearest end."""
        noise = torch.randn((self._size + 1) // 2, len(self.mean), generator=self._generator, dtype=torch.float64)
        mirrored = torch.cat([noise, -noise])[: self._size]
        self._taken = self.mean + self.log_spread.exp() * mirrored
        self._chosen = [
            torch.multinomial(logits.softmax(-1), self._size, replacement=True, generator=self._generator)
            for logits in self.logits
        ]
        points = np.zeros((self._size, len(self._numbers) + len(self._choices)))
        points[:, self._numbers] = self._taken.clamp(0.0, 1.0).numpy()
        for (place, count), chosen in zip(self._choices.items(), self._chosen, strict=True):
            points[:, place] = (chosen.numpy() + 0.5) / count
        return list(points)

    def learn(self, scores: Sequence[float]) -> None:
        """Make what was better than the generation's mean likelier."""
        rewards = torch.tensor(scores, dtype=torch.float64)
        advantages = ((rewards - rewards.mean()) / (rewards.std() + 1e-8))[:, None]
        before = self._log_probabilities().detach()
        for _ in range(self._config.epochs):
            ratio = (self._log_probabilities() - before).exp()
            bounded = ratio.clamp(1 - self._config.clip, 1 + self._config.clip)
            gain = torch.minimum(ratio * advantages, bounded * advantages).mean(0).sum()
            self._optimizer.zero_grad()
            torch.autograd.backward(-gain - self._config.entropy * self._uncertainty())
            self._optimizer.step()
            with torch.no_grad():
                self.mean.clamp_(0.0, 1.0)
                self.log_spread.clamp_(*(math.log(spread) for spread in _SPREADS))

    def _log_probabilities(self) -> Tensor:
        """Of what was taken last, (generation, coordinates): numbers, then choices."""
        # Of a Gaussian but for a constant, which no ratio knows.
        numbers = -0.5 * ((self._taken - self.mean) / self.log_spread.exp()) ** 2 - self.log_spread
        choices = [
            logits.log_softmax(-1)[chosen][:, None] for logits, chosen in zip(self.logits, self._chosen, strict=True)
        ]
        return torch.cat([numbers, *choices], dim=1)

    def _uncertainty(self) -> Tensor:
        entropies = [-(logits.softmax(-1) * logits.log_softmax(-1)).sum() for logits in self.logits]
        return self.log_spread.sum() + sum(entropies, torch.zeros((), dtype=torch.float64))
