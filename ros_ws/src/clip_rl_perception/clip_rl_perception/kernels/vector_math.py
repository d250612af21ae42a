# mypy: disable-error-code="no-untyped-def, no-any-return"
"""Exponential and logarithm for compiled loops: plain arithmetic, so that the compiler does 8 or 16 of them at once.

Polynomials of Cephes' expf and logf (S. Moshier, https://www.netlib.org/cephes), with bits in place of table look-ups.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.kernels.compiled import compiled_for_finite


@compiled_for_finite
def exp(x):
    """e^x of a float32 up to 88, within 2e-7 of its value; below -87 the value at -87, which is above 0."""
    x = max(x, np.float32(-87))
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    # Less whole times log 2, in two parts: the product with the first is exact.
    r = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power_of_two = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + np.float32(1)) * power_of_two


@compiled_for_finite
def log(x):
    """Natural logarithm of a normal float32 above 0, within 2e-7 of its value, and of 1e-7 near 1."""
    bits = np.float32(x).view(np.int32)
    # x = m 2^e with m between the roots of 1/2 (0x3f3504f3 in bits) and of 2.
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = np.int32(bits - (e << np.int32(23))).view(np.float32) - np.float32(1)
    p = np.float32(7.0376836292e-2) * m - np.float32(1.1514610310e-1)
    p = p * m + np.float32(1.1676998740e-1)
    p = p * m - np.float32(1.2420140846e-1)
    p = p * m + np.float32(1.4249322787e-1)
    p = p * m - np.float32(1.6668057665e-1)
    p = p * m + np.float32(2.0000714765e-1)
    p = p * m - np.float32(2.4999993993e-1)
    p = p * m + np.float32(3.3333331174e-1)
    rest = p * m * m * m - np.float32(2.12194440e-4) * np.float32(e) - np.float32(0.5) * m * m
    return m + rest + np.float32(0.693359375) * np.float32(e)
