"""What mattered in a search, on scores that are known functions of the parameters."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.searching.importance import LEAST, importances
from clip_rl_training.searching.search_space import Knob, SearchSpace
from scipy.stats import spearmanr

COUNTS = ([0.04, 0.26, 0.45, 0.22, 0.03], [0.5, 0.5])


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    knobs = {
        "data.scene.smoke": Knob(low=0.0, high=1.0),
        "data.scene.blood": Knob(low=0.0, high=1.0),
        "data.scene.instrument_counts": Knob(choices=COUNTS),
    }
    return SearchSpace(knobs, load_config("demo-distilled"), "s.yaml")


def test_correlations_tell_what_mattered_and_how_sure_that_is(space: SearchSpace) -> None:
    rng = np.random.default_rng(3)
    points = rng.random((60, 3))
    scores = 0.5 - 0.2 * points[:, 0] + 0.1 * (points[:, 2] >= 0.5) + rng.normal(0, 0.01, 60)
    found = {
        (each.key, str(each.choice)): each
        for each in importances(space, list(zip(points.tolist(), scores.tolist(), strict=True)))
    }
    smoke, blood = found["data.scene.smoke", "None"], found["data.scene.blood", "None"]
    assert smoke.correlation == pytest.approx(spearmanr(points[:, 0], scores).statistic)
    assert smoke.high < -0.5 and blood.low < 0 < blood.high
    one, other = (found["data.scene.instrument_counts", str(choice)] for choice in COUNTS)
    assert one.correlation == pytest.approx(-other.correlation) and other.low > 0.2
    for each in found.values():
        assert -1 <= each.low <= each.correlation <= each.high <= 1


def test_few_trials_and_parameters_that_never_moved_say_nothing(space: SearchSpace) -> None:
    few = [([0.1, 0.2, 0.3], 0.5)] * (LEAST - 1)
    assert importances(space, few) == []
    assert [each.correlation for each in importances(space, [*few, ([0.1, 0.2, 0.3], 0.6)])] == [0.0] * 4
