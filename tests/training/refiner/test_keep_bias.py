"""The margin of the keep action: a policy that harms is silenced, one that helps is left alone."""

from __future__ import annotations

import pytest
import torch
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import DecoderConfig, EncoderConfig, RefinerConfig, SegmenterConfig
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.refiner.keep_bias import choose_keep_bias_
from torch import nn


@pytest.fixture(scope="module")
def segmenter() -> ClipRlSegmenter:
    torch.manual_seed(0)
    parts = DecoderConfig(channels=16), RefinerConfig(width=8, feature_channels=4, text_channels=2, dilations=(1,))
    return ClipRlSegmenter(SegmenterConfig(EncoderConfig(), *parts, input_size=(64, 64))).eval()


def batch_of(segmenter: ClipRlSegmenter, wrong: bool) -> Batch:
    """Two images whose truth is what the network says, or its runner-up everywhere."""
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = segmenter.encode_text(load_label_space("binary"))
        logits = segmenter.decode(segmenter.prepare(images), text).logits
    labels = logits.argsort(dim=1, descending=True)[:, int(wrong)]
    return Batch(images, labels.repeat_interleave(4, 1).repeat_interleave(4, 2), ("", ""), "binary")


@pytest.mark.parametrize(("wrong", "expected"), [(False, 2.0), (True, 0.0)])
def test_the_better_margin_is_folded_into_the_weights(segmenter: ClipRlSegmenter, wrong: bool, expected: float) -> None:
    bias = segmenter.refiner.action_head.bias
    assert isinstance(bias, nn.Parameter)
    with torch.no_grad():
        bias.zero_()
        # Once is enough: a second swap would undo the first.
        bias[Action.PROMOTE] = 1.0
    segmenter.config = SegmenterConfig(
        segmenter.config.encoder,
        segmenter.config.decoder,
        RefinerConfig(**{**vars(segmenter.config.refiner), "max_steps": 1}),
    )
    margin, scores = choose_keep_bias_(
        segmenter,
        [batch_of(segmenter, wrong)],
        load_label_space("binary"),
        device=torch.device("cpu"),
        candidates=(0.0, 2.0),
    )
    assert margin == expected
    assert scores[expected] == 1.0
    assert scores[2.0 - expected] < 0.5
    assert bias[Action.KEEP].item() == expected
