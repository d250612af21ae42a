"""Damage to the refiner's inputs: still distributions, harmless at severity 0, repeatable, really damaging at 1."""

from __future__ import annotations

import dataclasses

import torch
from clip_rl_training.refiner.state_damage import DamageConfig, corrupt_log_probs, drop_channels, previous_frame
from torch import Tensor
from torch.nn import functional

CONFIG = DamageConfig(clean=0.0, patches=1.0)


def clean() -> Tensor:
    labels = torch.zeros(6, 20, 24, dtype=torch.long)
    labels[:, 5:15, 6:18] = 2
    return (6.0 * functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()).log_softmax(1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def test_result_is_normalised_and_repeatable() -> None:
    damaged = corrupt_log_probs(clean(), severity=1.0, config=CONFIG, generator=generator())
    assert torch.allclose(damaged.logsumexp(1), torch.zeros(6, 20, 24), atol=1e-5)
    assert torch.equal(damaged, corrupt_log_probs(clean(), severity=1.0, config=CONFIG, generator=generator()))


def test_severity_zero_changes_nothing_and_one_makes_errors() -> None:
    truth = clean().argmax(1)
    untouched = corrupt_log_probs(clean(), severity=0.0, config=CONFIG, generator=generator())
    assert torch.allclose(untouched, clean(), atol=1e-6)
    wrong = (corrupt_log_probs(clean(), severity=1.0, config=CONFIG, generator=generator()).argmax(1) != truth).float()
    assert 0.02 < wrong.mean() < 0.5
    mild = corrupt_log_probs(clean(), severity=0.2, config=CONFIG, generator=generator()).argmax(1) != truth
    assert mild.float().mean() < wrong.mean()


def test_some_images_stay_clean() -> None:
    config = dataclasses.replace(CONFIG, clean=0.5)
    damaged = corrupt_log_probs(clean(), severity=1.0, config=config, generator=generator())
    kept = [torch.allclose(one, other, atol=1e-5) for one, other in zip(damaged, clean(), strict=True)]
    assert 0 < sum(kept) < 6


def test_dropped_channels_are_whole_and_the_mean_is_kept() -> None:
    features = torch.ones(64, 40, 3, 3)
    dropped = drop_channels(features, severity=1.0, config=CONFIG, generator=generator())
    per_channel = dropped.flatten(2)
    assert torch.equal(per_channel.amin(2), per_channel.amax(2))
    assert 0.02 < (dropped == 0).float().mean() < 0.3
    assert abs(dropped.mean() - 1.0) < 0.05


def test_previous_frame_is_absent_as_often_as_asked() -> None:
    for absent, expected in ((1.0, 0), (0.0, 6)):
        previous, present = previous_frame(clean(), severity=1.0, config=CONFIG, absent=absent, generator=generator())
        assert int(present.sum()) == expected
        assert torch.equal(previous, clean()) == (expected == 0)
