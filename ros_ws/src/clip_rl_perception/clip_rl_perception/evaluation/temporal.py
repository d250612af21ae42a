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

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.evaluation.metrics import IGNORED, ByteArray, PooledMetrics, frame_confusion

FLOW_WIDTH = 480
"""Largest width at which flow is computed and maps are compared, px."""

_CONSISTENT = 1.5
"""Largest disagreement of forward and backward flow, px at flow size."""

Flow = npt.NDArray[np.float32]


class TemporalConsistency:
    """Streaming temporal consistency of one stream of video frames, in order."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.pairs = 0
        self._pooled = PooledMetrics(class_names)
        self._pooled_truth = PooledMetrics(class_names)
        self._previous: tuple[ByteArray, ByteArray, ByteArray] | None = None

    def reset(self) -> None:
        """The next frame begins a new video: it forms no pair with the last one."""
        self._previous = None

    def update(self, rgb: ByteArray, prediction: ByteArray, truth: ByteArray) -> None:
        """Add the next frame; a change of size begins a new video.

        Args:
            rgb: uint8 (H, W, 3).
            prediction: class ids, uint8 (H, W); 255 counts as background.
            truth: class ids, uint8 (H, W); pixels of value 255 are left out of the truth's own consistency.
        """
        scale = min(1.0, FLOW_WIDTH / rgb.shape[1])
        size = (round(rgb.shape[1] * scale), max(1, round(rgb.shape[0] * scale)))
        grey = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        labels = [cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each in (prediction, truth)]
        now = (np.asarray(grey, np.uint8), np.asarray(labels[0], np.uint8), np.asarray(labels[1], np.uint8))
        before, self._previous = self._previous, now
        if before is None or before[0].shape != now[0].shape or min(size) < 16:  # DIS needs a few pixels to work on
            return
        self.pairs += 1
        flow, certain = backward_flow(before[0], now[0])
        for pooled, old, new in (
            (self._pooled, before[1], now[1]),
            (self._pooled_truth, before[2], now[2]),
        ):
            warped = warp_labels(old, flow)
            # Frame t plays the truth; an ignored pixel of either map is left out.
            reference = np.where(certain & (warped != IGNORED), new, IGNORED).astype(np.uint8)
            pooled.add(frame_confusion(warped, reference, len(pooled.class_names)))

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
    return backward, inside & (np.linalg.norm(backward + returned, axis=2) <= _CONSISTENT)


def warp_labels(labels: ByteArray, flow: Flow) -> ByteArray:
    """Labels (H, W) of the earlier frame moved to the later one along `backward_flow`; nearest pixel, uint8."""
    x, y = _source(flow)
    return np.asarray(cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _source(flow: Flow) -> tuple[Flow, Flow]:
    height, width = flow.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]
