# mypy: disable-error-code="no-untyped-def, no-any-return, no-untyped-call"
"""Shrinking a frame by whole pixel blocks: the mean of each block, rounded, as `cv2.INTER_AREA` gives it.

Ours, not cv2.resize: of 1280x1024, blocks of 3x3 and 4x4 take it three times as long (of 2x2, half as long).

Rows are summed first, as long vectors, then columns, as long vectors too; one thread does it, so that the other core
stays free for the network.
"""

from __future__ import annotations

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.kernels.compiled import compiled

LARGEST = 15
"""Largest block side: the sum of a block must fit 16 bits."""


def block_mean(image: ByteArray, factor_x: int, factor_y: int) -> ByteArray:
    """Mean of blocks of `factor_y` x `factor_x` pixels.

    Args:
        image: uint8 (height, width, 3); rows may be apart, pixels in a row may not. What makes no whole block is left.
        factor_x: 1 to `LARGEST`.
        factor_y: the same.

    Returns:
        uint8 (height // factor_y, width // factor_x, 3), halves rounded up.
    """
    height, width = image.shape[0] // factor_y, image.shape[1] // factor_x
    out = np.empty((height, width, 3), np.uint8)
    # All bytes from the first to the last as one array: whatever the image is, the compiled function sees one type.
    count, step = (image.shape[0] - 1) * image.strides[0] + 3 * image.shape[1], image.strides[0]
    flat = np.lib.stride_tricks.as_strided(image, (count,), (1,), writeable=False)
    _block_mean(flat, step, factor_x, factor_y, out)
    return out


def warm_up() -> None:
    """Compile, once per process, so that the first frame does not wait for it."""
    block_mean(np.zeros((3, 3, 3), np.uint8), 3, 3)


def can_take(image: ByteArray, factor_x: int, factor_y: int) -> bool:
    """Whether `block_mean` takes this image and these factors."""
    return bool(max(factor_x, factor_y) <= LARGEST and image.strides[1:] == (3, 1) and image.strides[0] > 0)


@compiled
def _block_mean(flat, step, factor_x, factor_y, out):
    height, width, _ = out.shape
    used = 3 * width * factor_x
    inner = used - 3 * (factor_x - 1)
    count = np.uint32(factor_x * factor_y)
    half = np.uint32(count // 2)
    # Division by a constant as a product: exact, and within 32 bits, for sums of up to 225 bytes.
    inverse = np.uint32(((1 << 24) + count - 1) // count)
    down, across = np.empty(used, np.uint16), np.empty(used, np.uint16)
    for y in range(height):
        row = flat[y * factor_y * step :]
        for i in range(used):
            down[i] = row[i]
        for dy in range(1, factor_y):
            row = flat[(y * factor_y + dy) * step :]
            for i in range(used):
                down[i] += row[i]
        # Every pixel's block, though only one in factor_x is wanted: long vectors are faster than picking.
        for i in range(inner):
            across[i] = down[i]
        for dx in range(1, factor_x):
            part = down[3 * dx :]
            for i in range(inner):
                across[i] += part[i]
        for x in range(width):
            base = 3 * x * factor_x
            for k in range(3):
                out[y, x, k] = ((across[base + k] + half) * inverse) >> np.uint32(24)
