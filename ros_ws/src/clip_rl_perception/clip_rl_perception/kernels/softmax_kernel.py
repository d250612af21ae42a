# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""The compiled loop that makes log-probabilities of the logits of a network on the CPU.

The classes of a pixel lie side by side, and every loop over them is made of arithmetic that the compiler does for 16 of
them at once, logarithm and exponential included. Notation: N pixels, K classes. Arrays are C-contiguous.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled_for_finite
from clip_rl_perception.kernels.vector_math import exp, log


@compiled_for_finite
def log_softmax(logits, log_probs):
    """Log-probabilities of finite logits; both float32 (N, K)."""
    bits, others = logits.view(np.int32), np.int32(0x7FFFFFFF)
    for n in range(logits.shape[0]):
        # Integers in the order of floats of either sign: where the first bit says negative, the others are turned.
        most = np.int32(-(2**31))
        for k in range(logits.shape[1]):
            most = max(most, bits[n, k] ^ ((bits[n, k] >> np.int32(31)) & others))
        largest, total = np.int32(most ^ ((most >> np.int32(31)) & others)).view(np.float32), np.float32(0)
        for k in range(logits.shape[1]):
            total += exp(logits[n, k] - largest)
        less = largest + log(total)
        for k in range(logits.shape[1]):
            log_probs[n, k] = logits[n, k] - less
