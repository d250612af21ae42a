"""The OpenVINO engine: the network compiled for this CPU, in bfloat16 where it has that; then the refiner.

The stored graph leaves the number of classes open; it is compiled for the number at hand when it first appears (a
fraction of a second), because products with the text embeddings need fixed shapes on the CPU.
"""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.budget import StepBudget
from clip_rl_perception.engine.manifest import Manifest, describe_cpu
from clip_rl_perception.engine.openvino_refiner import CpuRefiner, read_policy
from clip_rl_perception.engine.protocol import (
    EngineError,
    EngineInfo,
    EngineOutput,
    check_infer_arguments,
    check_logits,
    is_out_of_memory,
    library_failure,
)

NETWORK_FILE = "network.xml"
POLICY_FILE = "policy.safetensors"
CLASS_COUNTS_KEPT = 3
"""The graph compiled for so many numbers of classes stays ready; the oldest gives way."""
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""Engine precision to OpenVINO's inference precision; an int8 graph carries its own quantisation."""


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
        """Read graph and policy of `directory`; `threads` of the CPU are used, None leaves it to OpenVINO.

        Raises:
            EngineError: the library, the graph or the policy cannot be loaded.
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
            # Bound to cores, its threads would wait behind whatever runs there: other nodes, DDS, the camera driver.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": PRECISIONS.get(manifest.precision, "f32"),
        }
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._core = openvino.Core()
            self._network = self._core.read_model(directory / NETWORK_FILE)
        except RuntimeError as error:
            raise EngineError(f"the graph in {directory} cannot be read: {_first_line(error)}") from error
        self._policy, self._sharpen = read_policy(directory / POLICY_FILE)
        self._compiled: dict[int, _Compiled] = {}
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
            compiled = self._compiled_for(text.shape[0])
            start = time.perf_counter()
            logits, embedding, static, projected = compiled.run(rgb, text)
            check_logits(self._info, logits)
            logits, embedding = logits.copy(), embedding.copy()  # the network's memory is written by the next frame
            network_ms = (time.perf_counter() - start) * 1e3
            limit = self._info.max_refine_steps if max_steps is None else min(max_steps, self._info.max_refine_steps)
            loop = self._budget.begin(start, budget_ms)
            refiner = compiled.refiner
            refiner.begin(logits, projected, static, previous)
            steps = loop.refine(refiner.step, limit)
            refined = refiner.result()
        except EngineError:
            raise
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                self._compiled.clear()  # what can be freed is; the next frame begins anew
            raise library_failure(self._info, error) from error
        return EngineOutput(
            logits=np.moveaxis(logits, 2, 0),
            refined=refined,
            embedding=embedding,
            steps=steps,
            truncated=loop.truncated,
            network_ms=network_ms,
            refine_ms=loop.elapsed_ms(),
        )

    def close(self) -> None:
        """Free what was compiled."""
        self._closed = True
        self._compiled.clear()

    def _compiled_for(self, classes: int) -> _Compiled:
        """The network for a number of classes, and its refiner; the last few numbers are kept."""
        if classes not in self._compiled:
            if len(self._compiled) >= CLASS_COUNTS_KEPT:
                self._compiled.pop(next(iter(self._compiled)))
            height, width = self._info.input_size
            self._network.reshape({0: [1, height, width, 3], 1: [classes, self._info.embedding_dim]})
            network = self._core.compile_model(self._network, "CPU", self._config).create_infer_request()
            stride = self._info.stride
            refiner = CpuRefiner(self._policy, classes, (height // stride, width // stride), self._sharpen)
            self._compiled[classes] = _Compiled(network, refiner, self._info, classes)
        return self._compiled[classes]


class _Compiled:
    """The network's request for K classes, bound to its memory, and the refiner that reads its results there."""

    def __init__(self, network: Any, refiner: CpuRefiner, info: EngineInfo, classes: int) -> None:
        import openvino

        height, width = info.input_size
        self._network = network
        self.refiner = refiner
        self._image: ByteArray = np.zeros((1, height, width, 3), np.uint8)
        self._text: FloatArray = np.zeros((classes, info.embedding_dim), np.float32)
        self._inputs = [openvino.Tensor(array, shared_memory=True) for array in (self._image, self._text)]

    def run(self, rgb: ByteArray, text: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """What the network gives, views until the next run.

        Returns:
            Logits (h, w, K), embedding (D,), and for the refiner the static map (h, w, C) and projected text (K, E).
        """
        np.copyto(self._image[0], rgb)
        np.copyto(self._text, text)
        for index, tensor in enumerate(self._inputs):
            self._network.set_input_tensor(index, tensor)
        self._network.start_async()
        self._network.wait()
        logits, embedding, static, projected = (self._network.get_output_tensor(index).data for index in range(4))
        return logits[0], embedding[0], static[0], projected


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-3:])[:300] if lines else type(error).__name__
