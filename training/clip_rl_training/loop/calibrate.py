"""Calibration: how far probabilities and novelty can be trusted; temperature on scenes never trained on.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2): log-probabilities are divided by one number
T, chosen so that the mean of ``-log softmax(l / T)[y]`` over labelled pixels is least. Novelty: mean and
standard deviation of the global embedding's components, and the root mean square of the standardised embedding that a
given share of known scenes stays below (Lee et al. 2018, arXiv 1807.03888, with a diagonal covariance).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.checkpoint import Calibration
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from scipy.optimize import minimize_scalar
from torch import Tensor

from clip_rl_training.data.label_batch import Batch, stride_labels
from clip_rl_training.losses.segmentation_losses import IGNORE, cross_entropy

NOVELTY_QUANTILE = 0.995
"""Share of known scenes that count as known."""

_PIXELS_PER_IMAGE = 2000


@torch.no_grad()
def calibrate(
    segmenter: ClipRlSegmenter,
    batches: Iterable[Batch],
    label_space: LabelSpace,
    *,
    device: torch.device,
    known: Iterable[Batch] = (),
) -> Calibration:
    """Fit temperature and novelty on `batches`; the segmenter is in evaluation mode.

    Pictures of `known` count as known too, beside those of `batches`: with few videos, those held out show few of the
    pictures that the network has learned from.

    Raises:
        ValueError: no batch, or none with a labelled pixel.
    """
    text = segmenter.encode_text(label_space)
    generator = torch.Generator().manual_seed(0)
    log_probs, labels, embeddings = [], [], []
    for batch in batches:
        decoded = segmenter.decode(segmenter.prepare(batch.images.to(device)), text)
        found = decoded.logits.log_softmax(1)
        truth = stride_labels(batch.labels).flatten()
        flat = found.permute(0, 2, 3, 1).reshape(-1, found.shape[1]).float().cpu()
        chosen = torch.randperm(len(truth), generator=generator)[: _PIXELS_PER_IMAGE * len(batch.labels)]
        chosen = chosen[truth[chosen] != IGNORE]
        log_probs.append(flat[chosen])
        labels.append(truth[chosen])
        embeddings.append(decoded.embedding.float().cpu())
    if not labels or not sum(map(len, labels)):
        raise ValueError("no labelled pixel to calibrate on")
    for batch in known:
        decoded = segmenter.decode(segmenter.prepare(batch.images.to(device)), text)
        embeddings.append(decoded.embedding.float().cpu())
    mean, std, limit = novelty_statistics(torch.cat(embeddings).numpy(), NOVELTY_QUANTILE)
    return Calibration(
        temperature=fit_temperature(torch.cat(log_probs), torch.cat(labels)),
        novelty_mean=mean,
        novelty_std=std,
        novelty_limit=limit,
    )


def fit_temperature(log_probs: Tensor, labels: Tensor) -> float:
    """T in [0.1, 10] with the least mean of ``-log softmax(l / T)[y]``; log-probabilities (N, K), labels int64 (N,)."""

    def loss(log_temperature: float) -> float:
        scaled = (log_probs / math.exp(log_temperature)).T[None, :, None, :]
        return cross_entropy(scaled, labels[None, None]).item()

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10.0)), method="bounded")
    return float(math.exp(found.x))


def novelty_statistics(
    embeddings: np.ndarray[tuple[int, ...], np.dtype[np.float32]], quantile: float
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], np.ndarray[tuple[int, ...], np.dtype[np.float32]], float]:
    """Mean (D,), standard deviation (D,) and the novelty limit of embeddings (N, D)."""
    mean = embeddings.mean(axis=0)
    # The floor keeps a component that hardly varies from deciding alone.
    std = np.maximum(embeddings.std(axis=0), 1e-3)
    distances = np.sqrt(np.mean(((embeddings - mean) / std) ** 2, axis=1))
    return mean.astype(np.float32), std.astype(np.float32), max(1e-6, float(np.quantile(distances, quantile)))
