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

LOG_FLOOR = -16.0
"""Actions write no log-probability further than this below the pixel's largest; keeps half precision finite."""


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
        (B, K, h, w), normalised; bit for bit the input where the action is KEEP.
    """
    chosen = actions.unsqueeze(1)
    power = 1.0 + (sharpen - 1.0) * (chosen == Action.SHARPEN).to(log_probs.dtype)
    power = power + (1.0 / sharpen - 1.0) * (chosen == Action.FLATTEN).to(log_probs.dtype)
    result = log_probs * power
    result = torch.where(chosen == Action.PROMOTE, swap_first_two(log_probs), result)
    result = torch.where(chosen == Action.TAKE_NORTH, torch.cat([log_probs[:, :, :1], log_probs[:, :, :-1]], 2), result)
    result = torch.where(chosen == Action.TAKE_SOUTH, torch.cat([log_probs[:, :, 1:], log_probs[:, :, -1:]], 2), result)
    result = torch.where(chosen == Action.TAKE_EAST, torch.cat([log_probs[..., 1:], log_probs[..., -1:]], 3), result)
    result = torch.where(chosen == Action.TAKE_WEST, torch.cat([log_probs[..., :1], log_probs[..., :-1]], 3), result)
    result = torch.where(chosen == Action.MEAN, mean_of_neighbours(log_probs), result)
    if previous is not None:
        result = torch.where(chosen == Action.RECALL, previous, result)
    return torch.where(chosen == Action.KEEP, log_probs, renormalise(result))


def renormalise(values: Tensor) -> Tensor:
    """Log-softmax over dim 1, with values further than `LOG_FLOOR` below the largest raised to it first."""
    largest = values.amax(dim=1, keepdim=True)
    return functional.log_softmax((values - largest).clamp(min=LOG_FLOOR), dim=1)


def swap_first_two(log_probs: Tensor) -> Tensor:
    """The first class gets the second's value and the second the first's; classes tied for a place share its change.

    Without an index in sight, so that a permutation of the classes permutes the result. One class alone stays alone.
    """
    first = log_probs.amax(dim=1, keepdim=True)
    is_first = log_probs == first
    second = runner_up(log_probs, is_first)
    swapped = torch.where(log_probs == second, first, log_probs)
    return torch.where(is_first, second, swapped)


def runner_up(log_probs: Tensor, is_first: Tensor) -> Tensor:
    """Largest value among the classes that are not first, (B, 1, h, w); far below where there is none."""
    return torch.where(is_first, 4.0 * LOG_FLOOR, log_probs).amax(dim=1, keepdim=True)


def mean_of_neighbours(log_probs: Tensor) -> Tensor:
    """Log of the mean probability over the 3x3 pixels around each that lie inside the image."""
    mean = functional.avg_pool2d(log_probs.exp(), 3, stride=1, padding=1, count_include_pad=False)
    return mean.clamp(min=1e-7).log()
