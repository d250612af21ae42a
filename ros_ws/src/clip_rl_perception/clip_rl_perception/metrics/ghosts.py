"""Ghosts and lag: does a model that remembers call instrument what was one, and how sharp is it on fast motion?

By how fast instruments move, in pixels a frame of a picture `REFERENCE_WIDTH` wide, and apart from that in the first
frame after a cut: IoU (pooled), NSD (mean of frames), and the share of ghosts: of the pixels that were instrument in
one of the `LAST` frames before and are not now, how many are called instrument. A model without memory makes such
errors too, since instruments are seen too large or leave their like behind: a share means something beside that of one
plain look. Close to an instrument such an error is one of its outline; `FAR` from every instrument it is a ghost
proper.

Speed is the median length of the optical flow over the pixels of instruments: DIS as in `temporal`, by its preset
MEDIUM, since FAST tells slow motion a third too small.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray
from clip_rl_perception.metrics.boundary import nsd_from_distances, surface_distances
from clip_rl_perception.metrics.confusion import IGNORED, MetricError, to_json
from clip_rl_perception.metrics.temporal import FLOW_WIDTH

LAST = 5
"""How many frames before the present one count as just before."""
REFERENCE_WIDTH = 1280
"""Width of the picture that speeds are told for, px."""
FAR = 32
"""From so far, px of a picture as wide, nothing of an instrument's outline is meant."""
SPEEDS = {"0 to 2": 2.0, "2 to 8": 8.0, "above 8": math.inf}
"""Classes of speed and their upper limits, px a frame."""
AFTER_CUT = "after a cut"
"""The class of the first frame of another scene: what is not to remember has there just what one plain look has."""


@dataclasses.dataclass
class _Sums:
    """Of one model in one class of frames."""

    nsd: float = 0.0
    nsd_frames: int = 0
    both: int = 0
    either: int = 0
    ghosts: int = 0
    far: int = 0

    def report(self, gone: int, far: int) -> dict[str, float | None]:
        return {
            "iou": to_json(self.both / self.either if self.either else math.nan),
            "nsd": to_json(self.nsd / self.nsd_frames if self.nsd_frames else math.nan),
            "ghosts": to_json(self.ghosts / gone if gone else math.nan),
            "far_ghosts": to_json(self.far / far if far else math.nan),
        }


class GhostMetrics:
    """Several models on one video, frame by frame in order."""

    def __init__(self, models: Sequence[str], *, tau: float = 3.0) -> None:
        """Start with no frames.

        Args:
            models: their names.
            tau: tolerance of the NSD, px of the maps given.

        Raises:
            MetricError: a negative tolerance.
        """
        if not tau >= 0:
            raise MetricError(f"NSD tolerance is {tau}; expected 0 or more, in pixels")
        self._models, self._tau = tuple(models), tau
        self._sums = {kind: {name: _Sums() for name in models} for kind in (*SPEEDS, AFTER_CUT)}
        self._frames = dict.fromkeys(self._sums, 0)
        self._gone = dict.fromkeys(self._sums, 0)
        self._far = dict.fromkeys(self._sums, 0)
        self._before: deque[BoolArray] = deque(maxlen=LAST)
        self._grey: ByteArray | None = None
        self._cut = False

    def cut(self) -> None:
        """The next frame shows another scene; what was instrument before the cut counts as just before in it alone."""
        self._cut = True

    def update(self, rgb: ByteArray, truth: ByteArray, predictions: Mapping[str, ByteArray]) -> str | None:
        """Add the next frame; another size begins a new video.

        Args:
            rgb: uint8 (H, W, 3).
            truth: classes, uint8 (H, W), 0 background; 255 is not counted. All others are instrument.
            predictions: of every model, likewise; 255 counts as background.

        Returns:
            The class that the frame counts to; None for one that counts to none: the first of a video, and those not
            after a cut with no instrument now and just before.
        """
        instrument, counted = (truth != 0) & (truth != IGNORED), truth != IGNORED
        if self._before and self._before[-1].shape != truth.shape:
            self._before.clear()
            self._grey, self._cut = None, False
        recent: BoolArray = np.any(self._before, axis=0) if self._before else np.zeros(truth.shape, np.bool_)
        kind = self._class_of(rgb, instrument if instrument.any() else recent)
        if self._cut:
            self._before.clear()
            self._cut = False
        self._before.append(instrument)
        if kind is None:
            return None
        gone = recent & ~instrument & counted
        self._frames[kind] += 1
        self._gone[kind] += int(gone.sum())
        distance = cv2.distanceTransform((~instrument).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        far = gone & (distance > FAR * truth.shape[1] / REFERENCE_WIDTH) if instrument.any() else gone
        self._far[kind] += int(far.sum())
        for name in self._models:
            called = predictions[name]
            self._add(self._sums[kind][name], (called != 0) & (called != IGNORED) & counted, instrument, gone, far)
        return kind

    def report(self) -> dict[str, Any]:
        """Plain data, by class of frames.

        Keys: frames (how many), gone (pixels that were instrument just before and are not now), far (those of them far
        from every instrument); by model a mapping of iou, nsd, ghosts and far_ghosts (share of gone and of far that is
        called instrument), each None where nothing tells.
        """
        return {
            kind: {
                "frames": self._frames[kind],
                "gone": self._gone[kind],
                "far": self._far[kind],
                **{name: sums.report(self._gone[kind], self._far[kind]) for name, sums in models.items()},
            }
            for kind, models in self._sums.items()
        }

    def _class_of(self, rgb: ByteArray, where: BoolArray) -> str | None:
        scale = min(1.0, FLOW_WIDTH / rgb.shape[1])
        size = (max(16, round(rgb.shape[1] * scale)), max(16, round(rgb.shape[0] * scale)))
        grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        before, self._grey = self._grey, np.asarray(grey, np.uint8)
        if self._cut:
            return AFTER_CUT
        if before is None or not where.any():
            return None
        estimator: Any = vars(cv2)["DISOpticalFlow_create"](cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = np.asarray(estimator.calc(self._grey, before, None), np.float32)
        there = cv2.resize(where.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        if not there.any():
            return None
        lengths = np.hypot(flow[..., 0], flow[..., 1])[there] * (REFERENCE_WIDTH / size[0])
        speed = float(np.median(lengths))
        return next(name for name, limit in SPEEDS.items() if speed < limit)

    def _add(self, sums: _Sums, called: BoolArray, instrument: BoolArray, gone: BoolArray, far: BoolArray) -> None:
        sums.both += int((called & instrument).sum())
        sums.either += int((called | instrument).sum())
        sums.ghosts += int((called & gone).sum())
        sums.far += int((called & far).sum())
        distances = surface_distances(called.view(np.uint8), instrument.view(np.uint8))
        if distances[0].size or distances[1].size:
            sums.nsd += nsd_from_distances(*distances, self._tau)
            sums.nsd_frames += 1
