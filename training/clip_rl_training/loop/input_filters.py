"""A network to which colours look stronger than they are, with nothing learned: the first convolution takes it in.

Steel is gray and tissue is not, in every camera; a network that saw drawn scenes alone may trust that less than real
frames bear out (docs/results/demo-checkpoint.md). Colourless pictures are as they were.
"""

from __future__ import annotations

import torch
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor, nn

from clip_rl_training.loop.run_state import TrainError

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: how much red, green and blue give of the gray that a colour is as bright as."""


def saturation_matrix(factor: float) -> Tensor:
    """What takes RGB to RGB with the distance from its gray times `factor`, float32 (3, 3); rows sum to 1."""
    luma = torch.tensor(_LUMA)
    return factor * torch.eye(3) + (1 - factor) * luma.expand(3, 3)


@torch.no_grad()
def strengthen_colours_(segmenter: ClipRlSegmenter, factor: float) -> None:
    """Let the encoder see ``M x`` wherever it is shown x, M the `saturation_matrix` of `factor`; in place.

    ``W ((M x - mean) / std)`` is ``W' ((x - mean) / std) + b`` with ``W' = W diag(1/std) M diag(std)``, and ``b = W
    ((M mean - mean) / std)`` summed over the kernel, which the batch norm after it takes up. So the two are equal but
    for two things: along the border zeros stand for what lies outside, and no value is cut off at 0 or 1.

    Raises:
        TrainError: `factor` is below 0, or the encoder's first layers are no convolution of three channels with a batch
            norm after it.
    """
    if not 0.0 <= factor < float("inf"):
        raise TrainError(f"saturation is {factor}; expected at least 0, and 1 to leave colours as they are")
    layers = [part for part in segmenter.encoder.modules() if isinstance(part, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))]
    first, norm = (*layers[:2], None, None)[:2]
    if not (isinstance(first, nn.Conv2d) and first.in_channels == 3 and isinstance(norm, nn.BatchNorm2d)):
        raise TrainError(
            f"saturation is {factor}, but encoder '{segmenter.config.encoder.name}' does not begin with a convolution "
            "of three channels and a batch norm, which could take it in; expected 1"
        )
    matrix = saturation_matrix(factor)
    mean, std = segmenter.mean.flatten(), segmenter.std.flatten()
    shift = (matrix @ mean - mean) / std
    assert norm.running_mean is not None
    norm.running_mean -= first.weight.sum((2, 3)) @ shift
    first.weight.copy_(torch.einsum("oikl,ij->ojkl", first.weight, matrix * std / std[:, None]))
