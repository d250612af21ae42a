"""What close-ups of a track have said of its type so far, as log-odds, and what that comes to.

A close-up's embedding e and the texts t_k of the types give log-likelihoods l = log softmax(s / T * <t, e>), s being
the scale of training and T a temperature. Looks at one track resemble each other, so n of them are worth less than n:
with a correlation r between them the log-odds are sum(l) / (1 + (n - 1) r), exact for Gaussian evidence of equal
correlations. Old looks fade. All is immutable and counts stamps alone: the same frames give the same names.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from clip_rl_perception.arrays import DoubleArray, FloatArray

TURNS = 8
"""Ways to turn a close-up: quarter turns and their mirror images. A track's looks go through them."""


@dataclasses.dataclass(frozen=True)
class TypeConfig:
    """How instruments get the names of their types."""

    threshold: float = 0.5
    """Probability below which a type is "unknown", [0, 1]."""
    every: bool = False
    """Name every instrument of each frame by close-ups in all eight turns: for pictures that stand alone."""
    temperature: float = 2.0
    """T: log-odds of a close-up are divided by it; fitted on tags of synthetic scenes (docs/results/naming.md)."""
    correlation: float = 0.5
    """r between looks at one track, (0, 1]: of turns of one picture 0.85; looks in a video are less alike."""
    half_life_s: float = 10.0
    """Time after which a look counts half, s: identities may swap."""
    gap_s: float = 0.1
    """Least time between two looks at a track, s: a look at the same again says little."""
    sure: float = 0.95
    """Probability from which a track counts as named."""
    sure_gap_s: float = 1.0
    """Least time between two looks at a track that is named, s."""
    least_side: int = 32
    """Side below which a close-up shows too little, px of the frame."""


@dataclasses.dataclass(frozen=True, eq=False)
class TypeEvidence:
    """What is known of one track's type."""

    log_odds: DoubleArray
    """Sum of the log-likelihoods of its looks, as they count at `stamp_ns`, (T,)."""
    weight: float
    """How many looks these are, each as much as it counts."""
    looks: int
    """How many there were: the next turn follows from it."""
    stamp_ns: int
    """Of the last look, ns."""

    def probabilities(self, config: TypeConfig) -> DoubleArray:
        """Of the types, (T,)."""
        return _softmax(self.log_odds / (1 + max(self.weight - 1, 0.0) * config.correlation))


@dataclasses.dataclass(frozen=True, eq=False)
class TypeMemory:
    """Types of the tracks that are alive, and the texts that they were compared with."""

    text: FloatArray
    """(T, D)."""
    tracks: dict[int, TypeEvidence] = dataclasses.field(default_factory=dict)
    """By track id; never changed."""


def log_likelihoods(embedding: FloatArray, text: FloatArray, scale: float, config: TypeConfig) -> DoubleArray:
    """What one close-up says: (T,), of its embedding (D,) and the texts (T, D)."""
    logits = (text.astype(np.float64) @ embedding) * (scale / config.temperature)
    return np.asarray(logits - logits.max() - math.log(np.exp(logits - logits.max()).sum()), np.float64)


def gathered(said: DoubleArray, stamp_ns: int, before: TypeEvidence | None, config: TypeConfig) -> TypeEvidence:
    """One look more. A stamp that does not go on means that no time has passed."""
    if before is None:
        return TypeEvidence(said, 1.0, 1, stamp_ns)
    fade = 0.5 ** (max(stamp_ns - before.stamp_ns, 0) / 1e9 / config.half_life_s)
    return TypeEvidence(
        before.log_odds * fade + said, before.weight * fade + 1, before.looks + 1, max(stamp_ns, before.stamp_ns)
    )


def need(evidence: TypeEvidence | None, stamp_ns: int, config: TypeConfig) -> float:
    """How much a track needs a look now: infinite where it never had one, 0 where it was just looked at.

    Else its doubt, and a fifth more for every second since its last look.
    """
    if evidence is None:
        return math.inf
    probability = float(evidence.probabilities(config).max())
    seconds = (stamp_ns - evidence.stamp_ns) / 1e9
    if seconds < (config.gap_s if probability < config.sure else config.sure_gap_s):
        return 0.0
    return (1 - probability) + 0.2 * seconds


def _softmax(log_odds: DoubleArray) -> DoubleArray:
    weights = np.exp(log_odds - log_odds.max())
    return np.asarray(weights / weights.sum(), np.float64)
