"""The golden-frame gate: an engine that strays from the FP32 PyTorch reference on its golden frames does not start.

Silent precision failures of compiled attention and fused layers exist on every backend; a hash cannot find them, a few
frames with known outputs can. Notation as in `protocol`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors
import safetensors.numpy

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.manifest import Bounds
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.instance_channels import AXIS

GOLDEN_FILE = "golden.safetensors"

_SAID = slice(AXIS.stop, None)
"""Channels but the axis."""


@dataclasses.dataclass(frozen=True)
class GoldenFrames:
    """Inputs and FP32 reference outputs of a handful of frames."""

    images: ByteArray
    """uint8 (N, H, W, 3), RGB."""
    text: FloatArray
    """(K, D), unit rows."""
    log_probs: FloatArray
    """Reference log-probabilities, (N, K, h, w)."""
    instances: FloatArray | None = None
    """What the reference says of instruments, (N, 9, H/8, W/8); None: it has no instance head."""
    close_ups: ByteArray | None = None
    """The middle of each frame as a close-up, uint8 (N, S, S, 3); None: the network has no branch for them."""
    close_up_embeddings: FloatArray | None = None
    """Reference embeddings of these, (N, D), unit rows; there where they are."""


@dataclasses.dataclass(frozen=True)
class GateResult:
    """How close an engine came to the reference."""

    label_agreement: float
    """Share of pixels with the reference's label, over all golden frames."""
    label_iou: float
    """Mean over the reference's classes of the IoU between the engine's labels and the reference's."""
    logit_error: float
    """Root mean square difference of log-probabilities, nats."""
    instance_error: float = 0.0
    """Root mean square difference of what is said of instruments, all but the axes: those of places without an
    instrument are any. 0 where nothing is said."""
    close_up_cosine: float = 1.0
    """Least cosine between the embedding of a close-up and the reference's; 1 where there are none."""

    def describe(self) -> str:
        """One phrase, for progress lines."""
        return (
            f"labels agree on {self.label_agreement:.4%} of pixels, mIoU with FP32's labels {self.label_iou:.4%}, "
            f"log-probabilities differ by {self.logit_error:.3g} RMS"
            + (f", what is said of instruments by {self.instance_error:.3g}" if self.instance_error else "")
        )

    def failure(self, bounds: Bounds) -> str | None:
        """None when within `bounds`, else a phrase that names the measure, its value and its limit."""
        if not self.label_agreement >= bounds.label_agreement:  # the negation also catches NaN
            limit = f"at least {bounds.label_agreement:.4%} must"
            return f"labels agree on {self.label_agreement:.4%} of golden pixels, {limit}"
        if not self.logit_error <= bounds.logit_error:
            return (
                f"golden log-probabilities differ by {self.logit_error:.4g} RMS, at most {bounds.logit_error:.4g} may"
            )
        if not self.instance_error <= bounds.instance_error:
            return (
                f"what is said of instruments differs by {self.instance_error:.4g} RMS, "
                f"at most {bounds.instance_error:.4g} may"
            )
        if not self.close_up_cosine >= bounds.close_up_cosine:
            return (
                f"the embedding of a golden close-up has cosine {self.close_up_cosine:.4f} with the reference's, "
                f"at least {bounds.close_up_cosine:.4f} it must"
            )
        return None


def reference_outputs(reference: Engine, images: Sequence[ByteArray], text: FloatArray) -> GoldenFrames:
    """Run `reference`, the FP32 torch engine, on network-sized `images` and keep its outputs."""
    outputs = [reference.infer(image, text) for image in images]
    side = reference.info.close_up_side
    close_ups = [_middle(image, side) for image in images] if side is not None else []
    return GoldenFrames(
        images=np.stack(images),
        text=text,
        log_probs=np.stack([output.log_probs for output in outputs]),
        instances=_stacked([output.instances for output in outputs]),
        close_ups=np.stack(close_ups) if close_ups else None,
        close_up_embeddings=np.stack(list(map(reference.embed_close_up, close_ups))) if close_ups else None,
    )


