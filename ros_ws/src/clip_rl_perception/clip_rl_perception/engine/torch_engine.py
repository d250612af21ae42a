"""The reference engine: the network as torch runs it, in single precision on the CPU unless told otherwise."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clip_rl_perception.engine.budget import StepBudget
from clip_rl_perception.engine.protocol import (
    ByteArray,
    EngineError,
    EngineInfo,
    EngineOutput,
    FloatArray,
    check_infer_arguments,
)
from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.config import ConfigError, check_input_size
from clip_rl_perception.model.refiner import RefinerContext
from clip_rl_perception.model.segmenter import STRIDE, ClipRlSegmenter

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the encoder and decoder may compute in; the refiner and all results are single precision."""


class TorchEngine:
    """A checkpoint run by torch at one input size; see `clip_rl_perception.engine.protocol.Engine`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        input_size: tuple[int, int] | None = None,
        precision: str = "fp32",
        threads: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Prepare a checkpoint for inference.

        Args:
            checkpoint: a loaded checkpoint; its network is moved to `device` and used, not copied.
            input_size: (H, W), multiples of 32; None takes the checkpoint's.
            precision: ``fp32`` or ``bf16``.
            threads: intra-operator threads of torch, a setting of the whole process; None leaves it.
            device: a torch device.

        Raises:
            EngineError: an input size, precision, thread count or device that cannot be.
        """
        size = checkpoint.segmenter.config.input_size if input_size is None else input_size
        if precision not in PRECISIONS:
            raise EngineError(f"the torch engine has no precision '{precision}'; it has {', '.join(PRECISIONS)}")
        try:
            check_input_size(size)
        except ConfigError as error:
            raise EngineError(str(error)) from error
        if threads is not None:
            if threads < 1:
                raise EngineError(f"{threads} threads: at least 1 is needed")
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._dtype = PRECISIONS[precision]
        try:
            self._segmenter: ClipRlSegmenter | None = checkpoint.segmenter.eval().to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise EngineError(f"device '{device}' is not usable: {_one_line(error)}") from error
        self._info = EngineInfo(
            backend="torch",
            precision=precision,
            input_size=(int(size[0]), int(size[1])),
            stride=STRIDE,
            embedding_dim=self._segmenter.embedding_dim,
            model_id=checkpoint.model_id,
            max_refine_steps=self._segmenter.config.refiner.max_steps,
        )
        self._budget = StepBudget()

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        return self._info

    @torch.inference_mode()
    def infer(
        self,
        rgb: ByteArray,
        text: FloatArray,
        *,
        previous: FloatArray | None = None,
        max_steps: int | None = None,
        budget_ms: float | None = None,
    ) -> EngineOutput:
        """Segment one network-sized image; see `Engine.infer`."""
        if self._segmenter is None:
            raise EngineError("this engine is closed; load it again")
        check_infer_arguments(self._info, rgb, text, previous)
        try:
            return self._run(self._segmenter, rgb, text, previous, max_steps, budget_ms)
        except RuntimeError as error:  # torch.OutOfMemoryError is one, and CPU allocation failures are plain ones
            if isinstance(error, EngineError) or "memory" not in str(error):
                raise
            raise EngineError(f"out of memory at {self._info.describe()}: {_one_line(error)}") from error

    def close(self) -> None:
        """Let go of the network."""
        self._segmenter = None

    def _run(
        self,
        segmenter: ClipRlSegmenter,
        rgb: ByteArray,
        text: FloatArray,
        previous: FloatArray | None,
        max_steps: int | None,
        budget_ms: float | None,
    ) -> EngineOutput:
        start = time.perf_counter()
        classes = self._tensor(text)
        images = segmenter.prepare(self._tensor(rgb).unsqueeze(0))
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not torch.float32):
            decoded = segmenter.decode(images, classes)
        decoded = type(decoded)(*(value.float() for value in decoded))
        logits = decoded.logits[0].cpu().numpy()
        if not np.isfinite(logits).all():
            raise EngineError(
                f"{self._info.describe()}: the network's logits are not finite; check the weights and precision"
            )
        log_probs = functional.log_softmax(decoded.logits, dim=1)
        network_ms = (time.perf_counter() - start) * 1e3

        limit = self._info.max_refine_steps if max_steps is None else min(max_steps, self._info.max_refine_steps)
        loop = self._budget.begin(start, budget_ms)
        context: RefinerContext | None = None
        steps = 0
        while steps < limit and loop.allows_step():
            if context is None:
                before = None if previous is None else self._tensor(previous).unsqueeze(0)
                context = segmenter.refiner_context(decoded, classes, before)
            after, actions = segmenter.refiner.step(log_probs, context)
            settled = bool((actions == Action.KEEP).all())
            loop.record_step()
            if settled:
                break
            log_probs = after
            steps += 1
        return EngineOutput(
            logits=logits,
            refined=log_probs[0].cpu().numpy(),
            embedding=decoded.embedding[0].cpu().numpy(),
            steps=steps,
            truncated=loop.truncated,
            network_ms=network_ms,
            refine_ms=loop.elapsed_ms(),
        )

    def _tensor(self, array: ByteArray | FloatArray) -> Tensor:
        # Read-only arrays (images straight from messages) are copied: torch has no read-only tensors.
        source = array if array.flags.writeable else array.copy()
        return torch.from_numpy(np.ascontiguousarray(source)).to(self._device)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
