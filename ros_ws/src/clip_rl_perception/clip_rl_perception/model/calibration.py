"""What makes a network's numbers mean something: calibrated probabilities and the limit of known frames."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from clip_rl_perception.model.frame_classifier import FrameClassifier


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far probabilities and novelty can be trusted; fitted on validation frames after training."""

    temperature: float
    """Log-probabilities are divided by this before they are called probabilities."""
    novelty_mean: npt.NDArray[np.float32]
    """Mean of the global embedding over known frames, (D,)."""
    novelty_std: npt.NDArray[np.float32]
    """Standard deviation of each component over known frames, (D,), positive."""
    novelty_limit: float
    """Root mean square of the standardised embedding above which a frame counts as out of distribution."""
    classifier: FrameClassifier | None = None
    """Tells surgery from all else; None in checkpoints that none was fitted for."""

    def novelty(self, embedding: npt.NDArray[np.float32]) -> float:
        """Novelty of a global embedding (D,): 1 is the limit. A diagonal Mahalanobis distance (arXiv 1807.03888)."""
        standardised = (embedding - self.novelty_mean) / self.novelty_std
        return float(np.sqrt(np.mean(np.square(standardised, dtype=np.float64))) / self.novelty_limit)

    def teller(
        self, embedding: npt.NDArray[np.float32]
    ) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]] | None:
        """What tells from measures what a frame with this embedding shows; None without a classifier."""
        return None if self.classifier is None else functools.partial(self.classifier.probabilities, embedding)

    @classmethod
    def uncalibrated(cls, embedding_dim: int) -> Calibration:
        """Changes no probability and never calls a frame novel: before anything was fitted."""
        return cls(1.0, np.zeros(embedding_dim, np.float32), np.ones(embedding_dim, np.float32), math.inf)


def mean_direction(embeddings: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The unit vector, (D,), along the mean of unit vectors (D,)."""
    direction = np.sum(embeddings, axis=0)
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-12), np.float32)
