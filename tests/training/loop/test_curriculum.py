"""Schedules: values between points, and what malformed data gets."""

from __future__ import annotations

from typing import Any

import pytest
from clip_rl_perception.typed_data import ConfigError, from_data
from clip_rl_training import curriculum


def test_linear_schedule_between_and_beyond_points() -> None:
    schedule = curriculum.Schedule(((0.2, 1.0), (0.6, 3.0)))
    assert [schedule.at(x) for x in (0.0, 0.2, 0.3, 0.6, 1.0)] == pytest.approx([1.0, 1.0, 1.5, 3.0, 3.0])


def test_cosine_schedule_meets_points_and_is_flat_there() -> None:
    schedule = curriculum.Schedule(((0.0, 1.0), (1.0, 0.0)), "cosine")
    assert schedule.at(0.5) == pytest.approx(0.5)
    assert schedule.at(0.25) == pytest.approx(0.8535534, rel=1e-6)
    assert 1.0 - schedule.at(0.01) < 0.001


def test_a_curriculum_scales_with_the_length_of_training() -> None:
    plan = from_data(curriculum.Curriculum, {"difficulty": [[0.0, 0], [1.0, 4]], "contrastive_weight": 0.25}, "plan")
    assert [plan.at(step, 100).difficulty for step in (0, 25, 50, 100)] == [0, 1, 2, 4]
    assert plan.at(7, 10).difficulty == plan.at(70, 100).difficulty
    assert plan.at(3, 10).contrastive_weight == 0.25
    assert plan.at(5, 10).supervised_weight == 1.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"rl": 1.0}, "plan: unknown key rl"),
        ({"augmentation": "high"}, "augmentation: expected a number or a list"),
        ({"augmentation": [[0.0, 1.0], [0.0, 2.0]]}, "augmentation: progress must rise strictly"),
        ({"augmentation": [[0.0, 1.0], [1.5, 2.0]]}, "progress must lie in 0..1"),
        ({"augmentation": [[0.0]]}, "expected [progress, value] with two numbers"),
        ({"augmentation": {"points": [[0, 1]], "shape": "square"}}, "neither linear nor cosine"),
        ({"augmentation": {"shape": "cosine"}}, "expected keys 'points' and 'shape'"),
        ({"augmentation": []}, "at least one point"),
        ({"augmentation": True}, "expected a number"),
        ([], "plan: expected a mapping"),
    ],
)
def test_malformed_curricula_are_named(data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_data(curriculum.Curriculum, data, "plan")
    assert message in str(caught.value)
