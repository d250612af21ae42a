"""Pictures of the worst frames: input, truth, prediction and where they differ."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.metrics.evaluator import FrameScore
from clip_rl_perception.report.frame_gallery import shrunk

from clip_rl_training.evaluating.evaluated_classes import ClassMapping

MISSED, INVENTED, CONFUSED = (235, 60, 40), (40, 110, 255), (250, 205, 30)
"""RGB in the error map: foreground not found; background called foreground; wrong class of foreground."""

_BAR = 26


class WorstFrames:
    """Keeps the `count` worst frames of a stream with their maps; a watcher of the evaluation loop."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[tuple[FrameScore, ByteArray, ByteArray, ByteArray]] = []
        """The worst first, of equal ones the one that was seen first."""

    def __call__(self, score: FrameScore, rgb: ByteArray, truth: ByteArray, prediction: ByteArray) -> None:
        """See a frame; those without foreground in truth and prediction do not count."""
        if not math.isnan(score.iou):
            kept = [*self._kept, (score, rgb, truth, prediction)]
            self._kept = sorted(kept, key=lambda seen: (seen[0].iou, -seen[0].pixels_wrong))[: self._count]

    def write(self, folder: Path, mapping: ClassMapping) -> list[dict[str, Any]]:
        """Write one PNG per frame, worst first.

        Returns:
            Plain data per frame: sequence, frame, iou, pixels_wrong, picture.

        Raises:
            ClipRlError: the folder cannot be written.
        """
        worst = []
        for rank, (score, rgb, truth, prediction) in enumerate(self._kept, start=1):
            # Where the file's name tells the sequence, it is not said twice.
            place = (score.frame,) if score.frame.startswith(score.sequence) else (score.sequence, score.frame)
            name = re.sub(r"[^\w.-]+", "_", "_".join((f"worst_{rank:02d}", *place))) + ".png"
            picture = draw(rgb, truth, prediction, mapping, f"{' '.join(place)}  IoU {score.iou:.3f}")
            _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            write_bytes(folder / name, data.tobytes())
            worst.append({**dataclasses.asdict(score), "picture": name})
        return worst


def draw(rgb: ByteArray, truth: ByteArray, prediction: ByteArray, mapping: ClassMapping, title: str) -> ByteArray:
    """Four panels (input, truth, prediction, errors), two by two, with a legend; uint8 RGB.

    Args:
        rgb: uint8 (H, W, 3); a panel is as wide, but no wider than a picture of a report.
        truth: evaluated ids, uint8 (H, W), 255 ignored.
        prediction: evaluated ids, uint8 (H, W), 255 counts as background.
        mapping: names and colours.
        title: of the first panel.
    """
    image, true, predicted = shrunk(rgb), shrunk(truth, nearest=True), shrunk(prediction, nearest=True)
    predicted = np.where(predicted == IGNORED, 0, predicted).astype(np.uint8)
    panels = [
        _titled(image, title),
        _titled(_tinted(image, true, mapping), "truth"),
        _titled(_tinted(image, predicted, mapping), "prediction"),
        _titled(_errors(image, true, predicted), "errors: red missed, blue invented, yellow confused"),
    ]
    grid = np.vstack([np.hstack(panels[:2]), np.hstack(panels[2:])])
    present = [int(i) for i in np.union1d(true[true != IGNORED], predicted) if i]
    return np.asarray(np.vstack([grid, _legend(present, mapping, grid.shape[1])]), np.uint8)


def _tinted(image: ByteArray, ids: ByteArray, mapping: ClassMapping) -> ByteArray:
    colors = mapping.palette[ids]
    alpha = np.where(ids > 0, 0.55, 0.0)[..., None]
    return np.asarray(np.rint(image * (1 - alpha) + colors * alpha), np.uint8)


def _errors(image: ByteArray, true: ByteArray, predicted: ByteArray) -> ByteArray:
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.6, 3, axis=2).astype(np.uint8)
    counted = true != IGNORED
    wrong = counted & (true != predicted)
    grey[wrong & (predicted == 0)] = MISSED
    grey[wrong & (true == 0)] = INVENTED
    grey[wrong & (true > 0) & (predicted > 0)] = CONFUSED
    grey[~counted] = 40
    return grey


def _titled(panel: ByteArray, text: str) -> ByteArray:
    bar = np.full((_BAR, panel.shape[1], 3), 24, np.uint8)
    _write(bar, text, (6, _BAR - 8), 0.5)
    return np.vstack([bar, panel])


def _legend(ids: list[int], mapping: ClassMapping, width: int) -> ByteArray:
    columns = max(1, width // 260)
    rows = max(1, math.ceil(len(ids) / columns))
    legend = np.full((rows * _BAR, width, 3), 24, np.uint8)
    for place, index in enumerate(ids):
        x, y = place % columns * 260 + 6, place // columns * _BAR
        color = tuple(int(value) for value in mapping.palette[index])
        cv2.rectangle(legend, (x, y + 6), (x + 14, y + 20), color, -1)
        _write(legend, mapping.names[index], (x + 22, y + 18), 0.45)
    return legend


def _write(picture: ByteArray, text: str, place: tuple[int, int], size: float) -> None:
    text = text.encode(errors="replace").decode()  # of bytes in a file's name that are no letters OpenCV would crash
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (235, 235, 235), 1, cv2.LINE_AA)
