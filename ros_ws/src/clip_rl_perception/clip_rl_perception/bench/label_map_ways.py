"""The label map at the frame's size: the compiled exact way against the plain ones, for numbers of classes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.bench.interleaved import interleave
from clip_rl_perception.scene.label_map import full_size_maps, pixel_major, reference_maps
from clip_rl_perception.scene.letterbox import STRIDE, make_letterbox
from clip_rl_perception.scene.types import Letterbox

CLASSES = (2, 12, 50)
"""Numbers of classes."""


def log_probs_like_a_network(classes: int, size: tuple[int, int], seed: int = 0) -> FloatArray:
    """Soft-bordered blobs of `classes` classes with noise, as a trained network gives: float32 (K, h, w)."""
    rng = np.random.default_rng(seed)
    fields = [cv2.resize(rng.normal(size=(5, 6)), size[::-1], interpolation=cv2.INTER_CUBIC) for _ in range(classes)]
    winners = np.argmax(fields, axis=0)
    soft = np.stack([cv2.GaussianBlur((winners == k).astype(np.float64), (0, 0), 1.0) for k in range(classes)])
    values = 1.2 * np.log(soft * 0.998 + 0.002 / classes) + 0.3 * rng.normal(size=soft.shape)
    values -= values.max(axis=0)
    return np.asarray(values - np.log(np.exp(values).sum(axis=0)), np.float32)


@dataclasses.dataclass(frozen=True)
class Way:
    """A `Candidate` that does the same whatever the frame."""

    name: str
    call: Callable[[], object]

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        self.call()
        return {}


class OpenCv:
    """Class by class `cv2.resize` and a running maximum, in memory of its own; as many threads as OpenCV has."""

    def __init__(self, log_probs: FloatArray, view: Letterbox) -> None:
        self._planes, self._scale = log_probs, STRIDE / view.scale
        # Padding is no whole number of frame pixels: what lies before the frame is cut off to the nearest one.
        top, left = round(view.pad_y / view.scale), round(view.pad_x / view.scale)
        self._shown = np.s_[top : top + view.frame_size[0], left : left + view.frame_size[1]]
        self._best, self._values = self._resized(0), self._resized(0)
        self._beaten, self._labels = (np.empty(view.frame_size, np.uint8) for _ in range(2))

    def labels(self) -> ByteArray:
        """Class ids, uint8 (height, width), until the next call; the first on ties."""
        labels, best, values = self._labels, self._best[self._shown], self._values[self._shown]
        labels[:] = 0
        self._resized(0, self._best)
        for number in range(1, len(self._planes)):
            self._resized(number, self._values)
            cv2.compare(values, best, cv2.CMP_GT, dst=self._beaten)
            # Ids rise: the largest one that has beaten those before it is the winner's.
            cv2.max(labels, np.bitwise_and(self._beaten, np.uint8(number), out=self._beaten), dst=labels)
            cv2.max(best, values, dst=best)
        return labels

    def _resized(self, number: int, into: FloatArray | None = None) -> FloatArray:
        scaled = cv2.resize(
            self._planes[number], None, into, fx=self._scale, fy=self._scale, interpolation=cv2.INTER_LINEAR
        )
        return np.asarray(scaled, np.float32)


@torch.inference_mode()
def _interpolated(log_probs: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    full = functional.interpolate(log_probs, size=size, mode="bilinear", align_corners=False)
    return full.argmax(dim=1).to(torch.uint8)


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV on one thread, as the compiled way is, while the block runs."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def measure_postprocess(
    frame: tuple[int, int], network: tuple[int, int], *, rounds: int = 20, classes: tuple[int, ...] = CLASSES
) -> list[dict[str, Any]]:
    """Median times and agreement with the plain definition, by number of classes.

    Args:
        frame: (height, width) of the frame.
        network: (H, W) of the network input.
        rounds: timed calls of each way.
        classes: numbers of classes.
    """
    view, rows = make_letterbox(frame, network), []
    for count in classes:
        log_probs = log_probs_like_a_network(count, (network[0] // 4, network[1] // 4))
        as_engines_leave_them = np.moveaxis(pixel_major(log_probs), 2, 0)
        opencv, tensor = OpenCv(log_probs, view), torch.from_numpy(log_probs)[None]
        ways = [
            Way("label map", partial(full_size_maps, as_engines_leave_them, view)),
            Way("label map and confidence", partial(full_size_maps, as_engines_leave_them, view, want_confidence=True)),
            Way("resize + running maximum", opencv.labels),
            Way("interpolate + argmax", partial(_interpolated, tensor, frame)),
        ]
        with one_opencv_thread():
            series = interleave(ways, [np.zeros((1, 1, 3), np.uint8)], rounds, warm_up=1)
        labels, confidence = full_size_maps(log_probs, view, want_confidence=True)
        wanted, wanted_confidence = reference_maps(log_probs, view)
        assert confidence is not None
        off = np.abs(confidence.astype(int) - wanted_confidence)
        rows.append(
            {
                "classes": count,
                **{f"{way.name} ms": round(series[way.name].median(), 3) for way in ways},
                "label_agreement": float((labels == wanted).mean()),
                "confidence_within_one": float((off <= 1).mean()),
                "resize + running maximum agreement": float((opencv.labels() == wanted).mean()),
            }
        )
    return rows
