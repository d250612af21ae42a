"""What is searched and how, as one typed dataclass read from YAML; presets lie in ``configs/searching``.

    name: search-scenes
    train: {base: demo-distilled, steps: 120, batch: 4}     # the short training: a preset and what is laid over it
    space:
      data.scene.smoke: {low: 0.0, high: 0.5}
      optimizer.learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}
      data.scene.instrument_counts: {choices: [[0.1, 0.9], [0.1, 0.4, 0.5]]}

A key of the space is a dotted one of the training configuration; a number in it is a place in a list.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from clip_rl_perception.typed_data import ConfigError, from_data

from clip_rl_training.loop.training_config import TrainConfig, config_from_data
from clip_rl_training.searching.search_space import Knob, SearchSpace
from clip_rl_training.shipped_configs import find_config
from clip_rl_training.typed_config import apply_overrides, load_layers, overlaid

FOLDER = "searching"
"""Of the shipped searches."""


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """The policy over the space and how it learns; see `policy_controller`."""

    spread: float = 0.2
    """Standard deviation of a number's coordinate before anything is learned."""
    preference: float = 1.0
    """Logit by which the configuration's own choice is ahead of others before anything is learned."""
    learning_rate: float = 0.05
    """Of Adam, for means, logarithms of spreads, and logits."""
    epochs: int = 4
    """Steps on each generation's trials."""
    clip: float = 0.2
    """Largest change of a coordinate's probability ratio that still counts."""
    entropy: float = 0.0
    """Price of certainty."""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """One search."""

    name: str
    """What reports call it."""
    train: dict[str, Any]
    """The short training: ``base`` names a preset or file, the rest is laid over it."""
    space: dict[str, Knob]
    """What is searched, by dotted key of the training configuration."""
    generation: int = 6
    """Trials that a controller proposes at a time; it learns when all of them have answered."""
    seed: int = 0
    """Of the controllers. Trainings all have the seed of `train`, hence the same random numbers."""
    again: int = 2
    """How many more seeds the unchanged configuration and the best of each controller are trained with before they are
    judged: the best of many trials is partly luck."""
    keep: int = 1
    """Of how many of each controller's best trials the weights are kept; a sum is made of these."""
    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)

    def __post_init__(self) -> None:
        if self.generation < 2 or self.again < 0 or self.keep < 1:
            raise ValueError(
                f"generation is {self.generation}, again {self.again}, keep {self.keep}; expected at least 2 trials, "
                "0 more seeds and 1 trial"
            )


def load_search_config(name_or_path: str, overrides: Sequence[str] = ()) -> tuple[SearchConfig, SearchSpace]:
    """Read a preset by name or a YAML file by path, with ``key=value`` overrides; the search and its space.

    Raises:
        ConfigError: no such preset or file, unknown keys, wrong types, a range inside out; the message says which.
    """
    find = functools.partial(find_config, folder=FOLDER, what="search")
    path = find(name_or_path)
    config = from_data(SearchConfig, apply_overrides(load_layers(path, find), overrides), path.name)
    return config, SearchSpace(config.space, _short_training(config, path.name), path.name)


def _short_training(config: SearchConfig, source: str) -> TrainConfig:
    """The training of one trial, unchanged. Raises `ConfigError` for one without weights to begin with."""
    own = dict(config.train)
    base = own.pop("base", None)
    data = overlaid(load_layers(find_config(str(base)), find_config), own) if base is not None else own
    # Trials are scored on real frames, by whoever searches; nothing else is kept of them.
    quiet = {"loggers": [], "validation": {"every": 0}}
    train = config_from_data(overlaid(data, {"name": "trial", **quiet}), f"{source}: train")
    if train.start_from is None or train.devices != 1 or train.classifier != "text":
        raise ConfigError(f"{source}: train needs start_from (weights to begin with), devices 1 and classifier text")
    return train
