# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Compiled loops of a refinement step on the CPU: the state that the policy sees, and its actions carried out.

The same as `Refiner.observe` and `actions.apply_actions`, pixel by pixel. Most pixels keep in most steps, so only those
that act are computed, and only what they changed is observed again. Where most pixels act, as with classes that the
model was not trained on, what counts is the price of a class: the classes of a pixel lie side by side and every loop
over them is made of arithmetic that the compiler does for 16 of them at once, logarithm and exponential included.

Notation: N pixels of the grid, row by row; K classes; S channels of the state; A actions. Arrays are C-contiguous.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled_for_finite
from clip_rl_perception.kernels.vector_math import exp, log

KEEP, SHARPEN, FLATTEN, PROMOTE, NORTH, SOUTH, EAST, WEST, MEAN, RECALL = range(10)
"""`model.actions.Action`, which needs torch to import; a test holds them equal."""
FLOOR = np.float32(1.0e-7)
"""`model.actions.PROBABILITY_FLOOR`."""
LOG_FLOOR = np.float32(np.log(1.0e-7))
_FLOOR_BITS = int(FLOOR.view(np.int32))
MARGIN_MAX = np.float32(8.0)
"""Log-odds at which the margin saturates, as in `model.refiner`."""
FIXED_CHANNELS = 6
"""Channels of the state beside the expected embedding: first, second, margin, entropy; agreement, support."""


@compiled_for_finite
def log_softmax(logits, log_probs, probs):
    """Log-probabilities, and their exponentials, of logits; all float32 (N, K)."""
    bits, others = logits.view(np.int32), np.int32(0x7FFFFFFF)
    for n in range(logits.shape[0]):
        # Integers in the order of floats of either sign: where the first bit says negative, the others are turned.
        most = np.int32(-(2**31))
        for k in range(logits.shape[1]):
            most = max(most, bits[n, k] ^ ((bits[n, k] >> np.int32(31)) & others))
        largest, total = np.int32(most ^ ((most >> np.int32(31)) & others)).view(np.float32), np.float32(0)
        for k in range(logits.shape[1]):
            probs[n, k] = exp(logits[n, k] - largest)
            total += probs[n, k]
        share, less = np.float32(1) / total, largest + log(total)
        for k in range(logits.shape[1]):
            log_probs[n, k] = logits[n, k] - less
            probs[n, k] *= share


@compiled_for_finite
def exponentials(log_probs, probs):
    """Exponentials of log-probabilities, float32 (N, K)."""
    for n in range(log_probs.shape[0]):
        for k in range(log_probs.shape[1]):
            probs[n, k] = exp(log_probs[n, k])


