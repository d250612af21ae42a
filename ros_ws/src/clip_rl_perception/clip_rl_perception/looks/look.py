"""A look: what the network is shown of a frame, and the way back to the plain look's logit grid.

What a network learned of light and of the sides that instruments come from, it learned with one side up; errors that
depend on it differ from one mirror image to the next and cancel in the mean (Krizhevsky et al. 2012, section 4.1).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import Engine, EngineOutput, check_output


@dataclasses.dataclass(frozen=True)
class Look:
    """A mirror image of the network's picture of a frame."""

    name: str
    """As status and reports call it."""
    down: int = 1
    """Step along rows: 1, or -1 for upside down."""
    across: int = 1
    """Step along columns: 1, or -1 for left and right exchanged."""

    def of(self, rgb: ByteArray) -> ByteArray:
        """What the network is shown of its picture of a frame, uint8 (H, W, 3), C-contiguous."""
        return np.ascontiguousarray(rgb[:: self.down, :: self.across])

    def to_plain(self, maps: FloatArray) -> FloatArray:
        """Maps (K, h, w) of what was shown, on the plain look's grid: a view."""
        return maps[:, :: self.down, :: self.across]


PLAIN = Look("plain")
MIRRORS = (PLAIN, Look("half turn", -1, -1), Look("left-right", 1, -1), Look("up-down", -1, 1))
"""In the order in which they are taken: the half turn differs most from the plain look and helps most beside it."""
LOOKS_A_FRAME = (1, 2, 4)
"""How many looks a frame may get: so that a turn through the mirror images ends with a frame."""


def looks_in_turn(taken: int, count: int) -> tuple[Look, ...]:
    """The next `count` mirror images of a stream that took `taken` looks before; the first look is the plain one."""
    return tuple(MIRRORS[(taken + index) % len(MIRRORS)] for index in range(count))


def take_looks(
    engine: Engine,
    rgb: ByteArray,
    text: FloatArray,
    looks: Sequence[Look],
    *,
    budget_ms: float | None = None,
) -> list[EngineOutput]:
    """Show the engine a picture in several ways, and bring the results back to the plain look's grid.

    Args:
        engine: runs each look, in batches of one: the time grows with their number.
        rgb: as of `Engine.infer`.
        text: as of `Engine.infer`.
        looks: at least one.
        budget_ms: for all looks together, ms. The first is always taken; no other begins that would not fit if it took
            as long as the longest so far.

    Returns:
        An output for each look that was taken, `log_probs` on the plain look's grid.

    Raises:
        EngineError: as of `Engine.infer`, or an output that breaks the protocol.
    """
    start = time.perf_counter()
    taken: list[EngineOutput] = []
    for look in looks:
        if taken and budget_ms is not None:
            left = budget_ms - (time.perf_counter() - start) * 1e3
            if left < max(output.network_ms for output in taken):
                break
        output = engine.infer(look.of(rgb), text)
        check_output(engine.info, output, len(text))
        taken.append(dataclasses.replace(output, log_probs=look.to_plain(output.log_probs)))
    return taken
