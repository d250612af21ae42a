"""The final score of the SAR-RARP50 challenge (EndoVis 2022): sqrt(mIoU x mNSD).

As its evaluation computes it: every foreground class of every frame has an IoU and an NSD (tolerance 10 px), 1 where
truth and prediction both lack the class and 0 where one of them does; mean over classes, then over the frames of a
video, then over videos. Absent classes scoring 1 makes the numbers high and comparable only among themselves.
"""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.arrays import CountArray, DoubleArray
from clip_rl_perception.metrics.confusion import class_iou, to_json


class SarRarp50Score:
    """Streaming score over frames that come with the name of their video."""

    def __init__(self) -> None:
        self._videos: dict[str, tuple[list[float], list[float]]] = {}

    def add(self, video: str, confusion: CountArray, nsd: DoubleArray) -> None:
        """Add one frame.

        Args:
            video: name of the frame's video.
            confusion: of the frame, int64 (K, K), K at least 2.
            nsd: per class, float64 (K,); NaN for a class in neither truth nor prediction (see `boundary`).
        """
        ious, nsds = self._videos.setdefault(video, ([], []))
        # NaN marks exactly the classes in neither, which the challenge counts as 1.
        ious.append(float(np.nan_to_num(class_iou(confusion)[1:], nan=1.0).mean()))
        nsds.append(float(np.nan_to_num(nsd[1:], nan=1.0).mean()))

    def report(self) -> dict[str, float | None]:
        """Plain data for JSON: miou, mnsd, score; None without frames."""
        if not self._videos:
            return {"miou": None, "mnsd": None, "score": None}
        miou, mnsd = (float(np.mean([np.mean(video[part]) for video in self._videos.values()])) for part in (0, 1))
        return {"miou": to_json(miou), "mnsd": to_json(mnsd), "score": math.sqrt(miou * mnsd)}
