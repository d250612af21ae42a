"""Chooses, while frames pass by, the few whose pictures the report shows: the worst, the slowest, the odd ones.

Only what is shown is kept, small: memory does not grow with the length of the run. The same choice serves offline and
online replay and the demo.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.metrics.frame_measures import FrameMeasures
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.overlay_picture import overlay_at
from clip_rl_perception.runs.run_record import FrameRecord

WIDTH = 640
"""Widest picture that is kept, px."""

WORST, SLOWEST, UNSTEADY, EVEN = 6, 3, 2, 4
"""How many frames are shown: of lowest IoU, slowest, least consistent with the frame before, at even steps."""

ERROR_COLORS = {
    "right": (46, 160, 110),
    "seen but not there": (214, 64, 48),
    "there but not seen": (52, 110, 220),
    "wrong class": (236, 178, 30),
}
"""Of the error map, RGB."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A frame as the report shows it."""

    record: FrameRecord
    reasons: tuple[str, ...]
    """Why it is shown."""
    images: tuple[tuple[str, ByteArray], ...]
    """(caption, uint8 RGB, at most `WIDTH` wide): input, result, and with truth: ground truth and error map."""


class FrameGallery:
    """A `FrameObserver` that keeps pictures for the report."""

    def __init__(
        self, *, worst: int = WORST, slowest: int = SLOWEST, unsteady: int = UNSTEADY, even: int = EVEN
    ) -> None:
        """How many frames to keep for each reason."""
        self._lowest = _Best("lowest IoU", worst)
        self._slowest = _Best("slowest", slowest)
        self._unsteady = _Best("least consistent with the frame before", unsteady)
        self._refused = _Best("refused", 2)
        self._even = _Even(even)
        self._first: dict[str, tuple[str, int]] = {}
        self._kept: dict[tuple[str, int], tuple[FrameRecord, tuple[tuple[str, ByteArray], ...]]] = {}

    def on_frame(self, frame: SeenFrame) -> None:
        """Keep the frame if it is one of those to be shown."""
        record = frame.record
        key = (f"{record.sequence}\0{record.topic}", record.index)
        if frame.rgb is None or not self._wanted(record, key):
            return
        self._kept[key] = (record, draw(frame))
        still_wanted = {*self._first.values(), *self._even.held(), *(k for best in self._bests() for k in best.held())}
        for old in [other for other in self._kept if other not in still_wanted]:
            del self._kept[old]

    def close(self) -> None:
        """Nothing to do."""

    def pictures(self) -> tuple[Picture, ...]:
        """The worst first, then the slowest, the unsteady, the first of each validity, the rest in order of time."""
        reasons: dict[tuple[str, int], list[str]] = {}
        for best in self._bests():
            for place, key in enumerate(best.held()):
                if key in self._kept:
                    ranked = place > 0 and best is self._lowest
                    reasons.setdefault(key, []).append(best.reason + (f", place {place + 1}" if ranked else ""))
        for validity, key in self._first.items():
            reasons.setdefault(key, []).append(f"first that is {validity.replace('_', ' ')}")
        for key in sorted(self._even.held(), key=lambda key: self._kept[key][0].stamp_ns):
            reasons.setdefault(key, [])
        return tuple(Picture(self._kept[key][0], tuple(why), self._kept[key][1]) for key, why in reasons.items())

    def _wanted(self, record: FrameRecord, key: tuple[str, int]) -> bool:
        """Enter the frame wherever it belongs; no short cuts: every list must see every frame."""
        measures = record.measures or FrameMeasures()
        wanted = [
            self._lowest.offer(-measures.iou, key),
            self._unsteady.offer(-measures.consistency, key),
            self._slowest.offer(record.latency_ms, key),
            self._refused.offer(-record.index if record.kind == "invalid" else None, key),
            record.kind == "mask" and self._even.offer(key),
        ]
        if record.validity not in (None, "ok", "invalid_input") and record.validity not in self._first:
            self._first[str(record.validity)] = key
            return True
        return any(wanted)

    def _bests(self) -> tuple[_Best, ...]:
        return self._lowest, self._slowest, self._unsteady, self._refused


