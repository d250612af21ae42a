"""Both graphs of an engine on static device tensors, and the way of arrays to and from them.

On a GPU the graphs are recorded once per number of classes (CUDA graphs: torch.cuda.CUDAGraph) and replayed, so that a
frame costs two launches instead of hundreds; inputs and results travel through pinned memory. On a CPU the same code
runs the graphs directly. Notation as in `protocol`.
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
from clip_rl_perception.engine.protocol import EngineInfo
from clip_rl_perception.model.segmenter import NetworkOutput

WARM_UP_RUNS = 3
"""Before recording: libraries allocate and choose algorithms in the first runs, which may not be recorded."""

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Program:
    """Both graphs as functions of device tensors, for one number of classes; results may be overwritten by a rerun."""

    network: Callable[[Tensor, Tensor], NetworkOutput]
    """Of uint8 images (1, H, W, 3) and text embeddings, float32 (K, D)."""
    step: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """Of log-probabilities, static map, text, previous log-probabilities and whether there are any: log-probabilities
    after the step, and how many pixels moved, float32 (1,)."""
    recordable: bool = True
    """Whether its work may be recorded as a CUDA graph."""


class DeviceGraphs:
    """A program for K classes bound to its own static tensors: the `ClassGraphs` of a `DeviceEngine`."""

    def __init__(self, program: Program, info: EngineInfo, classes: int, device: torch.device) -> None:
        height, width = info.input_size
        grid = (1, classes, height // info.stride, width // info.stride)
        self._program = program
        self.recordable = program.recordable
        """Whether `record` may be called."""
        self.image = torch.zeros((1, height, width, 3), dtype=torch.uint8, device=device)
        self.text = torch.zeros((classes, info.embedding_dim), device=device)
        self.previous = torch.zeros(grid, device=device)
        self.has_previous = torch.zeros((1, 1, 1, 1), device=device)
        self.state = torch.zeros(grid, device=device)
        """Log-probabilities: the decoder's after `run_network`, refined by every `run_step`."""
        self.moved = torch.zeros(1, device=device)
        """How many pixels the last step moved."""
        self.output: NetworkOutput
        self.send_image, self.send_text, self.send_previous = map(Upload, (self.image, self.text, self.previous))
        self.fetch = Download(device)
        self._fetched_embedding: Callable[[], FloatArray]
        self._recorded: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None

    def decode(self, rgb: ByteArray, text: FloatArray, previous: FloatArray | None) -> FloatArray:
        """As `ClassGraphs.decode`, on the current stream."""
        self.send_image(rgb)
        self.send_text(text)
        self.has_previous.fill_(previous is not None)
        if previous is not None:
            self.send_previous(previous)
        self.run_network()
        fetched_logits = self.fetch.begin("logits", self.output.logits)
        self._fetched_embedding = self.fetch.begin("embedding", self.output.embedding)
        if self.image.is_cuda:
            torch.cuda.current_stream(self.image.device).synchronize()
        logits: FloatArray = fetched_logits()[0]
        return logits

    def begin_steps(self) -> None:
        """Nothing: `run_network` has left the state where steps begin."""

    def results(self) -> tuple[FloatArray, FloatArray]:
        """As `ClassGraphs.results`."""
        return self.fetch.begin("refined", self.state)()[0], self._fetched_embedding()[0]

    def run_network(self) -> None:
        """Encoder and decoder of `image` and `text` into `output` and `state`."""
        if self._recorded is not None:
            self._recorded[0].replay()
        else:
            self._network()

    def run_step(self) -> None:
        """One refinement step of `state`, in place; a step in which every pixel keeps leaves it bit for bit."""
        if self._recorded is not None:
            self._recorded[1].replay()
        else:
            self._step()

    def take_step(self) -> int:
        """One step, waited for; returns how many pixels it moved."""
        self.run_step()
        return int(self.moved.item())

    def record(self, stream: torch.cuda.Stream) -> None:
        """Record both graphs on `stream`, which must be the current one; raises RuntimeError where that fails."""
        # Warm-up on the very stream of the recording: libraries keep handles and workspaces per stream.
        for _ in range(WARM_UP_RUNS):
            self._network()
            self._step()
        stream.synchronize()
        network, step = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(network, stream=stream, capture_error_mode="thread_local"):
            self._network()
        with torch.cuda.graph(step, stream=stream, capture_error_mode="thread_local"):
            self._step()
        self._recorded = (network, step)

    def _network(self) -> None:
        self.output = self._program.network(self.image, self.text)
        self.state.copy_(self.output.log_probs)

    def _step(self) -> None:
        output = self.output
        after, moved = self._program.step(self.state, output.static, output.text, self.previous, self.has_previous)
        self.state.copy_(after)
        self.moved.copy_(moved)


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
