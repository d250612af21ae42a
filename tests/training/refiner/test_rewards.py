"""Rewards against values worked out by hand and against their definitions by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from clip_rl_training.refiner import rewards


def log_probs(foreground: list[list[float]]) -> torch.Tensor:
    """Two-class log-probabilities (1, 2, h, w) from the probability of class 1."""
    p = torch.tensor(foreground)
    return torch.stack((1 - p, p)).log()[None]


BEFORE = log_probs([[0.4, 0.2, 0.9]])
AFTER = log_probs([[0.8, 0.1, 0.6]])
LABELS = torch.tensor([[[1, 0, 255]]])


def test_log_probability_gain_by_hand() -> None:
    gain = rewards.log_probability_gain(BEFORE, AFTER, LABELS)
    assert gain[0, 0].tolist() == pytest.approx([math.log(0.8 / 0.4), math.log(0.9 / 0.8), 0.0], rel=1e-5)


def test_log_probability_gain_is_cut_off_at_the_floor() -> None:
    gain = rewards.log_probability_gain(log_probs([[1e-6]]), log_probs([[1e-3]]), torch.tensor([[[1]]]), floor=-4.0)
    assert gain.item() == 0.0


def test_soft_miou_by_hand() -> None:
    # Labelled pixels: class 1 at pixel 0 (p 0.8), class 0 at pixel 1 (p 0.9).
    class_0 = 0.9 / (0.2 + 0.9 + 1 - 0.9)
    class_1 = 0.8 / (0.8 + 0.1 + 1 - 0.8)
    assert rewards.soft_miou(AFTER, LABELS).tolist() == pytest.approx([(class_0 + class_1) / 2], rel=1e-5)


def test_iou_credit_is_the_difference_reward() -> None:
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(2, 3, 4, 5, generator=generator).log_softmax(1)
    after = torch.randn(2, 3, 4, 5, generator=generator).log_softmax(1)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 1, 2] = 255
    credit = rewards.iou_credit(before, after, labels)
    full = rewards.soft_miou(after, labels)
    for image in range(2):
        labelled = int((labels[image] != 255).sum())
        for row in range(4):
            for column in range(5):
                undone = after.clone()
                undone[image, :, row, column] = before[image, :, row, column]
                expected = labelled * (full - rewards.soft_miou(undone, labels))[image]
                assert credit[image, row, column].item() == pytest.approx(expected.item(), abs=1e-4)
    assert credit[0, 1, 2].item() == 0.0


def test_lone_credit_is_what_one_pixel_adds_to_the_image_as_it_was() -> None:
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(2, 3, 4, 5, generator=generator).log_softmax(1)
    after = torch.randn(2, 3, 4, 5, generator=generator).log_softmax(1)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 1, 2] = 255
    credit = rewards.lone_iou_credit(before, after, labels)
    at_first = rewards.soft_miou(before, labels)
    for image in range(2):
        labelled = int((labels[image] != 255).sum())
        for row in range(4):
            for column in range(5):
                alone = before.clone()
                alone[image, :, row, column] = after[image, :, row, column]
                expected = labelled * (rewards.soft_miou(alone, labels) - at_first)[image]
                assert credit[image, row, column].item() == pytest.approx(expected.item(), abs=1e-4)
    assert credit[0, 1, 2].item() == 0.0


def test_lone_reward_of_a_single_change_is_the_step_reward() -> None:
    before = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(1)).log_softmax(1)
    after = before.clone()
    after[0, :, 2, 3] = before[0, :, 2, 3].flip(0)
    actions = torch.zeros(1, 4, 5, dtype=torch.int64)
    actions[0, 2, 3] = 4
    labels = torch.randint(0, 3, (1, 4, 5), generator=torch.Generator().manual_seed(2))
    config = rewards.RewardConfig(log_probability=0.3, iou=0.5, hard_iou=1.0, cost=0.1, limit=100.0)
    alone = rewards.step_reward(before, after, actions, labels, config, alone=True)
    assert torch.allclose(alone, rewards.step_reward(before, after, actions, labels, config), atol=1e-5)


def test_mean_credit_follows_the_gain_of_the_image() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(1, 3, 16, 16, generator=generator)
    labels = torch.randint(0, 3, (1, 16, 16), generator=generator)
    before = logits.log_softmax(1)
    after = (logits + 0.05 * torch.randn(logits.shape, generator=generator)).log_softmax(1)
    gain = rewards.soft_miou(after, labels) - rewards.soft_miou(before, labels)
    assert rewards.iou_credit(before, after, labels).mean().item() == pytest.approx(gain.item(), rel=0.05)


def test_hard_credit_by_hand() -> None:
    # Truth 1 1 0 0. The second pixel turns from 0 to 1, the fourth from 0 to 1. After: class 0 has I = 1, U = 2 and
    # class 1 I = 2, U = 3. Undoing the second makes them 1/3 and 1/3, undoing the fourth 2/2 and 2/2; 4 pixels count.
    labels = torch.tensor([[[1, 1, 0, 0]]])
    before = rewards.decided(log_probs([[0.9, 0.4, 0.2, 0.3]]))
    after = rewards.decided(log_probs([[0.9, 0.6, 0.2, 0.7]]))
    gain = (1 / 2 + 2 / 3) / 2
    expected = [0.0, 4 * (gain - 1 / 3), 0.0, 4 * (gain - 1.0)]
    assert rewards.iou_credit(before, after, labels)[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def square(top: int, left: int) -> torch.Tensor:
    regions = torch.zeros(1, 10, 10, dtype=torch.long)
    regions[0, top : top + 4, left : left + 4] = 1
    return regions


def test_boundary_f_score_of_equal_and_shifted_squares() -> None:
    truth = square(3, 3)
    score = rewards.boundary_f_score
    assert score(truth, truth, classes=2, tolerance=0).item() == pytest.approx(1.0)
    assert score(square(3, 4), truth, classes=2, tolerance=1).item() == pytest.approx(1.0)
    # Class 1, shifted by one column, tolerance 0: 12 edge pixels each; the shared ones are the 3 left columns of the
    # top and bottom rows that both hold (columns 4..6, rows 3 and 6) = 6: precision = recall = 0.5. Class 0: its inner
    # edge has 16 pixels around each square (4 a side); shared: top and bottom rows at columns 4..6 = 6 of 16.
    expected = (0.5 + 6 / 16) / 2
    assert score(square(3, 4), truth, classes=2, tolerance=0).item() == pytest.approx(expected)


def test_boundary_f_score_of_missing_classes() -> None:
    empty = torch.zeros(1, 10, 10, dtype=torch.long)
    assert rewards.boundary_f_score(empty, empty, classes=2).item() == 1.0
    assert rewards.boundary_f_score(empty, square(3, 3), classes=2).item() == 0.0


def test_boundary_score_ignores_unlabelled_pixels() -> None:
    truth = square(3, 3)
    truth[0, :, 7:] = 255
    spill = square(3, 3)
    spill[0, 3:7, 7:9] = 1
    assert rewards.boundary_f_score(spill, truth, classes=2, tolerance=0).item() == pytest.approx(1.0)


def test_step_reward_adds_up() -> None:
    config = rewards.RewardConfig(log_probability=2.0, iou=0.5, hard_iou=0.25, boundary=0.0, cost=0.1)
    actions = torch.tensor([[[1, 0, 1]]])
    expected = (
        2.0 * rewards.log_probability_gain(BEFORE, AFTER, LABELS)
        + 0.5 * rewards.iou_credit(BEFORE, AFTER, LABELS)
        + 0.25 * torch.tensor([[[2 * (1.0 - (1 / 2 + 0) / 2), 0.0, 0.0]]])
        - torch.tensor([[[0.1, 0.0, 0.0]]])
    )
    assert torch.allclose(rewards.step_reward(BEFORE, AFTER, actions, LABELS, config), expected)


def test_boundary_reward_has_the_gain_as_its_mean() -> None:
    truth, moved = square(3, 3), square(3, 5)
    certain = 20.0 * torch.nn.functional.one_hot(truth, 2).permute(0, 3, 1, 2).float()
    off = 20.0 * torch.nn.functional.one_hot(moved, 2).permute(0, 3, 1, 2).float()
    config = rewards.RewardConfig(log_probability=0.0, hard_iou=0.0, boundary=1.0, limit=1e9, boundary_tolerance=0)
    actions = torch.zeros(1, 10, 10, dtype=torch.long)
    reward = rewards.step_reward(off.log_softmax(1), certain.log_softmax(1), actions, truth, config)
    gain = 1.0 - rewards.boundary_f_score(moved, truth, classes=2, tolerance=0)
    assert reward.mean().item() == pytest.approx(gain.item(), rel=1e-5)
    assert reward[0, 9, 0].item() == 0.0
