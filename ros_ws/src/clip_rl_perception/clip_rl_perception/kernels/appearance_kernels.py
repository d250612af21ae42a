# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call, assignment, arg-type"
"""Compiled loop of `validity.measure_appearance`: what a small picture looks like."""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled


@compiled
def measure(pixels, mask):
    """The numbers of `validity.FrameAppearance` but the last, in its order.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        mask: which to look at, bool (height, width); at least one.
    """
    n = judged = colored = warm = blown = 0
    total = squares = saturation = 0.0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            if not mask[y, x]:
                continue
            red, green, blue = np.float64(pixels[y, x, 0]), np.float64(pixels[y, x, 1]), np.float64(pixels[y, x, 2])
            cool = max(green, blue)
            high, low = max(red, cool), min(red, min(green, blue))
            n += 1
            total += high
            squares += high * high
            blown += low >= 250
            if high >= 24 and low < 245:
                judged += 1
                saturation += (high - low) / high
                if high - low > 0.15 * high:
                    colored += 1
                    warm += red >= cool
    mean = total / n
    return (
        mean,
        np.sqrt(max(0.0, squares / n - mean * mean)),
        blown / n,
        saturation / judged if judged else 0.0,
        warm / colored if colored else 1.0,
        (colored - warm) / judged if judged else 0.0,
    )
