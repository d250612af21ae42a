"""When an adapted network is to be trusted, and how far a network agrees with itself."""

from __future__ import annotations

import dataclasses
import math

import pytest
from clip_rl_perception.typed_data import to_data
from clip_rl_training.adapting.adapt_config import TrustConfig
from clip_rl_training.adapting.self_consistency import Consistency
from clip_rl_training.adapting.verdict import Measured, doubts, finite, measured_from

BEFORE = Measured(Consistency(frames=40, mirrors=0.70, consistency=0.80, teacher=0.75, area=0.9), 0.72, 0.5)
AFTER = Measured(Consistency(frames=40, mirrors=0.76, consistency=0.82, teacher=0.83, area=1.0), 0.73, 0.5)


def changed(**fields: float) -> Measured:
    synthetic = fields.pop("synthetic", AFTER.synthetic)
    return Measured(dataclasses.replace(AFTER.real, **fields), synthetic)


def test_what_gains_everywhere_is_trusted() -> None:
    assert doubts(BEFORE, AFTER, TrustConfig()) == []


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"mirrors": 0.70}, "mirror images agree by 0.700 IoU, before by 0.700"),
        ({"mirrors": 0.704}, "mirror images agree"),
        ({"consistency": 0.79}, "from frame to frame masks agree by 0.790"),
        ({"teacher": 0.75}, "one plain look agrees"),
        ({"area": 0.4}, "instruments cover 0.40 times"),
        ({"area": 1.7}, "instruments cover 1.70 times"),
        ({"synthetic": 0.67}, "synthetic scenes fell from 0.720 to 0.670"),
        ({"mirrors": math.nan}, "mirror images agree by nan"),
        ({"area": math.nan}, "instruments cover nan"),
    ],
)
def test_one_measure_that_does_not_gain_is_enough_to_doubt(worse: dict[str, float], said: str) -> None:
    [doubt] = doubts(BEFORE, changed(**worse), TrustConfig())
    assert doubt.startswith(said)


def test_a_mask_that_went_empty_is_doubted_though_it_agrees_with_itself() -> None:
    empty = changed(mirrors=math.nan, consistency=math.nan, teacher=0.0, area=0.0)
    assert len(doubts(BEFORE, empty, TrustConfig())) == 4


def test_measures_survive_json_with_numbers_that_are_none() -> None:
    unknown = Measured(dataclasses.replace(AFTER.real, consistency=math.nan), 0.7)
    found = measured_from(finite(to_data(unknown)))
    assert math.isnan(found.real.consistency)
    assert dataclasses.replace(found.real, consistency=0.82) == AFTER.real
    assert (found.synthetic, found.tags) == (0.7, None)
