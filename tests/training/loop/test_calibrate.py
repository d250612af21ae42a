"""Temperature and novelty against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clip_rl_training.loop.calibrate import fit_temperature, novelty_statistics


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    true = (2.0 * torch.randn(40000, 4, generator=generator)).log_softmax(1)
    labels = torch.multinomial(true.exp(), 1, generator=generator)[:, 0]
    assert fit_temperature(true * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_novelty_limit_holds_the_asked_share_of_known_frames() -> None:
    rng = np.random.default_rng(0)
    known = (rng.normal(0.0, 1.0, (4000, 16)) * np.linspace(0.1, 2.0, 16) + 3.0).astype(np.float32)
    mean, std, limit = novelty_statistics(known, 0.99)
    assert mean == pytest.approx(np.full(16, 3.0), abs=0.2)
    assert std == pytest.approx(np.linspace(0.1, 2.0, 16), rel=0.1)
    distances = np.sqrt((((known - mean) / std) ** 2).mean(1))
    assert (distances > limit).mean() == pytest.approx(0.01, abs=0.002)
    assert np.sqrt((((known + 5.0 - mean) / std) ** 2).mean(1)).min() > limit


def test_constant_components_do_not_divide_by_zero() -> None:
    _, std, limit = novelty_statistics(np.ones((10, 3), np.float32), 0.995)
    assert (std > 0).all()
    assert limit > 0.0
