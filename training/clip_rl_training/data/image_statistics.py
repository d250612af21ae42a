"""What pictures look like in and around instruments: measured in views of one size, on instruments against the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED
from clip_rl_perception.progress import shown

from clip_rl_training.data.augment import is_gray, plain_view
from clip_rl_training.data.dataset_stills import content_mask
from clip_rl_training.data.samples import VALIDATION, scene_generator
from clip_rl_training.datasets import SegmentationDataset
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still

VIEW = (288, 352)
"""(H, W) of the view that everything is measured in, px."""
LEAST_PIXELS = 1500
"""Frames that show less of instruments, or of the rest, are left out."""
_BORDER, _RING = 5, 31
"""Width of the border zone and of the surroundings of instruments, px."""


@dataclasses.dataclass(frozen=True)
class FrameStatistics:
    """One frame; levels, gradients and second derivatives in steps of 255."""

    area: float
    """Share of instruments in the labelled pixels."""
    level_inside: float
    """Mean brightness of instruments; likewise outside."""
    level_outside: float
    spread_inside: float
    """Standard deviation of brightness on instruments; likewise outside."""
    spread_outside: float
    step: float
    """Brightness of instruments less that of what surrounds them."""
    gradient_border: float
    """Mean length of the gradient along the outlines of instruments, per px; inside and outside, away from them."""
    gradient_inside: float
    gradient_outside: float
    detail_inside: float
    """Mean size of the Laplacian on instruments, away from their outlines; likewise outside."""
    detail_outside: float
    saturation_inside: float
    """Mean saturation, 0 to 255; likewise outside."""
    saturation_outside: float
    dark: float
    """Share of pixels below 20, and of those above 235."""
    bright: float


def frame_statistics(
    rgb: ByteArray, instruments: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]
) -> FrameStatistics:
    """Measure a frame.

    Args:
        rgb: uint8 (H, W, 3).
        instruments: bool (H, W).
        known: bool (H, W), where labels count.

    Raises:
        ValueError: no instruments, or nothing but instruments.
    """
    inside = instruments & known
    outside = ~instruments & known
    if not inside.any() or not outside.any():
        raise ValueError("statistics need pixels of instruments and of the rest")
    gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)
    saturation = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1]
    detail = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    gradient = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(gray, cv2.CV_32F, 0, 1, scale=1 / 8))
    mask = inside.astype(np.uint8)
    grown, shrunk = (change(mask, np.ones((_BORDER, _BORDER), np.uint8)) > 0 for change in (cv2.dilate, cv2.erode))
    border = grown & ~shrunk & known
    ring = (cv2.dilate(mask, np.ones((_RING, _RING), np.uint8)) > 0) & outside
    core = shrunk if shrunk.any() else inside
    rest = outside & ~grown if (outside & ~grown).any() else outside

    def mean(values: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> float:
        return float(np.mean(values[where]))

    return FrameStatistics(
        area=float(inside.sum() / known.sum()),
        level_inside=mean(gray, inside),
        level_outside=mean(gray, outside),
        spread_inside=float(gray[inside].std()),
        spread_outside=float(gray[outside].std()),
        step=mean(gray, inside) - mean(gray, ring if ring.any() else outside),
        gradient_border=mean(gradient, border),
        gradient_inside=mean(gradient, core),
        gradient_outside=mean(gradient, rest),
        detail_inside=mean(detail, core),
        detail_outside=mean(detail, rest),
        saturation_inside=mean(saturation, inside),
        saturation_outside=mean(saturation, outside),
        dark=float((gray[known] < 20).mean()),
        bright=float((gray[known] > 235).mean()),
    )


def summarize(frames: Iterable[tuple[ByteArray, ByteArray]]) -> dict[str, dict[str, object]]:
    """Measure views, colour and grayscale ones apart.

    Args:
        frames: image uint8 (H, W, 3) and labels uint8 (H, W): 0 the rest, 255 ignored, any other value an instrument.

    Returns:
        Plain data by kind, "colour" and "grayscale": frames, and by statistic [mean, 10th, 90th percentile].
    """
    found: dict[str, list[FrameStatistics]] = {"colour": [], "grayscale": []}
    for rgb, labels in frames:
        known = labels < UNLABELLED
        instruments = known & (labels > 0)
        if min(instruments.sum(), (known & ~instruments).sum()) >= LEAST_PIXELS:
            kind = "grayscale" if is_gray(rgb[known]) else "colour"  # padding has a colour of its own
            found[kind].append(frame_statistics(rgb, instruments, known))
    report: dict[str, dict[str, object]] = {}
    for kind, rows in found.items():
        if rows:
            report[kind] = {"frames": len(rows)}
            for field in dataclasses.fields(FrameStatistics):
                values = np.array([getattr(row, field.name) for row in rows])
                numbers = (values.mean(), *np.percentile(values, (10, 90)))
                report[kind][field.name] = [round(float(number), 3) for number in numbers]
    return report


def describe(report: dict[str, dict[str, object]]) -> str:
    """The numbers as a table for the terminal."""
    lines = []
    for kind, rows in report.items():
        lines.append(f"{kind}: {rows['frames']} frames {'mean':>16}   10th to 90th percentile")
        for name, numbers in rows.items():
            if isinstance(numbers, list):
                mean, low, high = numbers
                lines.append(f"  {name:20} {mean:10.2f}   {low:.2f} to {high:.2f}")
    return "\n".join(lines)


def dataset_views(dataset: SegmentationDataset, frames: int) -> Iterator[tuple[ByteArray, ByteArray]]:
    """At most `frames` views of a dataset with labels as `summarize` takes them."""
    # A folder's label map does not say what is an instrument: there all but the background is.
    named = [entry.id for entry in dataset.label_space.classes if entry.instrument]
    table = np.zeros(256, np.uint8)
    table[named or range(1, UNLABELLED)] = 1
    table[UNLABELLED] = UNLABELLED
    items = dataset.spread(frames).items
    for item in shown(items, "measuring", len(items)):
        rgb, labels = dataset.load(item)
        labels = np.asarray(cv2.LUT(labels, table), np.uint8)
        yield plain_view(rgb, labels, content_mask(rgb, find=True), size=VIEW)


def scene_views(seed: int, scene: SceneConfig, frames: int) -> Iterator[tuple[ByteArray, ByteArray]]:
    """Views of the first `frames` validation scenes, likewise."""
    for index in shown(range(frames), "measuring", frames):
        frame = render_still(scene_generator(seed, VALIDATION, index), scene)
        yield plain_view(frame.rgb, frame.type_map, frame.content, size=VIEW)
