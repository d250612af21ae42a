"""Which pixels of a frame are sure enough to learn from, and as what."""

from __future__ import annotations

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace

from clip_rl_training.adapting.adapt_config import SureConfig


def sure_labels(
    labels: ByteArray, confidence: ByteArray, disagreement: ByteArray, space: LabelSpace, config: SureConfig
) -> ByteArray:
    """Labels where the teacher is sure and its looks agree, 255 elsewhere, uint8 (H, W).

    Args:
        labels: ids, uint8 (H, W), 255 outside the content.
        confidence: calibrated probability of these classes x 255, uint8 (H, W).
        disagreement: of the looks that they rest on, bits x 255, uint8 (H, W).
        space: the classes.
        config: how sure.
    """
    least = np.full(256, 256.0)  # what is no class is never sure
    for entry in space.classes:
        least[entry.id] = 255 * (config.instrument if entry.instrument else config.background)
    sure = (confidence >= least[labels]) & (disagreement <= 255 * config.disagreement)
    return np.where(sure, labels, np.uint8(UNLABELLED)).astype(np.uint8)
