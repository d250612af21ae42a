"""The graph of an engine on static device tensors, and the way of arrays to and from it.

On a GPU the graph is recorded once per number of classes (CUDA graphs: torch.cuda.CUDAGraph) and replayed, so that a
frame costs one launch instead of hundreds; inputs and results travel through pinned memory. On a CPU the same code
runs the graph directly. Notation as in `protocol`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.graphs import NetworkOutput
from clip_rl_perception.engine.protocol import EngineInfo

WARM_UP_RUNS = 3
"""Before recording: libraries allocate and choose algorithms in the first runs, which may not be recorded."""

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Program:
    """The graph as a function of device tensors, for one number of classes; results may be overwritten by a rerun."""

    network: Callable[[Tensor, Tensor], NetworkOutput]
    """Of uint8 images (1, H, W, 3) and text embeddings, float32 (K, D)."""
    recordable: bool = True
    """Whether its work may be recorded as a CUDA graph."""


class DeviceGraphs:
    """A program for K classes bound to its own static tensors: the `ClassGraphs` of a `DeviceEngine`."""

    def __init__(self, program: Program, info: EngineInfo, classes: int, device: torch.device) -> None:
        height, width = info.input_size
        self._program = program
        self.recordable = program.recordable
        """Whether `record` may be called."""
        self.image = torch.zeros((1, height, width, 3), dtype=torch.uint8, device=device)
        self.text = torch.zeros((classes, info.embedding_dim), device=device)
        self.output: NetworkOutput
        self.send_image, self.send_text = map(Upload, (self.image, self.text))
        self.fetch = Download(device)
        self._recorded: torch.cuda.CUDAGraph | None = None

    def run(self, rgb: ByteArray, text: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """As `ClassGraphs.run`, on the current stream."""
        self.send_image(rgb)
        self.send_text(text)
        self.run_network()
        results = {name: values for name, values in self.output._asdict().items() if values is not None}
        fetched = {name: self.fetch.begin(name, values) for name, values in results.items()}
        found = {name: finish()[0] for name, finish in fetched.items()}
        return found["log_probs"], found["embedding"], found.get("instances")

    def run_network(self) -> None:
        """Encoder and decoder of `image` and `text` into `output`."""
        if self._recorded is not None:
            self._recorded.replay()
        else:
            self._network()

    def record(self, stream: torch.cuda.Stream) -> None:
        """Record the graph on `stream`, which must be the current one; raises RuntimeError where that fails."""
        # Warm-up on the very stream of the recording: libraries keep handles and workspaces per stream.
        for _ in range(WARM_UP_RUNS):
            self._network()
        stream.synchronize()
        network = torch.cuda.CUDAGraph()
        with torch.cuda.graph(network, stream=stream, capture_error_mode="thread_local"):
            self._network()
        self._recorded = network

    def _network(self) -> None:
        self.output = self._program.network(self.image, self.text)


class DeviceCloseUp:
    """A graph of close-ups bound to its own static tensors: the `CloseUpGraph` of a `DeviceEngine`. Not recorded."""

    def __init__(self, network: Callable[[Tensor], Tensor], side: int, device: torch.device) -> None:
        self._network = network
        self._image = torch.zeros((1, side, side, 3), dtype=torch.uint8, device=device)
        self._send = Upload(self._image)
        self._fetch = Download(device)

    def __call__(self, rgb: ByteArray) -> FloatArray:
        """As `CloseUpGraph`, on the current stream."""
        self._send(rgb)
        embedding: FloatArray = self._fetch.begin("embedding", self._network(self._image))()[0]
        return embedding


class Upload:
    """Arrays into a static device tensor, through two pinned buffers in turn: filling one never waits for the other."""

    def __init__(self, target: Tensor) -> None:
        self._target = target
        self._buffers = [target]
        self._events: list[torch.cuda.Event] = []
        if target.is_cuda:
            self._buffers = [torch.empty(target.shape, dtype=target.dtype, pin_memory=True) for _ in range(2)]
            self._events = [torch.cuda.Event() for _ in self._buffers]  # type: ignore[no-untyped-call]
        self._turn = 0

    def __call__(self, array: npt.NDArray[Any]) -> None:
        """Copy `array`, of the target's shape (a leading 1 may be missing), strided or read-only as it may be."""
        buffer = self._buffers[self._turn]
        if self._events:
            self._events[self._turn].synchronize()  # the copy that last read this buffer; long since done
        np.copyto(buffer.numpy().reshape(array.shape), array)
        if self._events:
            self._target.copy_(buffer, non_blocking=True)
            self._events[self._turn].record()
            self._turn = 1 - self._turn


class Download:
    """Static device tensors to arrays; on a GPU by a stream of its own, beside what is still being computed."""

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pinned: dict[tuple[str, torch.Size], Tensor] = {}

    def begin(self, name: str, source: Tensor) -> Callable[[], FloatArray]:
        """Start copying `source` as it is after all work launched so far; the returned call waits and gives a copy."""
        if self._stream is None:
            values = np.array(source.numpy())
            return lambda: values
        host = self._pinned.get((name, source.shape))
        if host is None:
            host = self._pinned[name, source.shape] = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(self._stream):
            host.copy_(source, non_blocking=True)
            done.record()
        pinned = host

        def finish() -> FloatArray:
            done.synchronize()
            return np.array(pinned.numpy())

        return finish
