"""Streaming region metrics pooled over all pixels: IoU and Dice per class, mIoU with and without background.

Ours: scikit-learn's and torchmetrics' confusion matrices are the same, in ten times as long and more (1280x1024).

Every region metric of this package is a function of a frame's confusion matrix, which `frame_confusion` counts in one
pass. This file pools those matrices over frames; `frame_metrics` averages them frame by frame as the challenges do.

Notation: K classes; C[t, p] pixels of true class t predicted as p; I_k = C[k, k]; T_k row sum; P_k column sum;
U_k = T_k + P_k - I_k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray, CountArray, DoubleArray, described
from clip_rl_perception.errors import ClipRlError

IGNORED = 255
"""Truth value of pixels that no metric counts."""


class MetricError(ClipRlError, ValueError):
    """A prediction and a truth cannot be compared; the message says what was given and what is expected."""


def frame_confusion(prediction: ByteArray, truth: ByteArray, classes: int) -> CountArray:
    """Count one frame's pixels by (true class, predicted class).

    Args:
        prediction: class ids, uint8 (H, W). 255 (outside the content area) counts as class 0.
        truth: class ids, uint8 (H, W). Pixels of value 255 are not counted.
        classes: K, 1 to 254.

    Returns:
        int64 (K, K); rows are truth, columns prediction.

    Raises:
        MetricError: other dtype, shapes that differ or are not 2-D, a value that is neither below K nor 255.
    """
    for name, array in (("prediction", prediction), ("truth", truth)):
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 2:
            raise MetricError(f"{name} is {described(array)}; expected uint8 (H, W) of class ids")
    if prediction.shape != truth.shape:
        raise MetricError(f"prediction is {prediction.shape} but truth is {truth.shape}; both must have the same size")
    # One histogram over pairs of bytes finds every wrong value on the way: nothing has to be masked out beforehand.
    pairs = (truth.astype(np.uint16) << 8) | prediction
    table = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    for name, values in (("truth", table.sum(axis=1)), ("prediction", table.sum(axis=0))):
        unknown = np.flatnonzero(values[classes:IGNORED]) + classes
        if unknown.size:
            raise MetricError(
                f"{name} holds value {int(unknown[0])} in {int(values[unknown[0]])} pixels; "
                f"expected 0..{classes - 1} or {IGNORED}"
            )
    counted = table[:classes, :classes].astype(np.int64)
    counted[:, 0] += table[:classes, IGNORED]
    return counted


def intersection_and_union(confusion: CountArray) -> tuple[CountArray, CountArray]:
    """Pixels of each class in truth and prediction, and in either: two int64 (K,)."""
    intersection = np.diagonal(confusion).copy()
    return intersection, confusion.sum(axis=0) + confusion.sum(axis=1) - intersection


def class_iou(confusion: CountArray) -> DoubleArray:
    """I_k / U_k, float64 (K,); NaN for a class in neither truth nor prediction, 0 for one in only one of them."""
    intersection, union = intersection_and_union(confusion)
    return _ratio(intersection, union)


def class_dice(confusion: CountArray) -> DoubleArray:
    """2 I_k / (T_k + P_k), float64 (K,); NaN for a class in neither truth nor prediction."""
    return _ratio(2 * np.diagonal(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def mean_of_present(values: DoubleArray) -> float:
    """Mean of the entries that are not NaN; NaN where there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else math.nan


def to_json(value: float) -> float | None:
    """NaN, which JSON has no word for, becomes None: the metric is undefined on this data."""
    return None if math.isnan(value) else float(value)


class PooledMetrics:
    """Dataset-pooled metrics of a stream of frames: sum the confusion matrices first, divide once at the end.

    Long sequences and large objects weigh more than in frame means; no frame is special. Classes that occur in
    neither truth nor prediction of the whole stream are left out of means; classes that were only predicted score 0.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        """`class_names` in id order; id 0 is the background. Raises `MetricError` when there are none or over 254."""
        if not 1 <= len(class_names) < IGNORED:
            raise MetricError(f"{len(class_names)} classes; expected 1 to 254")
        self.class_names = tuple(class_names)
        self.confusion: CountArray = np.zeros((len(class_names), len(class_names)), np.int64)
        self.frames = 0
        self.frames_of_class: CountArray = np.zeros(len(class_names), np.int64)

    def update(self, prediction: ByteArray, truth: ByteArray) -> CountArray:
        """Add one frame (see `frame_confusion` for arguments and errors); returns the frame's own matrix (K, K)."""
        confusion = frame_confusion(prediction, truth, len(self.class_names))
        self.add(confusion)
        return confusion

    def add(self, confusion: CountArray) -> None:
        """Add one frame that is already counted, int64 (K, K)."""
        self.confusion += confusion
        self.frames += 1
        self.frames_of_class += confusion.sum(axis=1) > 0

    def merge(self, other: PooledMetrics) -> None:
        """Add all frames of `other`, for example of another process. Raises `MetricError` when its classes differ."""
        if other.class_names != self.class_names:
            raise MetricError(f"cannot merge metrics of {other.class_names} into those of {self.class_names}")
        self.confusion += other.confusion
        self.frames += other.frames
        self.frames_of_class += other.frames_of_class

    def iou(self) -> DoubleArray:
        """Pooled IoU per class, float64 (K,), NaN where undefined."""
        return class_iou(self.confusion)

    def dice(self) -> DoubleArray:
        """Pooled Dice per class, float64 (K,), NaN where undefined."""
        return class_dice(self.confusion)

    def miou(self, background: bool = True) -> float:
        """Mean of pooled IoU over the classes that occur, with or without class 0; NaN where none occurs."""
        return mean_of_present(self.iou()[0 if background else 1 :])

    def mean_dice(self, background: bool = False) -> float:
        """Mean of pooled Dice over the classes that occur, without class 0 unless `background`."""
        return mean_of_present(self.dice()[0 if background else 1 :])

    def report(self) -> dict[str, Any]:
        """Plain data for JSON: frames, miou, miou_no_background, dice, classes: {name: {iou, dice, frames}}.

        The overall dice leaves the background out. `frames` of a class counts the frames whose truth holds it.
        None stands for undefined.
        """
        iou, dice = self.iou(), self.dice()
        return {
            "frames": self.frames,
            "miou": to_json(self.miou()),
            "miou_no_background": to_json(self.miou(background=False)),
            "dice": to_json(self.mean_dice()),
            "classes": {
                name: {
                    "iou": to_json(iou[index]),
                    "dice": to_json(dice[index]),
                    "frames": int(self.frames_of_class[index]),
                }
                for index, name in enumerate(self.class_names)
            },
        }


def _ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> DoubleArray:
    result: DoubleArray = np.full(len(denominator), math.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
