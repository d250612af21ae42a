"""Numbers that no training can take are told as mistakes in the configuration."""

from __future__ import annotations

import pytest
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.typed_config import check_number


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.betas=[2,2]", r"optimizer.betas is 2; expected from 0 to below 1"),
        ("optimizer.learning_rate=-1", r"optimizer.learning_rate is -1; expected at least 0"),
        ("optimizer.weight_decay=-1", r"optimizer.weight_decay is -1; expected at least 0"),
        ("optimizer.average=1.5", r"optimizer.average is 1.5; expected from 0 to below 1"),
        ("optimizer.average=.nan", r"optimizer.average is nan; expected"),
        ("augment.scale=[2,1]", r"augment.scale is 2 to 1; expected two numbers above 0, the smaller one first"),
        ("augment.gamma=-1", r"augment.gamma is -1; expected at least 0"),
        ("augment.flip=7", r"augment.flip is 7; expected from 0 to 1"),
        ("threads=-1", r"threads is -1; it must be at least 0"),
        ("seed=-1", r"seed is -1; it must be at least 0"),
        ("data.workers=-1", r"data.workers is -1; expected at least 0"),
        ("name=../esc", r"name is '../esc'; expected the name of a folder below"),
        ("name=..", r"name is '..'; expected the name of a folder below"),
    ],
)
def test_a_number_out_of_range_is_named(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("finetune", [change])


def test_bounds() -> None:
    check_number("x", 1.0, least=1.0, most=1.0)
    with pytest.raises(ValueError, match=r"x is 1; expected from 0 to below 1"):
        check_number("x", 1.0, least=0.0, below=1.0)
