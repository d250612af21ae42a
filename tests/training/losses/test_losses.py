"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from clip_rl_training.losses import segmentation_losses as losses
from clip_rl_training.losses.contrastive_losses import contrastive, text_spread
from torch.nn import functional


def logits_of(probabilities: list[list[float]]) -> torch.Tensor:
    """Logits (1, K, 1, N) whose softmax is `probabilities`, N rows of K."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


LABELS = torch.tensor([[[0, 1, 255]]])
LOGITS = logits_of([[0.75, 0.25], [0.5, 0.5], [0.01, 0.99]])


def test_cross_entropy_leaves_out_ignored_pixels() -> None:
    expected = -(math.log(0.75) + math.log(0.5)) / 2
    assert losses.cross_entropy(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_with_class_weights() -> None:
    expected = -(1 * math.log(0.75) + 3 * math.log(0.5)) / 4
    weighted = losses.cross_entropy(LOGITS, LABELS, class_weights=torch.tensor([1.0, 3.0]))
    assert weighted.item() == pytest.approx(expected, rel=1e-6)


def test_soft_dice_by_hand() -> None:
    # Class 0: overlap 0.75, totals 1.25 + 1; class 1: overlap 0.5, totals 0.75 + 1.
    expected = 1 - ((1.5 + 1) / (2.25 + 1) + (1.0 + 1) / (1.75 + 1)) / 2
    assert losses.soft_dice(LOGITS, LABELS, smooth=1.0).item() == pytest.approx(expected, rel=1e-6)


def test_soft_dice_counts_only_classes_of_the_truth() -> None:
    labels = torch.tensor([[[0, 0, 255]]])
    expected = 1 - (2 * 1.25 + 1) / (1.25 + 2 + 1)
    assert losses.soft_dice(LOGITS, labels).item() == pytest.approx(expected, rel=1e-6)


def test_soft_iou_by_hand() -> None:
    expected = 1 - (0.75 / (1.25 + 1 - 0.75) + 0.5 / (0.75 + 1 - 0.5)) / 2
    assert losses.soft_iou(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-6)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss() -> None:
    # The Lovasz extension equals the set function at its corners: class 0 has IoU 1/3, class 1 has 1/3.
    labels = torch.tensor([[[0, 0, 1, 1]]])
    predicted = torch.tensor([[[0, 1, 1, 0]]])
    logits = 200.0 * functional.one_hot(predicted, 2).permute(0, 3, 1, 2).float()
    assert losses.lovasz_softmax(logits, labels).item() == pytest.approx(1 - 1 / 3, abs=1e-5)


def test_lovasz_by_hand() -> None:
    # Both classes have the errors 0.5 (pixel 1) and 0.25 (pixel 0). Class 0 (truth at pixel 0): sorted truth 0, 1;
    # Jaccard losses 1 - 1/2, 1 - 0/2: increments 0.5, 0.5 -> 0.375. Class 1 (truth at pixel 1): sorted truth 1, 0;
    # losses 1 - 0/1, 1 - 0/2: increments 1, 0 -> 0.5.
    assert losses.lovasz_softmax(LOGITS, LABELS).item() == pytest.approx((0.375 + 0.5) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.soft_dice, losses.soft_iou, losses.lovasz_softmax])
def test_nothing_labelled_gives_zero_and_no_gradient(loss: object) -> None:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, torch.full((1, 1, 3), 255))  # type: ignore[operator]
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.soft_dice, losses.soft_iou, losses.lovasz_softmax])
def test_gradient_steps_lower_each_loss(loss: object) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 5, generator=generator).requires_grad_()
    labels = torch.randint(0, 3, (2, 6, 5), generator=generator)
    first = loss(logits, labels)  # type: ignore[operator]
    for _ in range(60):
        (gradient,) = torch.autograd.grad(loss(logits, labels), logits)  # type: ignore[operator]
        logits = (logits - 20.0 * gradient).detach().requires_grad_()
    assert loss(logits, labels).item() < 0.3 * first.item()  # type: ignore[operator]


def test_contrastive_by_hand() -> None:
    image = torch.eye(2)
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Similarities [[1, .6], [0, .8]]: rows by softmax over j, columns by softmax over i.
    rows = -(math.log(math.exp(1) / (math.exp(1) + math.exp(0.6))) + math.log(math.exp(0.8) / (1 + math.exp(0.8)))) / 2
    columns = (
        -(math.log(math.exp(1) / (math.exp(1) + 1)) + math.log(math.exp(0.8) / (math.exp(0.6) + math.exp(0.8)))) / 2
    )
    assert contrastive(image, text, scale=1.0).item() == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_equal_captions_are_not_negatives() -> None:
    text = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    separated = text.clone()
    groups = torch.tensor([7, 7, 9])
    assert contrastive(separated, text, scale=100.0, groups=groups).item() == pytest.approx(0.0, abs=1e-5)
    assert contrastive(separated, text, scale=100.0).item() > 0.4


def test_text_spread_by_hand() -> None:
    text = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    # Cosines 0.8, 0, 0.6; over the margin by 0.3, nothing, 0.1.
    assert text_spread(text, margin=0.5).item() == pytest.approx((0.09 + 0.01) / 3, rel=1e-5)
    assert text_spread(text[:1]).item() == 0.0


def test_class_weights_by_hand() -> None:
    weights = losses.class_weights(torch.tensor([90, 10, 0]), power=0.5)
    raw = [math.sqrt(100 / 90), math.sqrt(10)]
    mean = sum(raw) / 2
    assert weights.tolist() == pytest.approx([raw[0] / mean, raw[1] / mean, 1.0], rel=1e-6)
    assert losses.class_weights(torch.tensor([90, 10, 0]), power=0.0).tolist() == [1.0, 1.0, 1.0]
