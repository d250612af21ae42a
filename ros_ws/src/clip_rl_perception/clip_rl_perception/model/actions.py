"""The refiner's actions and what each does to a pixel's class log-probabilities.

Every action is bounded and knows no class: it sharpens or flattens, swaps the first two, or takes a value from beside
or before. Whatever the policy does, a pixel holds a distribution that the decoder had nearby.
Notation: B images, K classes, h x w stride-4 pixels.
"""

from __future__ import annotations

import enum

import torch
from torch import Tensor
from torch.nn import functional


class Action(enum.IntEnum):
    """One action of one pixel in one step."""

    KEEP = 0
    """Leave the pixel exactly as it is."""
    SHARPEN = 1
    """Raise probabilities to a power above 1 and renormalise."""
    FLATTEN = 2
    """Raise probabilities to the inverse power and renormalise."""
    PROMOTE = 3
    """Swap the probabilities of the first and the second class."""
    TAKE_NORTH = 4
    """Take the distribution of the pixel above; at the border, keep."""
    TAKE_SOUTH = 5
    """Of the pixel below."""
    TAKE_EAST = 6
    """Of the pixel to the right."""
    TAKE_WEST = 7
    """Of the pixel to the left."""
    MEAN = 8
    """Mean distribution of the 3x3 pixels around it that lie inside the image, itself included."""
    RECALL = 9
    """Take the previous frame's refined distribution of this pixel; not available without one."""


ACTIONS = tuple(Action)
"""All actions in the order of the policy's channels."""

PROBABILITY_FLOOR = 1.0e-7
"""Actions write no probability below this, about -16 in logarithms: nothing is so sure that it cannot be taken back."""


def apply_actions(
    log_probs: Tensor, actions: Tensor, previous: Tensor | None = None, *, sharpen: float = 2.0
) -> Tensor:
    """Log-probabilities after one action at every pixel, all from the values before the step.

    Args:
        log_probs: (B, K, h, w), normalised over K.
        actions: int64 (B, h, w), values of `Action`.
        previous: refined log-probabilities of the previous frame, (B, K, h, w); None leaves RECALL pixels as they are.
        sharpen: exponent of SHARPEN; FLATTEN uses its inverse.

    Returns:
        (B, K, h, w), normalised; bit for bit the input where the action is KEEP, and the previous frame's where RECALL.
    """
    chosen = actions.unsqueeze(1)
    probs = log_probs.exp()
    # Powers by way of the logarithm, whose gradient stays finite where a probability is 0.
    result = torch.where(chosen == Action.SHARPEN, (log_probs * sharpen).exp(), probs)
    result = torch.where(chosen == Action.FLATTEN, (log_probs / sharpen).exp(), result)
    result = torch.where(chosen == Action.PROMOTE, swap_first_two(probs), result)
    # At the border the neighbour outside is the pixel itself.
    result = torch.where(chosen == Action.TAKE_NORTH, torch.cat([probs[:, :, :1], probs[:, :, :-1]], 2), result)
    result = torch.where(chosen == Action.TAKE_SOUTH, torch.cat([probs[:, :, 1:], probs[:, :, -1:]], 2), result)
    result = torch.where(chosen == Action.TAKE_EAST, torch.cat([probs[..., 1:], probs[..., -1:]], 3), result)
    result = torch.where(chosen == Action.TAKE_WEST, torch.cat([probs[..., :1], probs[..., :-1]], 3), result)
    result = torch.where(chosen == Action.MEAN, mean_of_neighbours(probs), result)
    changed = normalised_log(result)
    if previous is not None:
        changed = torch.where(chosen == Action.RECALL, previous, changed)
    else:
        changed = torch.where(chosen == Action.RECALL, log_probs, changed)
    return torch.where(chosen == Action.KEEP, log_probs, changed)


def normalised_log(weights: Tensor) -> Tensor:
    """Logarithm of weights (B, K, h, w) over their sum, each share raised to `PROBABILITY_FLOOR` first."""
    shares = (weights / weights.sum(dim=1, keepdim=True)).clamp(min=PROBABILITY_FLOOR)
    return shares.log()


def swap_first_two(probs: Tensor) -> Tensor:
    """The first class gets the second's value and the second the first's; classes tied for a place share its change.

    Without an index in sight, so that a permutation of the classes permutes the result. The result needs normalising
    where classes tie. One class alone stays alone.
    """
    first = probs.amax(dim=1, keepdim=True)
    is_first = probs == first
    second = runner_up(probs, is_first)
    swapped = torch.where(probs == second, first, probs)
    return torch.where(is_first, second, swapped)


def runner_up(probs: Tensor, is_first: Tensor) -> Tensor:
    """Largest probability among the classes that are not first, (B, 1, h, w); the floor where there is none."""
    return torch.where(is_first, PROBABILITY_FLOOR, probs).amax(dim=1, keepdim=True)


def mean_of_neighbours(probs: Tensor) -> Tensor:
    """Mean probability over the 3x3 pixels around each that lie inside the image: a linear opinion pool."""
    return functional.avg_pool2d(probs, 3, stride=1, padding=1, count_include_pad=False)


def first_of_largest(values: Tensor) -> Tensor:
    """Index of the largest along dim 1, the lowest where several are, int64: argmax, several times faster on CPUs."""
    count = values.shape[1]
    places = torch.arange(count, dtype=values.dtype, device=values.device).reshape(1, count, *[1] * (values.ndim - 2))
    is_largest = values == values.amax(dim=1, keepdim=True)
    return torch.where(is_largest, places, float(count)).amin(dim=1).long()
