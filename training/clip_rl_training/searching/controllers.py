"""Who proposes points of a space: chance, chance near the unchanged configuration, a policy, CMA-ES.

A controller proposes a generation of points and learns from the scores of all of them, so what it proposes depends on
its seed and on earlier generations alone: not on which trial ended first, nor on whether the search was interrupted.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from clip_rl_perception.errors import ClipRlError

from clip_rl_training.searching.policy_controller import PolicyController
from clip_rl_training.searching.search_config import SearchConfig
from clip_rl_training.searching.search_space import Point, SearchSpace


class Controller(Protocol):
    """Proposes points and learns what they were worth."""

    def propose(self) -> list[Point]:
        """The next generation, each (D,) from 0 to 1."""
        ...

    def learn(self, scores: Sequence[float]) -> None:
        """Take the scores of the generation proposed last, in its order; higher is better."""
        ...


class RandomController:
    """Every coordinate uniform: random search (Bergstra & Bengio 2012, JMLR 13)."""

    def __init__(self, space: SearchSpace, config: SearchConfig) -> None:
        self._shape = (config.generation, len(space))
        self._rng = np.random.default_rng([config.seed, 1])

    def propose(self) -> list[Point]:
        """The next generation."""
        return list(self._rng.random(self._shape))

    def learn(self, scores: Sequence[float]) -> None:
        """Chance learns nothing."""


class NearbyController(PolicyController):
    """The policy as it begins, which never learns: tells what learning adds to staying near the configuration."""

    def learn(self, scores: Sequence[float]) -> None:
        """Stays as it is."""


class CmaController:
    """CMA-ES (Hansen 2016, arXiv 1604.00772) from the unchanged configuration on, by the package cma."""

    def __init__(self, space: SearchSpace, config: SearchConfig) -> None:
        try:
            cma: Any = importlib.import_module("cma")
        except ImportError as error:
            raise ClipRlError("controller cma needs the package cma: pip install 'clip-rl[search]'") from error
        # Its own numbers: cma would seed and draw from numpy's common ones, which trainings draw from too.
        rng = np.random.default_rng([config.seed, 2])
        options = {
            "bounds": [0.0, 1.0],
            "popsize": config.generation,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
        }
        self._strategy = cma.CMAEvolutionStrategy(space.unchanged, config.policy.spread, options)
        self._asked: list[Point] = []

    def propose(self) -> list[Point]:
        """The next generation."""
        self._asked = [np.asarray(point, np.float64) for point in self._strategy.ask()]
        return self._asked

    def learn(self, scores: Sequence[float]) -> None:
        """One update; cma minimises."""
        self._strategy.tell(self._asked, [-score for score in scores])


CONTROLLERS: dict[str, Callable[[SearchSpace, SearchConfig], Controller]] = {
    "policy": PolicyController,
    "random": RandomController,
    "nearby": NearbyController,
    "cma": CmaController,
}
"""By name."""


def controllers_named(names: Sequence[str], space: SearchSpace, config: SearchConfig) -> dict[str, Controller]:
    """Controllers at their beginning.

    Raises:
        ClipRlError: none, an unknown one, one twice, or its package is missing.
    """
    wanted = [name.strip() for name in names if name.strip()]
    unknown = sorted(set(wanted) - set(CONTROLLERS))
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise ClipRlError(f"--controller {','.join(names)}: expected some of {', '.join(CONTROLLERS)}, none twice")
    return {name: CONTROLLERS[name](space, config) for name in wanted}
