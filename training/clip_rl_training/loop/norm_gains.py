"""Weights of single batch norms times a factor: how loud one branch of the network is, with nothing learned.

A residual network adds up what its branches say. How much each should count on pictures of another kind is a few
numbers, which a handful of labelled frames can choose where they could not teach millions of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import nn

from clip_rl_training.loop.run_state import TrainError

_UNTOUCHED = ("close_up", "instance_head", "text")
"""Parts that masks are not made with."""


@torch.no_grad()
def apply_gains_(segmenter: ClipRlSegmenter, gains: Mapping[str, float]) -> None:
    """Multiply weight and bias of batch norms, in place.

    Args:
        segmenter: the network.
        gains: factor by a part of the norm's name with / in place of dots, for example ``stages/0/1/conv2_kxk``:
            exactly one norm of encoder and decoder must have it.

    Raises:
        TrainError: none or several have it, or a factor is no finite number above 0; nothing is changed then.
    """
    norms = {
        name.replace(".", "/"): part
        for name, part in segmenter.named_modules()
        if isinstance(part, nn.BatchNorm2d) and name.split(".", 1)[0] not in _UNTOUCHED
    }
    found = []
    for wanted, factor in gains.items():
        named = [name for name in norms if f"/{wanted}/" in f"/{name}/"]
        if len(named) != 1:
            told = ", ".join(named) or f"among {', '.join(norms)}"
            raise TrainError(f"gains: '{wanted}' is in the names of {len(named)} batch norms, expected one: {told}")
        if not 0.0 < factor < math.inf:
            raise TrainError(f"gains: {wanted} is {factor}; expected a number above 0, and 1 to leave it as it is")
        found.append((norms[named[0]], factor))
    for norm, factor in found:
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
