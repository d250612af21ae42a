"""Spaces of searches: ranges and choices, round trips, and what is refused in one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.loop.training_config import TrainConfig, load_config
from clip_rl_training.searching.search_config import FOLDER, load_search_config
from clip_rl_training.searching.search_space import Knob, SearchSpace
from clip_rl_training.shipped_configs import shipped_names

COUNTS = "data.scene.instrument_counts"


@pytest.fixture(scope="module")
def base() -> TrainConfig:
    return load_config("demo-distilled")


def space_of(base: TrainConfig, **knobs: Knob) -> SearchSpace:
    return SearchSpace({key.replace("__", "."): knob for key, knob in knobs.items()}, base, "s.yaml")


def test_coordinates_are_linear_or_logarithmic_and_clipped() -> None:
    linear, log = Knob(low=2.0, high=6.0), Knob(low=1e-4, high=1e-2, log=True)
    assert [linear.value(at) for at in (-3.0, 0.0, 0.25, 1.0, 1.7)] == [2.0, 2.0, 3.0, 6.0, 6.0]
    assert [log.value(at) for at in (-1.0, 0.5, 2.0)] == [1e-4, 1e-3, 1e-2]
    choice = Knob(choices=("a", "b", "c"))
    assert [choice.value(at) for at in (-1.0, 0.0, 0.34, 0.67, 1.0, 9.0)] == ["a", "a", "b", "c", "c", "c"]


@pytest.mark.parametrize("knob", [Knob(low=-1.0, high=3.0), Knob(low=1e-5, high=1.0, log=True)])
def test_values_and_coordinates_are_each_others_reverse(knob: Knob) -> None:
    for at in np.linspace(0, 1, 7):
        assert math.isclose(knob.coordinate(knob.value(float(at))), at, abs_tol=1e-5)


def test_a_point_becomes_a_configuration(base: TrainConfig) -> None:
    counts = ([0.04, 0.26, 0.45, 0.22, 0.03], [0.5, 0.5])
    space = space_of(
        base,
        data__scene__radius__1=Knob(low=0.1, high=0.3),
        optimizer__learning_rate=Knob(low=3e-5, high=3e-3, log=True),
        data__scene__instrument_counts=Knob(choices=counts),
    )
    assert space.values(space.unchanged) == {
        "data.scene.radius.1": pytest.approx(0.2),
        "optimizer.learning_rate": pytest.approx(3e-4),
        COUNTS: counts[0],
    }
    assert space.applied(space.unchanged) == base, "not even by rounding"
    changed = space.applied(np.array([1.0, 0.0, 0.75]), {"name": "other", "seed": 5})
    assert changed.data.scene.radius == (0.035, 0.3)
    assert changed.data.scene.instrument_counts == (0.5, 0.5)
    assert (changed.optimizer.learning_rate, changed.name, changed.seed) == (3e-5, "other", 5)
    assert space.applied(space.unchanged) == base, "no point leaves anything behind"
    assert np.allclose(space.point(space.values(space.unchanged)), space.unchanged)


@pytest.mark.parametrize(
    ("key", "knob", "told"),
    [
        ("data.scene.smoek", {"low": 0.0, "high": 1.0}, "space.data.scene.smoek: no such key .* did you mean smoke"),
        ("data.scene.radius", {"low": 0.0, "high": 1.0}, "no single number; name a number in it"),
        ("data.scene.radius.2", {"low": 0.0, "high": 1.0}, "is a list of 2; expected a place in it"),
        ("data.scene.smoke.0", {"low": 0.0, "high": 1.0}, "which has no parts"),
        ("data.scene.smoke", {"low": 1.0, "high": 0.0}, "low must be below high"),
        ("data.scene.smoke", {"low": 0.3, "high": 0.3}, "low must be below high"),
        ("data.scene.smoke", {"low": 0.5, "high": 1.0}, "outside 0.5 to 1.0"),
        ("data.scene.smoke", {"low": 0.0, "high": 1.0, "log": True}, "log needs low above 0"),
        ("data.scene.smoke", {"low": 0.0}, "expected low and high, or choices"),
        ("data.scene.smoke", {"low": 0.0, "high": 1.0, "choices": [0.1, 0.2]}, "not both"),
        ("data.scene.smoke", {"choices": [0.12]}, "two or more"),
        ("data.scene.smoke", {"choices": [0.3, 0.4]}, "expected one of the choices"),
        ("data.scene.smoke", {"low": 0.0, "hihg": 1.0}, "unknown key hihg"),
        ("data.scene.radius.1", {"low": 0.1, "high": 0.9}, "space.data.scene.radius.1: 0.9 is refused: .*radius"),
        ("batch", {"choices": [8, "many"]}, "space.batch: many is refused"),
    ],
)
def test_what_is_wrong_with_a_space_is_told_in_one_line(
    tmp_path: Path, key: str, knob: dict[str, Any], told: str
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "train": {"base": "demo-distilled"}, "space": {key: knob}}))
    with pytest.raises(ConfigError, match=told) as caught:
        load_search_config(str(path))
    assert "\n" not in str(caught.value) and "s.yaml" in str(caught.value)


def test_a_search_needs_a_space_and_weights_to_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    smoke = {"data.scene.smoke": {"low": 0.0, "high": 1.0}}
    for data, told in (
        ({"train": {"base": "demo-distilled"}, "space": {}}, "the space is empty"),
        ({"train": {"base": "demo"}, "space": smoke}, "needs start_from"),
        ({"train": {"base": "nowhere"}, "space": smoke}, "nowhere"),
        ({"train": {"base": "demo-distilled"}, "space": smoke, "generation": 1}, "at least 2"),
    ):
        path.write_text(yaml.safe_dump({"name": "s", **data}))
        with pytest.raises(ConfigError, match=told):
            load_search_config(str(path))


@pytest.mark.parametrize("name", shipped_names(FOLDER))
def test_shipped_searches_hold_together_at_their_corners(name: str) -> None:
    config, space = load_search_config(name)
    assert config.name == name and len(space) == len(config.space)
    for corner in (np.zeros(len(space)), np.ones(len(space))):
        train = space.applied(corner)
        assert train.loggers == () and train.validation.every == 0
