"""What is shown of one frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.scene.types import Instrument, Validity


@dataclasses.dataclass(frozen=True)
class FrameView:
    """One frame and what was made of it; parts that are None are not shown, and nothing older is shown for them."""

    stamp_ns: int
    """Header stamp of the image, ns."""
    validity: Validity
    reason: str
    """Empty when OK."""
    times_ms: Mapping[str, float]
    """Times by name, for example ``total``, ``age`` and the stages of SceneStatus, ms."""
    image: ByteArray | None = None
    """uint8 RGB (height, width, 3)."""
    mask: ByteArray | None = None
    """Class ids, uint8; (height, width) or smaller with the same aspect."""
    confidence: ByteArray | None = None
    """Probability x 255, uint8, as large as the mask."""
    disagreement: ByteArray | None = None
    """How much looks disagree, bits x 255, uint8, as large as the mask."""
    tags: tuple[Instrument, ...] | None = None
    """Instruments, in pixels of the image."""
    dropped: int | None = None
    """Frames that gave way to newer ones so far."""
