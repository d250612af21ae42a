"""Validation on scenes that were never trained on: pooled metrics with and without refinement, pictures to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.actions import ACTIONS, Action
from clip_rl_perception.model.segmenter import ClipRlSegmenter, DecoderOutput, RefinerOutput
from clip_rl_perception.scene.letterbox import PAD_RGB
from torch import Tensor
from torch.nn import functional

from clip_rl_training.data.label_batch import Batch
from clip_rl_training.refiner.refiner_config import RefinerMode


class ValidationResult(NamedTuple):
    """Metrics of one pass over the validation scenes."""

    unrefined: PooledMetrics
    """Of the decoder alone."""
    refined: PooledMetrics
    """After greedy refinement."""
    steps: float
    """Mean number of refinement steps per image until every pixel kept."""
    edited: float
    """Mean share of pixels that did not keep, over those steps."""
    pictures: list[ByteArray]
    """Image, truth, unrefined and refined side by side, uint8 RGB (H, 4 W, 3)."""

    def scalars(self) -> dict[str, float]:
        """What to log, by name."""
        values = {"refine_steps": self.steps, "edited": self.edited}
        for name, metrics in (("unrefined", self.unrefined), ("refined", self.refined)):
            values[f"{name}/miou"] = metrics.miou()
            values[f"{name}/miou_no_background"] = metrics.miou(background=False)
            values[f"{name}/dice"] = metrics.mean_dice()
            values[f"{name}/instrument_iou"] = foreground_iou(metrics)
        return values


def foreground_iou(metrics: PooledMetrics) -> float:
    """Pooled IoU of everything that is not class 0 against class 0; NaN when neither truth nor prediction holds any."""
    confusion = metrics.confusion
    both = confusion[1:, 1:].sum()
    either = confusion.sum() - confusion[0, 0]
    return float(both / either) if either else float("nan")


@torch.no_grad()
def validate(
    segmenter: ClipRlSegmenter,
    batches: Iterable[Batch],
    label_space: LabelSpace,
    *,
    device: torch.device,
    pictures: int = 0,
    mode: RefinerMode = "rl",
    text: Tensor | None = None,
) -> ValidationResult:
    """Score a segmenter in evaluation mode, at the labels' full size, by bilinear upsampling of log-probabilities.

    `mode` is how the refiner was trained: ``none`` takes no step, ``random`` draws its actions. `text` stands in for
    the text embeddings of the label space, (K, D).
    """
    generator = torch.Generator().manual_seed(0)
    text = segmenter.encode_text(label_space) if text is None else text
    unrefined, refined = PooledMetrics(label_space.names), PooledMetrics(label_space.names)
    drawn: list[ByteArray] = []
    steps, edited, count, apart = 0.0, 0.0, 0, 1
    for batch in batches:
        images = segmenter.prepare(batch.images.to(device))
        decoded = segmenter.decode(images, text)
        output = refine(segmenter, decoded, text, mode=mode, generator=generator)
        before = label_maps(decoded.logits.log_softmax(1), batch.labels.shape[1:])
        after = label_maps(output.log_probs, batch.labels.shape[1:])
        for index, truth in enumerate(batch.labels.numpy().astype(np.uint8)):
            unrefined.update(before[index], truth)
            refined.update(after[index], truth)
            # Spread over all frames, however many there are: neighbours in a video look alike.
            if pictures and (count + index) % apart == 0:
                image = batch.images[index].permute(1, 2, 0).numpy()
                drawn.append(side_by_side(image, (truth, before[index], after[index]), label_space))
                if len(drawn) == 2 * pictures:
                    drawn, apart = drawn[::2], 2 * apart
        count += len(images)
        for actions in output.actions:
            # An image whose pixels all keep is done, whatever the rest of the batch does.
            active = (actions != Action.KEEP).flatten(1)
            steps += active.any(1).sum().item()
            edited += active.float().mean(1).sum().item()
    places = np.linspace(0, len(drawn) - 1, min(pictures, len(drawn))).round().astype(int)
    shown = [drawn[place] for place in places]
    return ValidationResult(unrefined, refined, steps / max(1, count), edited / max(1, steps), shown)


def refine(
    segmenter: ClipRlSegmenter, decoded: DecoderOutput, text: Tensor, *, mode: RefinerMode, generator: torch.Generator
) -> RefinerOutput:
    """Refinement of a batch without previous frames: greedy, none at all, or the control with random actions."""
    if mode == "none":
        return segmenter.refine(decoded, text, max_steps=0)
    if mode != "random":
        return segmenter.refine(decoded, text)
    log_probs = decoded.logits.log_softmax(1)
    context = segmenter.refiner_context(decoded, text)
    taken = []
    for _ in range(segmenter.config.refiner.max_steps):
        # RECALL, the last action, needs a previous frame.
        drawn = torch.randint(0, len(ACTIONS) - 1, log_probs[:, 0].shape, generator=generator)
        taken.append(drawn.to(log_probs.device))
        log_probs = segmenter.refiner.act(log_probs, taken[-1], context)
    return RefinerOutput(log_probs, len(taken), tuple(taken))


def label_maps(log_probs: Tensor, size: tuple[int, ...] | torch.Size) -> ByteArray:
    """Class ids at full size, uint8 (B, H, W), of stride-4 log-probabilities (B, K, h, w)."""
    full = functional.interpolate(log_probs.float(), size=tuple(size), mode="bilinear", align_corners=False)
    return np.asarray(full.argmax(1).to(torch.uint8).cpu().numpy(), np.uint8)


COLUMNS = ("image", "truth", "unrefined", "refined")
"""What `side_by_side` shows of a frame, left to right, when given truth, unrefined and refined labels."""


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
