"""Draws what came back over what was played: the overlay video, stills for the report, and accuracy on the way.

One pass over the source and the recorded masks, one frame of each in memory at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.evaluation.frames import Frame, FrameSource
from clip_rl_perception.evaluation.metrics import PooledMetrics, class_iou, mean_of_present
from clip_rl_perception.evaluation.prefetch import Prefetch
from clip_rl_perception.evaluation.recording import Recording
from clip_rl_perception.evaluation.report import FrameOutcome
from clip_rl_perception.evaluation.report_html import Still
from clip_rl_perception.evaluation.video_writer import VideoWriter
from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.scene.overlay import draw_banner, draw_caption, draw_overlay
from clip_rl_perception.scene.types import Validity

ByteArray = npt.NDArray[np.uint8]

STILLS = 4
"""Frames shown in the report, beside the worst one."""
AHEAD_BYTES = 64 << 20
"""Memory for frames decoded ahead."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What one pass yields."""

    stills: tuple[Still, ...]
    metrics: dict[str, Any] | None
    """Accuracy; None without ground truth."""
    codec: str
    """Of the overlay video."""
    frames: int
    """Frames in the overlay video."""


class Accuracy:
    """Pooled accuracy of masks in one label space against truth in another.

    Where both have the same class names every class counts; else only instrument or not, which both know.
    """

    def __init__(self, predicted: LabelSpace, truth: LabelSpace) -> None:
        """Choose the classes to compare."""
        self.same = predicted.names == truth.names
        self.space = truth if self.same else label_space_from_names(["background", "instrument"], name="binary")
        self.pooled = PooledMetrics(self.space.names)
        self._tables = (_table(predicted, self.same), _table(truth, self.same))
        self._predicted, self._truth = predicted, truth

    def update(self, mask: ByteArray, labels: ByteArray) -> float:
        """Add a frame, uint8 (H, W) each; returns its mean IoU over the instruments seen or true, NaN if none."""
        confusion = self.pooled.update(self._tables[0][mask], self._tables[1][labels])
        return mean_of_present(class_iou(confusion)[1:])

    def truth_picture(self, rgb: ByteArray, labels: ByteArray) -> ByteArray:
        """The truth over the frame; where the model knows one instrument class only, in that class's colour."""
        instruments = self._predicted.instrument_ids
        if self.same or len(instruments) != 1:
            return draw_overlay(rgb, labels, self._truth)
        reduced = self._tables[1][labels]
        return draw_overlay(rgb, np.where(reduced == 1, np.uint8(instruments[0]), reduced), self._predicted)

    def report(self) -> dict[str, Any] | None:
        """Plain data; None when no frame was compared."""
        if not self.pooled.frames:
            return None
        report = self.pooled.report()
        report["label_space"] = self.space.name
        if not self.same:
            report["note"] = (
                f"Classes of the model ({self._predicted.name}) and of the truth ({self._truth.name}) differ: "
                "compared as instrument or not."
            )
        return report


