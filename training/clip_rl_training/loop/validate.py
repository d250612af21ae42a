"""Validation on scenes that were never trained on: pooled metrics, pictures to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.scene.letterbox import PAD_RGB
from torch import Tensor
from torch.nn import functional

from clip_rl_training.data.label_batch import Batch


class ValidationResult(NamedTuple):
    """Metrics of one pass over the validation scenes."""

    metrics: PooledMetrics
    pictures: list[ByteArray]
    """Image, truth and prediction side by side, uint8 RGB (H, 3 W, 3)."""
    instruments: tuple[int, ...] = ()
    """Ids of the classes that are instruments; none: all but the background count as such."""

    @property
    def instrument_iou(self) -> float:
        """Pooled IoU of instruments against all else; NaN when neither truth nor prediction holds any."""
        confusion = self.metrics.confusion
        chosen = np.zeros(len(confusion), np.bool_)
        chosen[list(self.instruments) or slice(1, None)] = True
        both = confusion[np.ix_(chosen, chosen)].sum()
        either = confusion.sum() - confusion[np.ix_(~chosen, ~chosen)].sum()
        return float(both / either) if either else float("nan")

    def scalars(self) -> dict[str, float]:
        """What to log, by name."""
        return {
            "miou": self.metrics.miou(),
            "miou_no_background": self.metrics.miou(background=False),
            "dice": self.metrics.mean_dice(),
            "instrument_iou": self.instrument_iou,
        }


@torch.no_grad()
def validate(
    segmenter: ClipRlSegmenter,
    batches: Iterable[Batch],
    label_space: LabelSpace,
    *,
    device: torch.device,
    pictures: int = 0,
    text: Tensor | None = None,
) -> ValidationResult:
    """Score a segmenter in evaluation mode, at the labels' full size, by bilinear upsampling of log-probabilities.

    `text` stands in for the text embeddings of the label space, (K, D).
    """
    text = segmenter.encode_text(label_space) if text is None else text
    metrics = PooledMetrics(label_space.names)
    drawn: list[ByteArray] = []
    count, apart = 0, 1
    for batch in batches:
        images = segmenter.prepare(batch.images.to(device))
        log_probs = segmenter.decode(images, text).logits.log_softmax(1)
        found = label_maps(log_probs, batch.labels.shape[1:])
        for index, truth in enumerate(batch.labels.numpy().astype(np.uint8)):
            metrics.update(found[index], truth)
            # Spread over all frames, however many there are: neighbours in a video look alike.
            if pictures and (count + index) % apart == 0:
                image = batch.images[index].permute(1, 2, 0).numpy()
                drawn.append(side_by_side(image, (truth, found[index]), label_space))
                if len(drawn) == 2 * pictures:
                    drawn, apart = drawn[::2], 2 * apart
        count += len(images)
    places = np.linspace(0, len(drawn) - 1, min(pictures, len(drawn))).round().astype(int)
    return ValidationResult(metrics, [drawn[place] for place in places], label_space.instrument_ids)


def label_maps(log_probs: Tensor, size: tuple[int, ...] | torch.Size) -> ByteArray:
    """Class ids at full size, uint8 (B, H, W), of stride-4 log-probabilities (B, K, h, w)."""
    full = functional.interpolate(log_probs.float(), size=tuple(size), mode="bilinear", align_corners=False)
    return np.asarray(full.argmax(1).to(torch.uint8).cpu().numpy(), np.uint8)


COLUMNS = ("image", "truth", "prediction")
"""What `side_by_side` shows of a frame, left to right, when given truth and predicted labels."""


def side_by_side(image: ByteArray, masks: Sequence[ByteArray], label_space: LabelSpace) -> ByteArray:
    """The image and each mask drawn over it, left to right, uint8 RGB; nothing is drawn over the padding.

    The first mask is the truth, which ignores the padding.
    """
    palette = label_space.palette
    padding = (masks[0] == UNLABELLED) & (image == PAD_RGB).all(-1)
    columns = [image]
    for mask in masks:
        colour = palette[mask]
        shown = np.where((mask == 0)[..., None], image // 2, (image // 2 + colour // 2))
        columns.append(np.where(padding[..., None], image, shown).astype(np.uint8))
    return np.concatenate(columns, axis=1)
