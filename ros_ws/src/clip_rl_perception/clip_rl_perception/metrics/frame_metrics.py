"""Region metrics averaged frame by frame, as the challenges and their papers compute them.

They differ in which classes of a frame count and in what an empty frame is worth, so each is written to the letter of
the code that published it. All are functions of the frame's confusion matrix (`confusion.frame_confusion`).

Notation: G foreground classes in the frame's truth, P foreground classes predicted (class 0 is the background).

| metric | frame value | neither G nor P | G without P | P without G |
|---|---|---|---|---|
| Challenge IoU (ISINet code) | mean IoU over G | skipped | 0 | skipped |
| ISI IoU (ISINet code) | mean IoU over G and P | skipped | 0 | 0 |
| mcIoU (ISINet code) | IoU per class (2) | no entry | 0 for each of G | 0 for each of P |
| scene IoU, scene Dice (STswinCL code) | mean over G | skipped (1) | 0 | skipped (1) |
| eps-mIoU (Surg-SegFormer code) | mean of (I+eps)/(U+eps) over all K (3) | about 1 | as it comes | as it comes |

(1) The published code would average an empty list to NaN; its test set has no such frame.
(2) Averaged over the frames with the class in G or P, then over the classes that have any such frame.
(3) With background; a class in neither scores 1.

Sources: ISINet evaluation (MICCAI 2020), reused by SurgicalSAM; STswinCL seg18/utils/EndoMetric.py and test.py;
Surg-SegFormer surg_segformer/metrics/miou.py, whose absent classes score 1: a frame of K classes with p present of mean
IoU m and no false class scores (p m + K - p) / K, so it is not comparable with the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clip_rl_perception.arrays import CountArray, DoubleArray
from clip_rl_perception.metrics.confusion import (
    MetricError,
    class_dice,
    class_iou,
    intersection_and_union,
    mean_of_present,
    to_json,
)

EPSILON = 1e-7
"""Of the eps-mIoU, as in the Surg-SegFormer code."""


class FrameMetrics:
    """Streaming frame-wise metrics of one set of frames; see the table at the top of this file."""

    def __init__(self, classes: int) -> None:
        """`classes` is K with the background. Raises `MetricError` below 1."""
        if classes < 1:
            raise MetricError(f"{classes} classes; expected at least 1")
        self.classes = classes
        self.frames = 0
        self._challenge = _Mean()
        self._isi = _Mean()
        self._class_sum: DoubleArray = np.zeros(classes)
        self._class_entries: CountArray = np.zeros(classes, np.int64)
        self._isinet_intersection = 0
        self._isinet_union = 0
        self._scene_iou = _Mean()
        self._scene_dice = _Mean()
        self._eps = _Mean()

    def add(self, confusion: CountArray) -> None:
        """Add a frame, counted by `confusion.frame_confusion`, int64 (K, K). Raises `MetricError` for another shape."""
        if confusion.shape != (self.classes, self.classes):
            raise MetricError(f"confusion is {confusion.shape}; expected ({self.classes}, {self.classes})")
        self.frames += 1
        in_truth, in_prediction = confusion.sum(axis=1) > 0, confusion.sum(axis=0) > 0
        in_truth[0] = in_prediction[0] = False
        iou = class_iou(confusion)
        self._add_isinet(confusion, iou, in_truth, in_prediction)
        if in_truth.any():
            self._scene_iou.add(float(iou[in_truth].mean()))
            self._scene_dice.add(float(class_dice(confusion)[in_truth].mean()))
        intersection, union = intersection_and_union(confusion)
        self._eps.add(float(((intersection + EPSILON) / (union + EPSILON)).mean()))

    def _add_isinet(self, confusion: CountArray, iou: DoubleArray, in_truth: Any, in_prediction: Any) -> None:
        either = in_truth | in_prediction
        if not either.any():
            return
        if in_prediction.any():
            # The published code leaves a frame without any prediction out of its pooled sums, so we do.
            intersection, union = intersection_and_union(confusion)
            self._isinet_intersection += int(intersection[either].sum())
            self._isinet_union += int(union[either].sum())
        self._isi.add(float(iou[either].mean()))
        if in_truth.any():
            self._challenge.add(float(iou[in_truth].mean()))
        self._class_sum[either] += iou[either]
        self._class_entries[either] += 1

    def challenge_iou(self) -> float:
        """Challenge IoU; NaN when no frame counts."""
        return self._challenge.value()

    def isi_iou(self) -> float:
        """ISI IoU; NaN when no frame counts."""
        return self._isi.value()

    def class_mean_iou(self) -> DoubleArray:
        """Mean IoU over the frames with the class in G or P, float64 (K,); NaN without such a frame and for class 0."""
        mean = np.full(self.classes, math.nan)
        np.divide(self._class_sum, self._class_entries, out=mean, where=self._class_entries > 0)
        return mean

    def mciou(self) -> float:
        """mcIoU: mean of `class_mean_iou` over the classes with any entry; NaN when there is none."""
        return mean_of_present(self.class_mean_iou())

    def isinet_miou(self) -> float:
        """What the ISINet code prints as "mIoU": summed intersections over summed unions, frames without P left out."""
        return self._isinet_intersection / self._isinet_union if self._isinet_union else math.nan

    def isinet_sums(self) -> tuple[int, int]:
        """Summed intersections and unions that `isinet_miou` divides, pixels."""
        return self._isinet_intersection, self._isinet_union

    def scene_iou(self) -> float:
        """STswinCL's scene IoU; NaN when no frame has foreground in its truth."""
        return self._scene_iou.value()

    def scene_dice(self) -> float:
        """STswinCL's scene Dice; NaN when no frame has foreground in its truth."""
        return self._scene_dice.value()

    def eps_miou(self) -> float:
        """The eps-mIoU of the Surg-SegFormer code; NaN without frames."""
        return self._eps.value()

    def report(self) -> dict[str, float | None]:
        """Plain data for JSON; None stands for undefined."""
        return {
            "challenge_iou": to_json(self.challenge_iou()),
            "isi_iou": to_json(self.isi_iou()),
            "mciou": to_json(self.mciou()),
            "isinet_miou": to_json(self.isinet_miou()),
            "scene_iou": to_json(self.scene_iou()),
            "scene_dice": to_json(self.scene_dice()),
            "eps_miou": to_json(self.eps_miou()),
        }


class _Mean:
    """Running mean; NaN without entries."""

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    def value(self) -> float:
        return self.total / self.count if self.count else math.nan