def draw_run(
    source: FrameSource,
    results: list[FrameOutcome],
    recording: Recording,
    video: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pictures:
    """Write the overlay video and gather stills and accuracy.

    The video has one picture per frame played, at the source's rate. A frame without a mask shows the last picture
    again, as a viewer of the overlay would have seen it: a mask is never drawn on another frame than its own.

    Args:
        source: what was played.
        results: `report.outcomes`, in order of playing.
        recording: what came back.
        video: path of the .mp4.
        progress: told frames done and in all.
    """
    space = recording.label_space
    assert space is not None, "masks without a class list cannot be drawn"
    truth = source.info.label_space
    accuracy = Accuracy(space, truth) if truth is not None else None
    chooser = _StillChooser([item.index for item in results if item.kind == "mask"])
    by_index = {item.index: item for item in results}
    with (
        VideoWriter(video, source.info.size, source.info.rate_hz) as writer,
        Prefetch(_until(source, max(by_index, default=-1)), limit_bytes=AHEAD_BYTES, size=_size) as frames,
    ):
        masks = _ByStamp(recording.masks())
        shown: ByteArray | None = None
        for index, frame in enumerate(frames):
            item = by_index.get(index)
            mask = masks.get(item.stamp_ns) if item is not None and item.kind == "mask" else None
            if item is not None and mask is not None:
                if mask.shape != frame.rgb.shape[:2]:  # the node may publish at the network's size
                    size = (frame.rgb.shape[1], frame.rgb.shape[0])
                    mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
                tags = recording.instruments.get(item.stamp_ns, ())
                shown = draw_overlay(frame.rgb, mask, space, tags)
                iou = math.nan
                if accuracy is not None and frame.labels is not None:
                    iou = accuracy.update(mask, frame.labels)
                chooser.offer(item, frame, shown, iou, accuracy)
                if item.status is not None and item.status.validity != Validity.OK:
                    draw_banner(shown, item.status.validity, item.status.reason)
                draw_caption(shown, f"frame {item.index}   {item.latency_ms:.0f} ms")
            elif shown is None:
                shown = frame.rgb
            writer.write(shown)
            progress(index + 1, len(results))
    report = accuracy.report() if accuracy is not None else None
    return Pictures(chooser.stills(), report, writer.codec, writer.frames)


def _table(space: LabelSpace, same: bool) -> ByteArray:
    """Mask value to compared class, uint8 (256,)."""
    table = np.arange(256, dtype=np.uint8)
    if not same:
        table[: len(space)] = [entry.instrument for entry in space.classes]
    return table


def _until(source: FrameSource, last: int) -> Iterator[Frame]:
    for index, frame in enumerate(source):
        if index > last:
            return
        yield frame


def _size(frame: Frame) -> int:
    return int(frame.rgb.nbytes)


class _ByStamp:
    """Masks by stamp from a stream of masks in order of arrival, which is nearly that of the stamps."""

    def __init__(self, masks: Iterator[tuple[int, ByteArray]]) -> None:
        self._masks = masks
        self._early: dict[int, ByteArray] = {}

    def get(self, stamp: int) -> ByteArray | None:
        """The mask of `stamp`; None when there is none. Stamps must be asked for in increasing order."""
        if stamp in self._early:
            return self._early.pop(stamp)
        for key in [key for key in self._early if key < stamp]:
            del self._early[key]
        for found, mask in self._masks:
            if found == stamp:
                return mask
            if found > stamp:
                self._early[found] = mask
        return None


class _StillChooser:
    """Keeps evenly spaced frames, and the one with the lowest IoU."""

    def __init__(self, indices: list[int]) -> None:
        places = np.linspace(0, len(indices) - 1, STILLS + 2)[1:-1] if len(indices) > STILLS else range(len(indices))
        self._wanted = {indices[round(place)] for place in places}
        self._kept: dict[int, Still] = {}
        self._worst: tuple[float, int, Still] | None = None

    def offer(
        self, item: FrameOutcome, frame: Frame, overlay: ByteArray, iou: float, accuracy: Accuracy | None
    ) -> None:
        """Take the frame if it is wanted; called once per frame with a mask."""
        worse = not math.isnan(iou) and (self._worst is None or iou < self._worst[0])
        if item.index not in self._wanted and not worse:
            return
        title = f"Frame {item.index}, {frame.stamp_ns / 1e9 % 1e6:.2f} s"
        if not math.isnan(iou):
            title += f", instrument IoU {iou:.2f}"
        pictures = [("input", frame.rgb.copy()), ("what came back", overlay.copy())]
        if frame.labels is not None and accuracy is not None:
            pictures.append(("ground truth", accuracy.truth_picture(frame.rgb, frame.labels)))
        still = Still(title, tuple(pictures))
        if item.index in self._wanted:
            self._kept[item.index] = still
        if worse:
            self._worst = (iou, item.index, still)

    def stills(self) -> tuple[Still, ...]:
        """In order of time, the worst last."""
        shown = [self._kept[index] for index in sorted(self._kept)]
        if self._worst is not None:
            _, index, still = self._worst
            shown = [other for key, other in sorted(self._kept.items()) if key != index]
            shown.append(Still(f"{still.title} (lowest of all)", still.pictures))
        return tuple(shown)
