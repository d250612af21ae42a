"""Temporal consistency on video: does the prediction move with the image?

The prediction of frame t-1 is warped to frame t along dense optical flow and compared with the prediction of frame t:
IoU per class over both maps, mean over the classes that occur. This is the temporal consistency of Liu et al. 2020
("Efficient Semantic Video Segmentation with Per-frame Inference", ECCV; also Varghese et al. 2020), who average mIoU
over frame pairs; here intersections and unions are pooled over all pairs first, like every pooled metric of this
package. Two things are ours. Flow is OpenCV's DIS (Kroeger et al. 2016) at most 480 px wide instead of a network, so
that it runs anywhere. Pixels whose flow is not confirmed by the flow in the other direction (occluded, uncovered, out
of the image) are left out.

Alone it rewards a prediction that never changes. So the same number is computed for the truth, where there is one:
the ceiling that flow errors and real appearance changes allow.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray, CountArray
from clip_rl_perception.metrics.confusion import IGNORED, PooledMetrics, frame_confusion

FLOW_WIDTH = 480
"""Largest width at which flow is computed and maps are compared, px."""

_CONSISTENT = 1.5
"""Largest disagreement of forward and backward flow, px at flow size."""

Flow = npt.NDArray[np.float32]


class FramePairs:
    """The frames of one stream of video, in order, each compared with the one before."""

    def __init__(self, classes: int) -> None:
        """`classes` is K with the background."""
        self._classes = classes
        self._previous: tuple[ByteArray, ...] | None = None

    def reset(self) -> None:
        """The next frame begins a new video: it forms no pair with the last one."""
        self._previous = None

    def measure(self, rgb: ByteArray, *maps: ByteArray) -> tuple[CountArray, ...] | None:
        """Take the next frame; a change of size begins a new video.

        Args:
            rgb: uint8 (H, W, 3).
            maps: class ids of the frame, uint8 (H, W) each: the prediction, the truth. Pixels where the warped or the
                present map holds 255 are left out.

        Returns:
            For each map the int64 (K, K) matrix of the present (rows) against the previous one warped to it; None for
            the first frame of a video.
        """
        scale = min(1.0, FLOW_WIDTH / rgb.shape[1])
        size = (round(rgb.shape[1] * scale), max(1, round(rgb.shape[0] * scale)))
        # Grey first: a third of the pixels to shrink, and the same picture but for rounding.
        grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        labels = [np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_NEAREST), np.uint8) for each in maps]
        now = (np.asarray(grey, np.uint8), *labels)
        before, self._previous = self._previous, now
        if before is None or before[0].shape != now[0].shape or min(size) < 16:  # DIS needs a few pixels to work on
            return None
        flow, certain = backward_flow(before[0], now[0])
        counts = []
        for old, new in zip(before[1:], now[1:], strict=True):
            warped = warp_labels(old, flow)
            # Frame t plays the truth; an ignored pixel of either map is left out.
            reference = np.where(certain & (warped != IGNORED), new, IGNORED).astype(np.uint8)
            counts.append(frame_confusion(warped, reference, self._classes))
        return tuple(counts)


class TemporalConsistency:
    """Streaming temporal consistency of one stream of video frames, in order."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.pairs = 0
        self._frames = FramePairs(len(class_names))
        self._pooled = PooledMetrics(class_names)
        self._pooled_truth = PooledMetrics(class_names)

    def reset(self) -> None:
        """The next frame begins a new video: it forms no pair with the last one."""
        self._frames.reset()

    def update(self, rgb: ByteArray, prediction: ByteArray, truth: ByteArray) -> None:
        """Add the next frame; a change of size begins a new video.

        Args:
            rgb: uint8 (H, W, 3).
            prediction: class ids, uint8 (H, W).
            truth: class ids, uint8 (H, W). Of both pixels of value 255 are left out, now and before.
        """
        counts = self._frames.measure(rgb, prediction, truth)
        if counts is not None:
            self.add(*counts)

    def add(self, prediction: CountArray, truth: CountArray | None = None) -> None:
        """Add one pair that is already counted by `FramePairs.measure`, int64 (K, K) each."""
        self.pairs += 1
        self._pooled.add(prediction)
        if truth is not None:
            self._pooled_truth.add(truth)

    def consistency(self) -> float:
        """Mean IoU of warped and present predictions over the classes that occur; NaN without frame pairs."""
        return self._pooled.miou()

    def truth_consistency(self) -> float:
        """The same for the truth: the ceiling; NaN without frame pairs."""
        return self._pooled_truth.miou()


def backward_flow(before: ByteArray, now: ByteArray) -> tuple[Flow, npt.NDArray[np.bool_]]:
    """Where each pixel of `now` was in `before`.

    Args:
        before: grey image, uint8 (H, W).
        now: grey image of the same size.

    Returns:
        Displacement (x, y) to add to a pixel of `now`, px, float32 (H, W, 2), and bool (H, W): true where the flow in
        the other direction leads back to the pixel.
    """
    # Every OpenCV from 4.6 to 5 has this name, but not all of their type stubs do.
    estimator: Any = vars(cv2)["DISOpticalFlow_create"](cv2.DISOPTICAL_FLOW_PRESET_FAST)
    backward = np.asarray(estimator.calc(now, before, None), np.float32)
    forward = np.asarray(estimator.calc(before, now, None), np.float32)
    height, width = now.shape
    x, y = _source(backward)
    returned = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return backward, inside & (cv2.magnitude(*cv2.split(backward + returned)) <= _CONSISTENT)


def warp_labels(labels: ByteArray, flow: Flow) -> ByteArray:
    """Labels (H, W) of the earlier frame moved to the later one along `backward_flow`; nearest pixel, uint8."""
    x, y = _source(flow)
    return np.asarray(cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _source(flow: Flow) -> tuple[Flow, Flow]:
    x, y = _grid(flow.shape[0], flow.shape[1])
    return x + flow[..., 0], y + flow[..., 1]


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> tuple[Flow, Flow]:
    """Column and row of every pixel, float32 (H, W) each; shared, do not change them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x, y
