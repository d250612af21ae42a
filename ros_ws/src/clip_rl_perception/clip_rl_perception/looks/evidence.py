"""What the looks so far say of every pixel: looks at this frame, and those at the frames before where they still fit.

The mean of probabilities over looks; a look of an earlier frame counts where optical flow moved it along and the moved
picture fits, and less the longer ago. Old results never stand alone: there is a look at every frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.looks.motion import motion_between

_TINY = np.float32(1e-12)
"""Added to probabilities before the logarithm."""
_SHARPER = np.float32(0.2)
"""The mean of n looks is less sure than it is right: its probabilities are raised to the power n to this."""


@dataclasses.dataclass(frozen=True)
class EvidenceConfig:
    """How long earlier looks count, and how much."""

    memory_s: float = 0.5
    """A frame longer ago than this does not count, s of stamps."""
    most_looks: float = 6.0
    """All earlier looks at a pixel count together at most as so many looks at this frame."""
    tolerance: float = 12.0
    """Difference between this frame and the moved one, 0 to 255, at which earlier looks count 1/e."""
    cut: float = 0.4
    """Mean fit (0 to 1) of the moved picture below which it shows another scene: earlier looks do not count at all."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a stream's looks say of a frame."""

    belief: FloatArray
    """Mean probability of each class, (K, h, w)."""
    weight: FloatArray
    """For how many looks it counts, (h, w)."""
    picture: ByteArray
    """The frame, small, as `motion.picture_of` gives it."""
    looks: int
    """Looks taken since it was empty."""
    log_belief: FloatArray
    """Calibrated log-probabilities, (K, h, w), C-contiguous; a single look's are its own."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """What earlier looks say of a frame before it is looked at."""

    belief: FloatArray
    """As of `Evidence`, moved along, (K, h, w)."""
    weight: FloatArray
    """For how many looks at this frame it counts, (h, w)."""
    looks: int
    """As of `Evidence`."""


def carry(before: Evidence | None, picture: ByteArray, config: EvidenceConfig) -> Carried | None:
    """Move the evidence of the frame before along to the frame that `picture` shows.

    Args:
        before: of the same classes, view and size; None: there is none.
        picture: of this frame.
        config: what it counts for.

    Returns:
        None where nothing was before, or another scene.
    """
    if before is None:
        return None
    motion = motion_between(before.picture, picture, config.tolerance)
    if float(motion.fit.mean()) < config.cut:
        return None
    weight = np.minimum(motion.move(before.weight, cv2.BORDER_CONSTANT), np.float32(config.most_looks)) * motion.fit
    return Carried(np.stack([motion.move(old) for old in before.belief]), weight, before.looks)


def gather(looked: Sequence[FloatArray], picture: ByteArray, carried: Carried | None) -> Evidence:
    """Join looks at a frame with what earlier looks say of it.

    Args:
        looked: log-probabilities of each look at this frame, (K, h, w), at least one.
        picture: of this frame.
        carried: from the frames before, as `carry` gives it.
    """
    belief = np.ascontiguousarray(np.exp(looked[0]))
    for log_probabilities in looked[1:]:
        belief += np.exp(log_probabilities)
    weight = np.full(belief.shape[1:], len(looked), np.float32)
    looks = len(looked)
    if carried is not None:
        belief += carried.weight * carried.belief
        weight += carried.weight
        looks += carried.looks
    if looks == 1:
        return Evidence(belief, weight, picture, looks, np.ascontiguousarray(looked[0]))
    belief /= weight
    logs = np.log(belief + _TINY) * weight**_SHARPER
    logs -= np.log(np.exp(logs).sum(axis=0))  # the largest class has at least 1/K, to a power below 2: no underflow
    return Evidence(belief, weight, picture, looks, logs)
