"""The decoder: its cosine classifier against the plain formula, and classes that change by text alone."""

from __future__ import annotations

import math

import pytest
import torch
from clip_rl_perception.model.decoder import Decoder
from clip_rl_perception.model.segmenter_config import DecoderConfig
from torch import Tensor
from torch.nn import functional

CHANNELS = (8, 12, 16, 24)
DIM = 20


def make(channels: int = 10, **values: float) -> Decoder:
    torch.manual_seed(0)
    return Decoder(CHANNELS, DIM, DecoderConfig(channels=channels, **values)).eval()


def pyramid(batch: int, height: int, width: int) -> tuple[Tensor, ...]:
    return tuple(
        torch.randn(batch, channels, height // stride, width // stride)
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    )


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_features_are_at_stride_4(size: tuple[int, int]) -> None:
    decoder = make()
    assert decoder(pyramid(2, *size)).shape == (2, 10, size[0] // 4, size[1] // 4)


def test_every_level_and_the_whole_image_reach_the_features() -> None:
    decoder = make()
    levels = [level.requires_grad_() for level in pyramid(1, 128, 128)]
    decoder(tuple(levels))[0, :, 0, 0].sum().backward()
    for level in levels:
        assert level.grad is not None
        assert level.grad.abs().sum() > 0
    # The far corner of the coarsest map counts only through the global context.
    assert levels[-1].grad is not None
    assert levels[-1].grad[0, :, -1, -1].abs().sum() > 0


def test_logits_are_the_scaled_cosine_of_pixel_and_text_embeddings() -> None:
    decoder = make(scale_init=7.0)
    with torch.no_grad():
        decoder.embed.copy_(torch.randn(DIM, 10))
    features, text = torch.randn(2, 10, 3, 5), functional.normalize(torch.randn(4, DIM), dim=1)
    logits = decoder.classify(features, text)
    embedded = torch.einsum("dc,bchw->bdhw", decoder.embed, features)
    cosine = torch.einsum("kd,bdhw->bkhw", text, embedded) / embedded.norm(dim=1, keepdim=True)
    torch.testing.assert_close(logits, 7.0 * cosine, rtol=1e-4, atol=1e-5)
    # The length of features and of text rows does not matter.
    torch.testing.assert_close(decoder.classify(3.0 * features, 5.0 * text), logits, rtol=1e-4, atol=1e-5)


def test_one_pixel_by_hand() -> None:
    decoder = Decoder(CHANNELS, 2, DecoderConfig(channels=2, scale_init=2.0))
    with torch.no_grad():
        decoder.embed.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    features = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1)  # embeds as (2, 2): 45 degrees from both axes
    text = torch.tensor([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    root = math.sqrt(0.5)
    assert decoder.classify(features, text).flatten().tolist() == pytest.approx([2 * root, -2 * root, 2.0], abs=1e-5)


def test_features_of_zero_give_finite_logits_and_gradients() -> None:
    decoder = make()
    features = torch.zeros(1, 10, 2, 2, requires_grad=True)
    logits = decoder.classify(features, torch.eye(3, DIM))
    logits.sum().backward()
    assert logits.abs().max() == 0
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_classes_follow_their_text_rows() -> None:
    decoder = make()
    features, text = torch.randn(1, 10, 4, 4), functional.normalize(torch.randn(5, DIM), dim=1)
    logits = decoder.classify(features, text)
    order = torch.tensor([3, 0, 4])
    torch.testing.assert_close(decoder.classify(features, text[order]), logits[:, order])


@pytest.mark.parametrize(("stored", "expected"), [(-3.0, 1.0), (math.log(14.0), 14.0), (9.0, 100.0)])
def test_the_learned_scale_is_clamped(stored: float, expected: float) -> None:
    decoder = make()
    with torch.no_grad():
        decoder.log_scale.fill_(stored)
    assert decoder.scale().item() == pytest.approx(expected, rel=1e-5)
