# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of a refinement step on the CPU: the state that the policy sees, and its actions carried out.

The same as `Refiner.observe` and `actions.apply_actions`, pixel by pixel. Most pixels keep in most steps, so only those
that act are computed, and only what they changed is observed again: a step costs little more than the policy itself,
hardly more for 50 classes than for 2.

Notation: N pixels of the grid, row by row; K classes; S channels of the state; A actions. Arrays are C-contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

KEEP, SHARPEN, FLATTEN, PROMOTE, NORTH, SOUTH, EAST, WEST, MEAN, RECALL = range(10)
"""`model.actions.Action`, which needs torch to import; a test holds them equal."""
FLOOR = np.float32(1.0e-7)
"""`model.actions.PROBABILITY_FLOOR`."""
MARGIN_MAX = np.float32(8.0)
"""Log-odds at which the margin saturates, as in `model.refiner`."""
FIXED_CHANNELS = 6
"""Channels of the state beside the expected embedding: first, second, margin, entropy; agreement, support."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, without the GIL; sums may be reordered, inputs are finite (the engine checks)."""
    fast = {"reassoc", "nnan", "nsz", "contract"}
    try:
        return numba.njit(nogil=True, error_model="numpy", fastmath=fast, cache=True)(function)
    except RuntimeError:  # no writable cache folder: compiled anew in each process
        return numba.njit(nogil=True, error_model="numpy", fastmath=fast)(function)


@_compiled
def observe(log_probs, probs, text, before, has_previous, pixels, count, state):
    """Write the state of the first `count` of `pixels`.

    Args:
        log_probs: float32 (N, K).
        probs: their exponentials.
        text: projected text embeddings, float32 (E, K).
        before: probabilities of the previous frame, (N, K); not read without one.
        has_previous: whether there is a previous frame.
        pixels: int32 indices.
        count: how many of them.
        state: float32 (N, S), S = `FIXED_CHANNELS` + E; written.
    """
    classes, channels = text.shape[1], text.shape[0]
    for i in range(count):
        n = pixels[i]
        first, entropy = probs[n, 0], np.float32(0)
        for k in range(classes):
            first = max(first, probs[n, k])
            entropy -= probs[n, k] * log_probs[n, k]
        second = FLOOR
        for k in range(classes):
            value = probs[n, k]
            second = max(second, value if value != first else FLOOR)
        state[n, 0] = first
        state[n, 1] = second
        state[n, 2] = min(np.log(first / second), MARGIN_MAX) / MARGIN_MAX
        state[n, 3] = entropy
        for e in range(channels):
            expected = np.float32(0)
            for k in range(classes):
                expected += text[e, k] * probs[n, k]
            state[n, 4 + e] = expected
        agreement, support = np.float32(0), np.float32(0)
        if has_previous:
            for k in range(classes):
                agreement += probs[n, k] * before[n, k]
                support = max(support, before[n, k] if probs[n, k] == first else np.float32(0))
        state[n, 4 + channels] = agreement
        state[n, 5 + channels] = support


@_compiled
def act(action_logits, log_probs, probs, previous, before, size, sharpen, pixels, fresh):
    """Carry out every pixel's greedy action, all from the values before the step.

    Args:
        action_logits: float32 (N, A).
        log_probs: float32 (N, K); changed.
        probs: their exponentials; changed.
        previous: log-probabilities of the previous frame, (N, K); read where RECALL is chosen.
        before: their exponentials.
        size: (h, w) of the grid.
        sharpen: exponent of SHARPEN; FLATTEN's is its inverse.
        pixels: int32 (N), scratch; afterwards the pixels that did not keep.
        fresh: float32 (N, K), scratch.

    Returns:
        How many pixels did not keep.
    """
    height, width = size
    classes = log_probs.shape[1]
    count = 0
    for n in range(action_logits.shape[0]):
        action, largest = KEEP, action_logits[n, 0]
        for a in range(1, action_logits.shape[1]):
            if action_logits[n, a] > largest:
                action, largest = a, action_logits[n, a]
        if action == KEEP:
            continue
        new = fresh[count]
        pixels[count] = n
        count += 1
        y, x = n // width, n % width
        if action == SHARPEN:
            for k in range(classes):
                new[k] = np.exp(log_probs[n, k] * sharpen)
        elif action == FLATTEN:
            for k in range(classes):
                new[k] = np.exp(log_probs[n, k] / sharpen)
        elif action == PROMOTE:
            _swap_first_two(probs[n], new)
        elif action == MEAN:
            _mean_of_neighbours(probs, y, x, height, width, new)
        elif action == RECALL:
            new[0] = -1  # a mark: taken below as it is, unnormalised
        else:
            source = n
            if action == NORTH and y > 0:
                source = n - width
            elif action == SOUTH and y < height - 1:
                source = n + width
            elif action == EAST and x < width - 1:
                source = n + 1
            elif action == WEST and x > 0:
                source = n - 1
            for k in range(classes):
                new[k] = probs[source, k]
    for i in range(count):
        n = pixels[i]
        if fresh[i, 0] < 0:
            for k in range(classes):
                log_probs[n, k] = previous[n, k]
                probs[n, k] = before[n, k]
            continue
        total = np.float32(0)
        for k in range(classes):
            total += fresh[i, k]
        for k in range(classes):
            share = max(fresh[i, k] / total, FLOOR)
            probs[n, k] = share
            log_probs[n, k] = np.log(share)
    return count


@_compiled
def _swap_first_two(probs, new):
    """`actions.swap_first_two` of one pixel: (K) to (K)."""
    first = probs[0]
    for k in range(len(probs)):
        first = max(first, probs[k])
    second = FLOOR
    for k in range(len(probs)):
        if probs[k] != first:
            second = max(second, probs[k])
    for k in range(len(probs)):
        value = probs[k]
        new[k] = second if value == first else first if value == second else value


@_compiled
def _mean_of_neighbours(probs, y, x, height, width, new):
    """Sum over the 3x3 pixels inside the grid; normalising makes it their mean."""
    for k in range(len(new)):
        new[k] = 0
    for row in range(max(y - 1, 0), min(y + 2, height)):
        for column in range(max(x - 1, 0), min(x + 2, width)):
            for k in range(len(new)):
                new[k] += probs[row * width + column, k]
