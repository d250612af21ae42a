"""What the looks so far say of every pixel: looks at this frame, and those at the frames before where they still fit.

The mean of probabilities over looks; a look of an earlier frame counts where optical flow moved it along and the moved
picture fits, and less the longer ago. Old results never stand alone: there is a look at every frame.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray
from clip_rl_perception.looks.instance_looks import InstanceLooks
from clip_rl_perception.looks.look import Look
from clip_rl_perception.looks.motion import motion_between
from clip_rl_perception.scene.types import Basis

_TINY = np.float32(1e-12)
"""Added to probabilities before the logarithm."""
_BIT = np.float32(math.log(2))
"""Nats."""
_SHARPER = np.float32(0.2)
"""The mean of n looks is less sure than it is right: its probabilities are raised to the power n to this."""


@dataclasses.dataclass(frozen=True)
class EvidenceConfig:
    """How long earlier looks count, and how much."""

    memory_s: float = 0.5
    """A frame longer ago than this does not count, s of stamps; nor do earlier looks count for so much that
    what they say together is older."""
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
    age: FloatArray
    """Mean age of the looks that it is made of, each as much as it counts, s, (h, w); this frame's own have 0."""
    disagreement: FloatArray
    """How much they disagree, bits, (h, w): 0 where all say the same, 1 where two that count alike are sure of
    different classes. Their generalised Jensen-Shannon divergence (Lin 1991, equation 5.1)."""
    picture: ByteArray
    """The frame, small, as `motion.picture_of` gives it."""
    looks: int
    """Looks taken since it was empty."""
    log_belief: FloatArray
    """Calibrated log-probabilities, (K, h, w), C-contiguous; a single look's are its own."""
    instances: InstanceLooks | None = None
    """What the last looks say of instruments; None: nothing."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """What earlier looks say of a frame before it is looked at."""

    belief: FloatArray
    """As of `Evidence`, moved along, (K, h, w)."""
    weight: FloatArray
    """For how many looks at this frame it counts, (h, w)."""
    age: FloatArray
    """As of `Evidence`, when this frame was taken, s, (h, w)."""
    disagreement: FloatArray
    """As of `Evidence`, bits, (h, w)."""
    looks: int
    """As of `Evidence`."""
    instances: InstanceLooks | None = None
    """As of `Evidence`, moved along."""


def carry(before: Evidence | None, seconds: float, picture: ByteArray, config: EvidenceConfig) -> Carried | None:
    """Move the evidence of the frame before along to the frame that `picture` shows.

    Args:
        before: of the same classes, view and size; None: there is none.
        seconds: from that frame to this one.
        picture: of this frame.
        config: what it counts for.

    Returns:
        None where nothing was before, or too long ago, or another scene.
    """
    if before is None or not 0 <= seconds <= config.memory_s:
        return None
    motion = motion_between(before.picture, picture, config.tolerance)
    if float(motion.fit.mean()) < config.cut:
        return None
    # What counts as n looks at each frame of a stream is n + 1 frames old on average, in the end.
    most = np.float32(min(config.most_looks, config.memory_s / max(seconds, 1e-9) - 1))
    weight = np.minimum(motion.move(before.weight, cv2.BORDER_CONSTANT), most) * motion.fit
    return Carried(
        belief=np.stack([motion.move(old) for old in before.belief]),
        weight=weight,
        age=motion.move(before.age) + np.float32(seconds),
        disagreement=motion.move(before.disagreement),
        looks=before.looks,
        instances=before.instances.moved(motion) if before.instances is not None else None,
    )


def gather(looked: Sequence[FloatArray], picture: ByteArray, carried: Carried | None) -> Evidence:
    """Join looks at a frame with what earlier looks say of it.

    Args:
        looked: log-probabilities of each look at this frame, (K, h, w), at least one.
        picture: of this frame.
        carried: from the frames before, as `carry` gives it.
    """
    taken = len(looked)
    belief = np.ascontiguousarray(np.exp(looked[0]))
    shape = belief.shape[1:]
    weight: FloatArray = np.full(shape, taken, np.float32)
    age: FloatArray = np.zeros(shape, np.float32)
    if taken == 1 and carried is None:
        log_belief = np.ascontiguousarray(looked[0])
        return Evidence(belief, weight, age, age, picture, taken, log_belief)
    # The divergence of a whole is that between its parts and, as much as they count, those within them: so what earlier
    # looks are worth together moves as one, and the blur of moving it makes no disagreement.
    within = _entropy(belief, looked[0])
    for log_probabilities in looked[1:]:
        probabilities = np.exp(log_probabilities)
        within += _entropy(probabilities, log_probabilities)
        belief += probabilities
    looks, disagreement = taken, age
    if carried is not None:
        weight += carried.weight
        share = carried.weight / weight
        within += carried.weight * _entropy(carried.belief, np.log(carried.belief + _TINY))
        belief += carried.weight * carried.belief
        age, disagreement = share * carried.age, share * carried.disagreement
        looks += carried.looks
    belief /= weight
    logs = np.log(belief + _TINY)
    between = np.maximum(_entropy(belief, logs) - within / weight, np.float32(0))
    disagreement = np.asarray(disagreement + between / _BIT, np.float32)
    logs *= weight**_SHARPER
    logs -= np.log(np.exp(logs).sum(axis=0))  # the largest class has at least 1/K, to a power below 2: no underflow
    return Evidence(belief, weight, age, disagreement, picture, looks, logs)


def basis_of(evidence: Evidence, taken: Sequence[Look], inside: BoolArray) -> Basis:
    """What a frame's belief rests on.

    Args:
        evidence: of the frame.
        taken: looks at it, each at the whole frame: they count 1 at every node.
        inside: nodes in the content area, (h, w).
    """
    weight = evidence.weight[inside]
    memory = weight - np.float32(len(taken))
    counted = float(memory.sum())
    return Basis(
        looks=tuple(look.name for look in taken),
        memory_share=float((memory / weight).mean()),
        memory_age_ms=1e3 * float(np.dot(weight, evidence.age[inside])) / counted if counted > 0 else 0.0,
        disagreement=float(evidence.disagreement[inside].mean()) if evidence.looks > 1 else None,
    )


def _entropy(probabilities: FloatArray, logs: FloatArray) -> FloatArray:
    """Of (K, h, w), nats, (h, w)."""
    return np.asarray(-np.einsum("khw,khw->hw", probabilities, logs), np.float32)
