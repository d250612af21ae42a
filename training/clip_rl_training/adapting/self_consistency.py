"""What can be measured of a network on frames without labels: how far it agrees with itself, and with its teacher.

A mask that is right is the same upside down, and moves with the scene. The reverse does not hold (an empty mask is all
of that), so the area is measured too, and agreement with what the teacher is sure of.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray, CountArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.looks.look import MIRRORS
from clip_rl_perception.metrics.temporal import FramePairs
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.scene.label_map import full_size_maps
from torch import Tensor

from clip_rl_training.adapting.labelled_videos import LabelledVideo
from clip_rl_training.adapting.video_teacher import look_at_frames
from clip_rl_training.losses.distillation import turned_dims


@dataclasses.dataclass(frozen=True)
class Consistency:
    """Of one network on the frames held out; IoU is of instruments against all else, NaN where there are none."""

    frames: int
    """Looked at."""
    mirrors: float
    """IoU of the plain look's mask with that of each mirror image, pooled."""
    consistency: float
    """IoU of each mask with the one before, moved along by optical flow, pooled over videos."""
    teacher: float
    """IoU of the plain look's mask with what the teacher is sure of, where it is."""
    area: float
    """Pixels of instruments for each that the teacher is sure of, where it is."""


def measure_consistency(
    pipeline: PerceptionPipeline, held_out: Sequence[tuple[LabelledVideo, Sequence[int]]]
) -> Consistency:
    """Take all mirror images of the frames held out and compare.

    Args:
        pipeline: of the network, whose classes are those of the pseudo labels.
        held_out: frames of each video by number, in order.
    """
    space = pipeline.label_space
    mirrors, teacher, frames = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64), 0
    moved: CountArray = np.zeros((2, 2), np.int64)
    for labelled, numbers in held_out:
        pairs, stamps = FramePairs(2), dict(zip(labelled.video.numbers, labelled.video.stamps_ns, strict=True))
        seen = look_at_frames(pipeline, ((labelled.video.frame(number), stamps[number]) for number in numbers))
        for number, before, frame in zip(numbers, [None, *numbers[:-1]], seen, strict=True):
            frames += 1
            plain, *others = (
                _instruments(full_size_maps(np.asarray(look, np.float32), frame.view)[0], space)
                for look in frame.looked
            )
            for other in others:
                mirrors += _confusion(plain, other)
            told = _instruments(labelled.mask(number), space)
            teacher += _confusion(np.where(told == UNLABELLED, told, plain), told)
            if before is not None and number != before + 1:
                pairs.reset()
            counts = pairs.measure(labelled.video.frame(number), plain)
            moved = moved if counts is None else moved + counts[0]
    return Consistency(
        frames=frames,
        mirrors=_iou(mirrors),
        consistency=_iou(moved),
        teacher=_iou(teacher),
        area=float(teacher[:, 1].sum() / teacher[1].sum()) if teacher[1].sum() else math.nan,
    )


@torch.no_grad()
def mirror_agreement(segmenter: ClipRlSegmenter, batches: Iterable[Tensor], space: LabelSpace) -> float:
    """`Consistency.mirrors` at the network's own size and stride.

    Args:
        segmenter: in evaluation mode.
        batches: uint8 images (B, H, W, 3).
        space: its classes.
    """
    text = segmenter.encode_text(space)
    counts: CountArray = np.zeros((2, 2), np.int64)
    for images in batches:
        pixels = segmenter.prepare(images)
        masks = []
        for look in MIRRORS:
            turned = turned_dims(look)
            said = segmenter.decode(pixels.flip(turned), text).logits.flip(turned).argmax(dim=1)
            masks.append(_instruments(said.to(torch.uint8).cpu().numpy(), space))
        for other in masks[1:]:
            counts += _confusion(masks[0], other)
    return _iou(counts)


def _instruments(labels: ByteArray, space: LabelSpace) -> ByteArray:
    """1 for instruments, 0 for all else, 255 where nothing is known."""
    table = np.full(256, UNLABELLED, np.uint8)
    for entry in space.classes:
        table[entry.id] = int(entry.instrument)
    return np.asarray(table[labels], np.uint8)


def _confusion(mask: ByteArray, reference: ByteArray) -> CountArray:
    """(2, 2), rows the reference; pixels that one of them does not know are left out."""
    known = (mask != UNLABELLED) & (reference != UNLABELLED)
    return np.bincount(2 * reference[known] + mask[known], minlength=4).reshape(2, 2).astype(np.int64)


def _iou(counts: CountArray) -> float:
    either = int(counts.sum() - counts[0, 0])
    return float(counts[1, 1] / either) if either else math.nan