def _stacked(said: Sequence[FloatArray | None]) -> FloatArray | None:
    told = [values for values in said if values is not None]
    # In C order: torch may keep channels last, and what is written to a file are the bytes as they lie.
    return np.ascontiguousarray(np.stack(told)) if told else None


def _middle(image: ByteArray, side: int) -> ByteArray:
    """The square in the middle of a frame at the size of a close-up."""
    height, width = image.shape[:2]
    cut = min(height, width)
    top, left = (height - cut) // 2, (width - cut) // 2
    square = image[top : top + cut, left : left + cut]
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def measure(engine: Engine, golden: GoldenFrames) -> GateResult:
    """Run `engine` on the golden frames and compare. Raises `EngineError` where the engine itself fails."""
    classes = golden.text.shape[0]
    confusion = np.zeros((classes, classes), np.int64)
    squares = instance_squares = 0.0
    for index, (image, expected) in enumerate(zip(golden.images, golden.log_probs, strict=True)):
        output = engine.infer(image, golden.text)
        found = output.log_probs
        if (output.instances is None) != (golden.instances is None):
            raise EngineError("the engine and its golden frames differ in whether something is said of instruments")
        if output.instances is not None and golden.instances is not None:
            apart = output.instances[_SAID].astype(np.float64) - golden.instances[index, _SAID]
            instance_squares += float(np.square(apart).mean())
        pairs = expected.argmax(axis=0) * classes + found.argmax(axis=0)
        confusion += np.bincount(pairs.ravel(), minlength=classes * classes).reshape(classes, classes)
        squares += float(np.square(found.astype(np.float64) - expected).sum())
    cosines: list[float] = []
    if golden.close_ups is not None and golden.close_up_embeddings is not None:
        embeddings = map(engine.embed_close_up, golden.close_ups)
        cosines = [float(a @ b) for a, b in zip(embeddings, golden.close_up_embeddings, strict=True)]
    same, there = np.diag(confusion), confusion.sum(axis=1) > 0
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - same
    return GateResult(
        label_agreement=float(same.sum() / confusion.sum()),
        label_iou=float(np.mean(same[there] / union[there])),
        logit_error=float(np.sqrt(squares / golden.log_probs.size)),
        instance_error=float(np.sqrt(instance_squares / len(golden.images))),
        close_up_cosine=min(cosines, default=1.0),
    )


def save_golden(directory: Path, golden: GoldenFrames) -> None:
    """Write the golden frames into an engine directory."""
    try:
        arrays = {name: values for name, values in vars(golden).items() if values is not None}
        safetensors.numpy.save_file(arrays, directory / GOLDEN_FILE)
    except safetensors.SafetensorError as error:  # also what a full disk is called there
        raise EngineError(f"golden frames cannot be written to {directory}: {error}") from error


def load_golden(directory: Path) -> GoldenFrames:
    """Read the golden frames of an engine directory. Raises `EngineError` when missing, damaged or of odd shapes."""
    path = directory / GOLDEN_FILE
    try:
        arrays: dict[str, Any] = safetensors.numpy.load_file(path)
        golden = GoldenFrames(**arrays)
    except (OSError, TypeError, safetensors.SafetensorError) as error:
        raise EngineError(f"golden frames {path} cannot be read ({error})") from error
    if not len(golden.images) or golden.log_probs.shape[:2] != (len(golden.images), len(golden.text)):
        shapes = golden.images.shape, golden.text.shape, golden.log_probs.shape
        raise EngineError(f"golden frames {path} contradict themselves: images, text, log_probs are {shapes}")
    counts = [None if values is None else len(values) for values in (golden.close_ups, golden.close_up_embeddings)]
    if counts not in ([None, None], [len(golden.images)] * 2):
        raise EngineError(
            f"golden frames {path} contradict themselves: {len(golden.images)} images, close-ups {counts}"
        )
    return golden
