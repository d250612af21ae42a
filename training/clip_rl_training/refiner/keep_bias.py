"""How sure the policy must be before it edits: a margin on the keep action, chosen on held-out scenes after training.

The greedy policy edits a pixel when another action's logit exceeds that of keep by any amount, however little it was
trained. Adding a margin to keep's logit makes it edit only where it prefers an edit clearly. The margin that gives the
highest pooled mIoU on validation scenes is folded into the bias of the action head: inference knows nothing of it. The
largest candidate keeps nearly everything, so refinement that does not help on held-out scenes all but vanishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.segmenter import ClipRlSegmenter

from clip_rl_training.data.label_batch import Batch, stride_labels

CANDIDATES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Margins that are tried, in logits."""


@torch.no_grad()
def choose_keep_bias_(
    segmenter: ClipRlSegmenter,
    batches: Iterable[Batch],
    label_space: LabelSpace,
    *,
    device: torch.device,
    candidates: Sequence[float] = CANDIDATES,
) -> tuple[float, dict[float, float]]:
    """Choose the margin, fold it into `segmenter` in place; returns it and the mIoU that each candidate gave.

    The mIoU is pooled at stride 4 over all classes that occur; of equal ones the smaller margin wins.
    """
    bias = segmenter.refiner.action_head.bias
    assert bias is not None
    trained = bias[Action.KEEP].item()
    text = segmenter.encode_text(label_space)
    metrics = {margin: PooledMetrics(label_space.names) for margin in candidates}
    for batch in batches:
        decoded = segmenter.decode(segmenter.prepare(batch.images.to(device)), text)
        truth = stride_labels(batch.labels).numpy().astype(np.uint8)
        for margin, pooled in metrics.items():
            bias[Action.KEEP] = trained + margin
            labels = segmenter.refine(decoded, text).log_probs.argmax(1).cpu().numpy().astype(np.uint8)
            for prediction, target in zip(labels, truth, strict=True):
                pooled.update(prediction, target)
    scores = {margin: pooled.miou() for margin, pooled in metrics.items()}
    best = max(candidates, key=lambda margin: (scores[margin], -margin))
    bias[Action.KEEP] = trained + best
    return best, scores
