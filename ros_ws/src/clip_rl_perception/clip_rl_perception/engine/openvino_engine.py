"""The OpenVINO engine: both graphs compiled for this CPU, bfloat16 where it has the instructions for it.

The stored graphs leave the number of classes open; they are compiled for the number at hand when it first appears
(a fraction of a second), because convolutions by the text embeddings need fixed weight shapes on the CPU.
"""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.engine.budget import StepBudget
from clip_rl_perception.engine.manifest import Manifest, describe_cpu
from clip_rl_perception.engine.protocol import (
    ByteArray,
    EngineError,
    EngineInfo,
    EngineOutput,
    FloatArray,
    check_infer_arguments,
)

NETWORK_FILE = "network.xml"
STEP_FILE = "step.xml"
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""Engine precision to OpenVINO's inference precision; an int8 graph carries its own quantisation."""

KEEP = 0
"""The policy's action that changes nothing (model.actions.Action.KEEP, which needs torch to import)."""


def versions() -> dict[str, str]:
    """Libraries that decide what this backend computes."""
    try:
        return {"openvino": metadata.version("openvino")}
    except metadata.PackageNotFoundError as error:
        raise EngineError("the openvino package is not installed; install it with: pip install openvino") from error


def device() -> dict[str, str]:
    """The machine that an OpenVINO engine is bound to."""
    return describe_cpu()


def default_precision() -> str:
    """``bf16`` on CPUs that compute in it, else ``fp32``."""
    return "bf16" if {"avx512_bf16", "amx_bf16"} & set(describe_cpu()["instructions"].split()) else "fp32"


class OpenVinoEngine:
    """An engine directory run by OpenVINO; see `clip_rl_perception.engine.protocol.Engine`."""

    def __init__(self, directory: Path, manifest: Manifest, threads: int | None = None) -> None:
        """Read the graphs of `directory`; `threads` of the CPU are used, None leaves it to OpenVINO.

        Raises:
            EngineError: the library or the graphs cannot be loaded.
        """
        try:
            import openvino  # heavy, and absent on robots that run another backend
        except ImportError as error:
            raise EngineError(
                f"the openvino engine needs the openvino package ({error}); pip install openvino"
            ) from error
        self._info = manifest.info()
        self._config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": PRECISIONS.get(manifest.precision, "f32"),
        }
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._core = openvino.Core()
            self._network = self._core.read_model(directory / NETWORK_FILE)
            self._step = self._core.read_model(directory / STEP_FILE)
        except RuntimeError as error:
            raise EngineError(f"the graphs in {directory} cannot be read: {_first_line(error)}") from error
        self._requests: dict[int, tuple[Any, Any]] = {}
        self._budget = StepBudget()
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        return self._info

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
        if self._closed:
            raise EngineError("this engine is closed; load it again")
        check_infer_arguments(self._info, rgb, text, previous)
        try:
            network, step = self._compiled(text.shape[0])
            start = time.perf_counter()
            logits, log_probs, embedding, static, projected = _outputs(network, [rgb[None], text])
            if not np.isfinite(logits).all():
                raise EngineError(
                    f"{self._info.describe()}: the network's logits are not finite; check the weights and precision"
                )
            network_ms = (time.perf_counter() - start) * 1e3
            recalled = np.zeros_like(log_probs) if previous is None else previous[None]
            has_previous = np.full((1, 1, 1, 1), previous is not None, np.float32)
            limit = self._info.max_refine_steps if max_steps is None else min(max_steps, self._info.max_refine_steps)
            loop = self._budget.begin(start, budget_ms)
            steps = 0
            while steps < limit and loop.allows_step():
                after, actions = _outputs(step, [log_probs, static, projected, recalled, has_previous])
                loop.record_step()
                if not (actions != KEEP).any():
                    break
                # The result lives in the request, which the next step overwrites while it reads its input.
                log_probs = after.copy()
                steps += 1
        except RuntimeError as error:
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"{self._info.describe()}: {_first_line(error)}") from error
        return EngineOutput(
            logits=logits[0].copy(),
            refined=log_probs[0].copy() if steps == 0 else log_probs[0],
            embedding=embedding[0].copy(),
            steps=steps,
            truncated=loop.truncated,
            network_ms=network_ms,
            refine_ms=loop.elapsed_ms(),
        )

    def close(self) -> None:
        """Free the compiled graphs."""
        self._closed = True
        self._requests.clear()

    def _compiled(self, classes: int) -> tuple[Any, Any]:
        """Requests of both graphs for a number of classes; the last few numbers are kept."""
        if classes not in self._requests:
            if len(self._requests) >= 3:
                self._requests.pop(next(iter(self._requests)))
            height, width = self._info.input_size
            h, w = height // self._info.stride, width // self._info.stride
            static, projected = self._step.input(1).partial_shape, self._step.input(2).partial_shape
            self._network.reshape({0: [1, height, width, 3], 1: [classes, self._info.embedding_dim]})
            self._step.reshape(
                {
                    0: [1, classes, h, w],
                    1: list(static.to_shape()),
                    2: [classes, projected[1].get_length()],
                    3: [1, classes, h, w],
                    4: [1, 1, 1, 1],
                }
            )
            self._requests[classes] = (
                self._core.compile_model(self._network, "CPU", self._config).create_infer_request(),
                self._core.compile_model(self._step, "CPU", self._config).create_infer_request(),
            )
        return self._requests[classes]


def _outputs(request: Any, inputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Run a request without copying: results are views into it, valid until its next run."""
    results = request.infer(inputs, share_inputs=True, share_outputs=True)
    return [results[index] for index in range(len(results))]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-3:])[:300] if lines else type(error).__name__