def draw(frame: SeenFrame) -> tuple[tuple[str, ByteArray], ...]:
    """The pictures of a frame, each at most `WIDTH` wide; see `Picture.images`."""
    assert frame.rgb is not None
    images = [("input", shrunk(frame.rgb))]
    if frame.mask is not None:
        images.append(("what came back", overlay_at(frame, WIDTH)))
    if frame.truth is not None and frame.prediction is not None and frame.palette is not None:
        small = images[0][1]
        truth, prediction = (shrunk(ids, nearest=True) for ids in (frame.truth, frame.prediction))
        images.append(("ground truth", paint(small, truth, frame.palette)))
        images.append(("errors", error_map(small, prediction, truth)))
    return tuple(images)


def paint(rgb: ByteArray, ids: ByteArray, palette: ByteArray) -> ByteArray:
    """Class colours half over the image; class 0 and black classes leave it as it is, 255 darkens it."""
    colors = palette[ids]
    painted = cv2.addWeighted(rgb, 0.45, colors, 0.55, 0)
    return np.where(((ids != 0) & colors.any(axis=2))[..., None], painted, rgb)


def error_map(rgb: ByteArray, prediction: ByteArray, truth: ByteArray) -> ByteArray:
    """Where a mask is wrong, over a grey copy of the image.

    Args:
        rgb: uint8 (H, W, 3).
        prediction: evaluated classes, uint8 (H, W); 255 is background.
        truth: evaluated classes, uint8 (H, W); 255 is not counted and left dark.

    Returns:
        uint8 (H, W, 3): green right, red seen but not there, blue there but not seen, yellow the wrong class.
    """
    predicted = np.where(prediction == IGNORED, 0, prediction)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) // 2 + 20
    result = np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)
    places = (
        (truth == predicted) & (truth != 0),
        (truth == 0) & (predicted != 0),
        (truth != 0) & (predicted == 0),
        (truth != 0) & (predicted != 0) & (truth != predicted),
    )
    for where, color in zip(places, ERROR_COLORS.values(), strict=True):
        result[where] = (result[where] * 0.25 + np.array(color) * 0.75).astype(np.uint8)
    result[truth == IGNORED] = (30, 30, 34)
    return result


def shrunk(image: ByteArray, *, nearest: bool = False) -> ByteArray:
    """A copy of a picture or label map, uint8 (H, W, ...), at most `WIDTH` wide."""
    if image.shape[1] <= WIDTH:
        return image.copy()
    size = (WIDTH, max(1, round(image.shape[0] * WIDTH / image.shape[1])))
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


class _Best:
    """The `count` keys of highest value seen so far, the highest first; of equal ones the earlier."""

    def __init__(self, reason: str, count: int) -> None:
        self.reason = reason
        self._count = count
        self._entries: list[tuple[float, tuple[str, int]]] = []

    def offer(self, value: float | None, key: tuple[str, int]) -> bool:
        """Take the key in if it is one of them; a value that is unknown (None, NaN) never is."""
        if value is None or math.isnan(value):
            return False
        self._entries = sorted([*self._entries, (value, key)], key=lambda entry: -entry[0])[: self._count]
        return any(kept == key for _, kept in self._entries)

    def held(self) -> list[tuple[str, int]]:
        return [key for _, key in self._entries]


class _Even:
    """Frames at even steps of a run whose length is not known: when there are too many, every other one goes."""

    def __init__(self, count: int) -> None:
        self._count, self._step, self._seen = count, 1, 0
        self._entries: list[tuple[int, tuple[str, int]]] = []

    def offer(self, key: tuple[str, int]) -> bool:
        place, self._seen = self._seen, self._seen + 1
        if place % self._step:
            return False
        self._entries.append((place, key))
        if len(self._entries) > 2 * self._count:
            self._step *= 2
            self._entries = [entry for entry in self._entries if entry[0] % self._step == 0]
        return any(kept == key for _, kept in self._entries)

    def held(self) -> list[tuple[str, int]]:
        return [key for _, key in self._entries[: 2 * self._count]]
