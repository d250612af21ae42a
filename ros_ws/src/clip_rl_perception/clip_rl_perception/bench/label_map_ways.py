"""The label map at the frame's size: the compiled exact way against the plain ones, for numbers of classes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.bench.interleaved import Candidate, Series, interleave
from clip_rl_perception.scene.label_map import full_size_maps, pixel_major, reference_maps
from clip_rl_perception.scene.letterbox import make_letterbox
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


class Fast:
    """`full_size_maps` of log-probabilities that lie in memory as the OpenVINO engine leaves them."""

    def __init__(self, log_probs: FloatArray, view: Letterbox, *, confidence: bool = False) -> None:
        self.name = "label map and confidence" if confidence else "label map"
        self._log_probs, self._view, self._confidence = np.moveaxis(pixel_major(log_probs), 2, 0), view, confidence

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`; the frame does not matter."""
        full_size_maps(self._log_probs, self._view, want_confidence=self._confidence)
        return {}


class Interpolate:
    """F.interpolate and argmax."""

    def __init__(self, log_probs: FloatArray, size: tuple[int, int]) -> None:
        self.name = "interpolate + argmax"
        self._log_probs, self._size = torch.from_numpy(log_probs)[None], size

    @torch.inference_mode()
    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`; the frame does not matter."""
        full = functional.interpolate(self._log_probs, size=self._size, mode="bilinear", align_corners=False)
        full.argmax(dim=1).to(torch.uint8)
        return {}


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
        ways: list[Candidate] = [
            Fast(log_probs, view),
            Fast(log_probs, view, confidence=True),
            Interpolate(log_probs, frame),
        ]
        series: dict[str, Series] = interleave(ways, [np.zeros((1, 1, 3), np.uint8)], rounds, warm_up=1)
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
            }
        )
    return rows