@compiled_for_finite
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
        state: float32 (h + 2, w + 2, S), S = `FIXED_CHANNELS` + E, a pixel of border around; written.
    """
    classes, channels = text.shape[1], text.shape[0]
    width = state.shape[1] - 2
    # Floats from 0 up are in the order of their bits, and the largest of integers is found in vectors.
    bits, bits_before, floor = probs.view(np.int32), before.view(np.int32), np.int32(_FLOOR_BITS)
    for i in range(count):
        n = pixels[i]
        here = state[n // width + 1, n % width + 1]
        largest, entropy = bits[n, 0], np.float32(0)
        for k in range(classes):
            largest = max(largest, bits[n, k])
            entropy -= probs[n, k] * log_probs[n, k]
        next_largest = floor
        for k in range(classes):
            next_largest = max(next_largest, bits[n, k] if bits[n, k] < largest else floor)
        first, second = np.int32(largest).view(np.float32), np.int32(next_largest).view(np.float32)
        here[0] = first
        here[1] = second
        here[2] = min(log(first / second), MARGIN_MAX) / MARGIN_MAX
        here[3] = entropy
        for e in range(channels):
            expected = np.float32(0)
            for k in range(classes):
                expected += text[e, k] * probs[n, k]
            here[4 + e] = expected
        agreement, support = np.float32(0), np.int32(0)
        if has_previous:
            for k in range(classes):
                agreement += probs[n, k] * before[n, k]
                support = max(support, bits_before[n, k] if bits[n, k] == largest else np.int32(0))
        here[4 + channels] = agreement
        here[5 + channels] = np.int32(support).view(np.float32)


@compiled_for_finite
def act(pixels, actions, count, log_probs, probs, previous, before, size, sharpen, fresh):
    """Carry out the actions of the pixels that do not keep, all from the values before the step.

    Args:
        pixels: int32, indices of pixels that act.
        actions: uint8, what each of them does; not KEEP.
        count: how many there are.
        log_probs: float32 (N, K); changed.
        probs: their exponentials; changed.
        previous: log-probabilities of the previous frame, (N, K); read where RECALL is chosen.
        before: their exponentials.
        size: (h, w) of the grid.
        sharpen: exponent of SHARPEN; FLATTEN's is its inverse.
        fresh: float32 (N, K), scratch.
    """
    height, width = size
    classes = log_probs.shape[1]
    # First what others give, while they have it; then each pixel by itself.
    for i in range(count):
        n, action, new = pixels[i], actions[i], fresh[i]
        y, x = n // width, n % width
        if action == MEAN:
            _mean_of_neighbours(probs, y, x, height, width, new)
        elif action in (NORTH, SOUTH, EAST, WEST):
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
    own = np.empty(classes, np.float32)
    for i in range(count):
        n, action, new = pixels[i], actions[i], own
        if action == RECALL:
            for k in range(classes):
                log_probs[n, k] = previous[n, k]
                probs[n, k] = before[n, k]
            continue
        if action in (SHARPEN, FLATTEN):
            _temper(probs[n], log_probs[n], sharpen if action == SHARPEN else np.float32(1) / sharpen)
            continue
        if action == PROMOTE:
            _swap_first_two(probs[n], own)
        else:
            new = fresh[i]
        total = np.float32(0)
        for k in range(classes):
            total += new[k]
        scale = np.float32(1) / total
        for k in range(classes):
            probs[n, k] = max(new[k] * scale, FLOOR)
        for k in range(classes):
            log_probs[n, k] = log(probs[n, k])


@compiled_for_finite
def _temper(probs, log_probs, power):
    """Raise a pixel's probabilities (K) to `power` and normalise them; usual powers need no exponentials."""
    if power == 2:
        for k in range(len(probs)):
            probs[k] *= probs[k]
    elif power == np.float32(0.5):
        for k in range(len(probs)):
            probs[k] = np.sqrt(probs[k])
    else:
        for k in range(len(probs)):
            probs[k] = exp(log_probs[k] * power)
    total = np.float32(0)
    for k in range(len(probs)):
        total += probs[k]
    scale, less = np.float32(1) / total, log(total)
    for k in range(len(probs)):
        probs[k] = max(probs[k] * scale, FLOOR)
        # The logarithm of a power is known but for that of the sum.
        log_probs[k] = max(log_probs[k] * power - less, LOG_FLOOR)


@compiled_for_finite
def _swap_first_two(probs, new):
    """`actions.swap_first_two` of one pixel: (K) to (K)."""
    bits, floor = probs.view(np.int32), np.int32(_FLOOR_BITS)
    first, second = bits[0], floor
    for k in range(len(bits)):
        first = max(first, bits[k])
    for k in range(len(bits)):
        second = max(second, bits[k] if bits[k] < first else floor)
    for k in range(len(bits)):
        swapped = second if bits[k] == first else first if bits[k] == second else bits[k]
        new[k] = np.int32(swapped).view(np.float32)


@compiled_for_finite
def _mean_of_neighbours(probs, y, x, height, width, new):
    """Sum over the 3x3 pixels inside the grid; normalising makes it their mean."""
    for k in range(len(new)):
        new[k] = 0
    for row in range(max(y - 1, 0), min(y + 2, height)):
        for column in range(max(x - 1, 0), min(x + 2, width)):
            for k in range(len(new)):
                new[k] += probs[row * width + column, k]
