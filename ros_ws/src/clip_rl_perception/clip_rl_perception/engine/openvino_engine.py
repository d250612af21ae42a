"""The OpenVINO engine: the network compiled for this CPU, in bfloat16 where it has that.

The stored graph leaves the number of classes open; it is compiled for the number at hand when it first appears (a
fraction of a second), because products with the text embeddings need fixed shapes on the CPU.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.manifest import Manifest, cpu_computes_in_bf16
from clip_rl_perception.engine.protocol import CloseUpGraph, Engine, EngineError, EngineInfo, check_finite
from clip_rl_perception.kernels.softmax_kernel import log_softmax

NETWORK_FILE = "network.xml"
CLOSE_UP_FILE = "close_up.xml"
"""The branch for close-ups, where the network has one."""
PRECISIONS = ("fp32", "bf16", "int8")
HINTS = {"fp32": "f32", "bf16": "bf16"}
"""Precision to OpenVINO's inference precision. An int8 graph carries its own; what it leaves floating is as quick as
this CPU allows."""


def versions() -> dict[str, str]:
    """Libraries that decide what this backend computes."""
    try:
        return {"openvino": metadata.version("openvino")}
    except metadata.PackageNotFoundError as error:
        raise EngineError("the openvino package is not installed; install it with: pip install openvino") from error


def default_precision() -> str:
    """``bf16`` on CPUs that compute in it, else ``fp32``."""
    return "bf16" if cpu_computes_in_bf16() else "fp32"


def cpu_config(precision: str) -> dict[str, Any]:
    """How graphs are compiled for a CPU: for latency, in an engine's precision."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Bound to cores, its threads would wait behind whatever runs there: other nodes, DDS, the camera driver.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": HINTS.get(default_precision() if precision == "int8" else precision, "f32"),
    }


class OpenVinoEngine(Engine):
    """An engine directory run by OpenVINO."""

    def __init__(self, directory: Path, manifest: Manifest, threads: int | None = None) -> None:
        """Read the graph of `directory`; `threads` of the CPU are used, None leaves it to OpenVINO.

        Raises:
            EngineError: the library or the graph cannot be loaded.
        """
        try:
            import openvino  # heavy, and absent on robots that run another backend
        except ImportError as error:
            raise EngineError(
                f"the openvino engine needs the openvino package ({error}); pip install openvino"
            ) from error
        super().__init__(manifest)
        self._config = cpu_config(manifest.precision)
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._core = openvino.Core()
            self._network = self._core.read_model(directory / NETWORK_FILE)
            if manifest.close_up_side is not None:
                self._branch = self._core.read_model(directory / CLOSE_UP_FILE)
        except RuntimeError as error:
            raise EngineError(f"the graph in {directory} cannot be read: {_first_line(error)}") from error

    def _make_graphs(self, classes: int) -> _Compiled:
        height, width = self._info.input_size
        self._network.reshape({0: [1, height, width, 3], 1: [classes, self._info.embedding_dim]})
        network = self._core.compile_model(self._network, "CPU", self._config).create_infer_request()
        return _Compiled(network, self._info, classes)

    def _make_close_up(self, side: int) -> CloseUpGraph:
        branch = self._core.compile_model(self._branch, "CPU", self._config).create_infer_request()

        def embed(rgb: ByteArray) -> FloatArray:
            branch.infer([rgb[None]])
            embedding: FloatArray = branch.get_output_tensor(0).data[0].copy()
            return embedding

        return embed


class _Compiled:
    """The network's request for K classes, bound to its memory."""

    def __init__(self, network: Any, info: EngineInfo, classes: int) -> None:
        import openvino

        height, width = info.input_size
        self._network = network
        self._info = info
        self._image: ByteArray = np.zeros((1, height, width, 3), np.uint8)
        self._text: FloatArray = np.zeros((classes, info.embedding_dim), np.float32)
        self._inputs = [openvino.Tensor(array, shared_memory=True) for array in (self._image, self._text)]

    def run(self, rgb: ByteArray, text: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """As `ClassGraphs.run`; in memory a pixel's classes lie side by side."""
        np.copyto(self._image[0], rgb)
        np.copyto(self._text, text)
        for index, tensor in enumerate(self._inputs):
            self._network.set_input_tensor(index, tensor)
        self._network.start_async()
        self._network.wait()
        logits, embedding, *instances = (
            self._network.get_output_tensor(index).data[0] for index in range(len(self._network.model_outputs))
        )
        check_finite(self._info, logits)  # the loop below takes it for granted
        log_probs: FloatArray = np.empty(logits.shape, np.float32)
        log_softmax(logits.reshape(-1, logits.shape[2]), log_probs.reshape(-1, logits.shape[2]))
        # The network's memory is written by the next frame: what leaves the engine is copied.
        return np.moveaxis(log_probs, 2, 0), embedding.copy(), instances[0].copy() if instances else None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-3:])[:300] if lines else type(error).__name__
