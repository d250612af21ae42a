"""Filters on pictures that the network's first convolution takes in, with nothing learned: saturation and sharpness.

Steel is gray and tissue is not, in every camera; a network that saw drawn scenes alone may trust that, and the detail
on steel, less than real frames bear out (docs/results/demo-checkpoint.md). At inference neither costs anything.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_training.loop.run_state import TrainError

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: how much red, green and blue give of the gray that a colour is as bright as."""
_SMOOTH = ((1, 2, 1), (2, 4, 2), (1, 2, 1))
"""Sixteenths: what a pixel is compared with when it is sharpened."""
_CORRELATION = 0.95
"""Of neighbouring pixels of a picture; their correlation falls as the power of their distance."""
_NOISE = 0.002
"""Variance of what is each pixel's own, of a picture of variance 1."""


def saturation_matrix(factor: float) -> Tensor:
    """What takes RGB to RGB with the distance from its gray times `factor`, float32 (3, 3); rows sum to 1."""
    luma = torch.tensor(_LUMA)
    return factor * torch.eye(3) + (1 - factor) * luma.expand(3, 3)


@torch.no_grad()
def strengthen_colours_(segmenter: ClipRlSegmenter, factor: float) -> None:
    """Let the encoder see ``M x`` wherever it is shown x, M the `saturation_matrix` of `factor`; in place.

    ``W ((M x - mean) / std)`` is ``W' ((x - mean) / std) + b`` with ``W' = W diag(1/std) M diag(std)``, and ``b = W
    ((M mean - mean) / std)`` summed over the kernel, which the batch norm after it takes up. So the two are equal but
    for two things: along the border zeros stand for what lies outside, and no value is cut off at 0 or 1. Colourless
    pictures are as they were.

    Raises:
        TrainError: `factor` is below 0, or the encoder's first layers are no convolution of three channels with a batch
            norm after it.
    """
    if not 0.0 <= factor < math.inf:
        raise TrainError(f"saturation is {factor}; expected at least 0, and 1 to leave colours as they are")
    first, norm = _first_layers(segmenter, f"saturation is {factor}; expected 1")
    matrix = saturation_matrix(factor)
    mean, std = segmenter.mean.flatten(), segmenter.std.flatten()
    shift = (matrix @ mean - mean) / std
    assert norm.running_mean is not None
    norm.running_mean -= first.weight.sum((2, 3)) @ shift
    first.weight.copy_(torch.einsum("oikl,ij->ojkl", first.weight, matrix * std / std[:, None]))


@torch.no_grad()
def sharpen_(segmenter: ClipRlSegmenter, amount: float) -> None:
    """Let the encoder see x with `amount` times what its brightness has beyond its smoothed self; in place.

    The exact filter needs two more rows and columns of the kernel. The kernel's own size is kept: it is the one that
    differs least from the exact one, in the mean square over pictures whose pixels are correlated as `_CORRELATION`
    says. What it adds sums to about zero over even areas, so no norm has to change.

    Raises:
        TrainError: `amount` is below 0, or the encoder's first layers are others; see `strengthen_colours_`.
    """
    if not 0.0 <= amount < math.inf:
        raise TrainError(f"sharpness is {amount}; expected at least 0, and 0 to leave pictures as they are")
    first, _ = _first_layers(segmenter, f"sharpness is {amount}; expected 0")
    std = segmenter.std.flatten()
    smooth = torch.tensor(_SMOOTH, dtype=torch.float32) / 16
    detail = -smooth
    detail[1, 1] += 1
    to_brightness = (first.weight / std[:, None, None]).sum(1, keepdim=True)
    exact = functional.conv2d(functional.pad(to_brightness, (2, 2, 2, 2)), detail[None, None])
    kernel = _nearest_kernel(exact[:, 0], first.kernel_size[0])
    first.weight += amount * kernel[:, None] * (torch.tensor(_LUMA) * std)[:, None, None]


def _nearest_kernel(exact: Tensor, side: int) -> Tensor:
    """The (N, side, side) whose answers differ least from those of `exact`, (N, side + 2, side + 2); see `sharpen_`."""
    wide = np.indices((side + 2, side + 2)).reshape(2, -1).T
    narrow = 1 + np.indices((side, side)).reshape(2, -1).T

    def correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(one[:, None] - other[None], axis=-1)
        return np.asarray(_CORRELATION**distance + _NOISE * (distance == 0))

    projection = np.linalg.solve(correlation(narrow, narrow), correlation(narrow, wide))
    found = exact.flatten(1).double() @ torch.from_numpy(projection).T
    return found.float().reshape(-1, side, side)


def _first_layers(segmenter: ClipRlSegmenter, wanted: str) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    layers = [part for part in segmenter.encoder.modules() if isinstance(part, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))]
    first, norm = (*layers[:2], None, None)[:2]
    if isinstance(first, nn.Conv2d) and first.in_channels == 3 and isinstance(norm, nn.BatchNorm2d):
        return first, norm
    raise TrainError(
        f"{wanted}, since encoder '{segmenter.config.encoder.name}' does not begin with a convolution of three "
        "channels and a batch norm, which could take it in"
    )
