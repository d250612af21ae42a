"""Controllers on a function whose best point is known."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from clip_rl_perception.errors import ClipRlError
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.searching.controllers import CONTROLLERS, Controller, controllers_named
from clip_rl_training.searching.policy_controller import PolicyController
from clip_rl_training.searching.search_config import PolicyConfig, SearchConfig
from clip_rl_training.searching.search_space import Knob, Point, SearchSpace

KEYS = ("smoke", "blood", "defocus", "motion_blur", "drapes", "phantoms", "thread", "occlusion")
COUNTS = ([0.04, 0.26, 0.45, 0.22, 0.03], [0.5, 0.5], [1.0, 1.0, 1.0])
GENERATIONS = 8


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    knobs = {f"data.scene.{key}": Knob(low=0.0, high=1.0) for key in KEYS}
    knobs["data.scene.instrument_counts"] = Knob(choices=COUNTS)
    return SearchSpace(knobs, load_config("demo-distilled"), "s.yaml")


def search_config(**changes: object) -> SearchConfig:
    return dataclasses.replace(SearchConfig("s", {}, {}, generation=6), **changes)  # type: ignore[arg-type]


def goal(space: SearchSpace) -> Point:
    """Some way off the unchanged numbers, all in one direction."""
    return space.unchanged[:-1] + 0.3


def worth(space: SearchSpace, point: Point) -> float:
    """Best where all numbers are at the goal, with the last of three choices."""
    return -float(((point[:-1] - goal(space)) ** 2).mean()) + 0.1 * float(point[-1] >= 2 / 3)


def played(
    controller: Controller, space: SearchSpace, generations: int, *, seed: int = 0
) -> tuple[list[list[Point]], list[float]]:
    """Proposals, and the mean worth of each generation; what a controller is told is noisy."""
    rng = np.random.default_rng(seed)
    proposals, means = [], []
    for _ in range(generations):
        points = controller.propose()
        scores = [worth(space, point) for point in points]
        controller.learn([score + rng.normal(0, 0.01) for score in scores])
        proposals.append(points)
        means.append(float(np.mean(scores)))
    return proposals, means


@pytest.mark.parametrize("name", [name for name in CONTROLLERS if name != "cma"])
def test_proposals_lie_in_the_space_and_follow_from_the_seed(name: str, space: SearchSpace) -> None:
    first, _ = played(CONTROLLERS[name](space, search_config(seed=4)), space, 3)
    again, _ = played(CONTROLLERS[name](space, search_config(seed=4)), space, 3)
    other, _ = played(CONTROLLERS[name](space, search_config(seed=5)), space, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.min(first) >= 0 and np.max(first) <= 1 and np.shape(first) == (3, 6, len(space))


def test_the_policy_gets_better_than_its_start_and_than_chance(space: SearchSpace) -> None:
    gains = {name: [] for name in ("policy", "nearby", "random")}
    for seed in range(5):
        for name, found in gains.items():
            _, means = played(CONTROLLERS[name](space, search_config(seed=seed)), space, GENERATIONS, seed=seed)
            found.append(means[-1] - worth(space, space.unchanged))
    assert min(gains["policy"]) > 0
    assert np.mean(gains["policy"]) > np.mean(gains["nearby"]) + 0.05
    assert np.mean(gains["policy"]) > np.mean(gains["random"]) + 0.05


def test_the_policy_learns_numbers_and_choices(space: SearchSpace) -> None:
    policy = PolicyController(space, search_config(policy=PolicyConfig(learning_rate=0.1)))
    start = np.abs(policy.mean.detach().numpy() - goal(space)).mean()
    liked = policy.logits[0].softmax(-1)[2].item()
    played(policy, space, 15)
    assert np.abs(policy.mean.detach().numpy() - goal(space)).mean() < 0.7 * start
    assert policy.logits[0].softmax(-1)[2].item() > liked + 0.2


def test_numbers_of_the_policy_come_in_mirrored_pairs(space: SearchSpace) -> None:
    policy = PolicyController(space, search_config(policy=PolicyConfig(spread=0.01), generation=4))
    points = np.array(policy.propose())[:, :-1]
    assert np.allclose(points[0] + points[2], 2 * space.unchanged[:-1])
    assert np.allclose(points[1] + points[3], 2 * space.unchanged[:-1])
    assert np.abs(points - space.unchanged[:-1]).max() < 0.05


def test_equal_scores_move_no_number(space: SearchSpace) -> None:
    policy = PolicyController(space, search_config())
    policy.propose()
    policy.learn([0.5] * 6)
    assert np.allclose(policy.mean.detach().numpy(), space.unchanged[:-1])


def test_cma_follows_from_its_seed_whatever_else_draws(space: SearchSpace) -> None:
    pytest.importorskip("cma", reason="the extra `search` is not installed")
    np.random.seed(1)  # noqa: NPY002
    first, means = played(CONTROLLERS["cma"](space, search_config(seed=4)), space, GENERATIONS)
    np.random.seed(2)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again, _ = played(CONTROLLERS["cma"](space, search_config(seed=4)), space, GENERATIONS)
    assert np.array_equal(first, again)
    assert np.array_equal(before, np.random.get_state()[1]), "trainings draw from it too"  # noqa: NPY002
    assert np.min(first) >= 0 and np.max(first) <= 1 and means[-1] > means[0]


def test_a_missing_package_is_named(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ClipRlError, match=r"needs the package cma: pip install 'clip-rl\[search\]'"):
        controllers_named(["cma"], space, search_config())


@pytest.mark.parametrize("names", [[], [""], ["policy", "policy"], ["grid"]])
def test_controllers_that_are_not_there_are_refused(names: list[str], space: SearchSpace) -> None:
    with pytest.raises(ClipRlError, match="expected some of policy, random, nearby, cma, none twice"):
        controllers_named(names, space, search_config())
