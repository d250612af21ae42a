"""What makes a network's numbers mean something: calibrated probabilities and the limit of known frames."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt


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

    def novelty(self, embedding: npt.NDArray[np.float32]) -> float:
        """Novelty of a global embedding (D,): 1 is the limit. A diagonal Mahalanobis distance (arXiv 1807.03888)."""
        standardised = (embedding - self.novelty_mean) / self.novelty_std
        return float(np.sqrt(np.mean(np.square(standardised, dtype=np.float64))) / self.novelty_limit)

    @classmethod
    def uncalibrated(cls, embedding_dim: int) -> Calibration:
        """Changes no probability and never calls a frame novel: before anything was fitted."""
        return cls(1.0, np.zeros(embedding_dim, np.float32), np.ones(embedding_dim, np.float32), math.inf)
