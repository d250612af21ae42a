"""Inference over graphs on a device: what the torch and the TensorRT engine have in common.

A frame: upload, network, steps until every pixel keeps or the budget is spent, download. Logits travel to the host
while the first step is computed. Notation as in `protocol`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.budget import StepBudget
from clip_rl_perception.engine.device_graphs import DeviceGraphs, Log, Program
from clip_rl_perception.engine.protocol import (
    EngineError,
    EngineInfo,
    EngineOutput,
    check_infer_arguments,
    check_logits,
    is_out_of_memory,
    library_failure,
)
from clip_rl_perception.errors import one_line

CLASS_COUNTS_KEPT = 3
"""Graphs of so many numbers of classes stay ready; the oldest gives way."""


class DeviceEngine:
    """An engine over a `Program`; see `clip_rl_perception.engine.protocol.Engine`. Subclasses make the program."""

    def __init__(
        self, info: EngineInfo, device: torch.device, *, record: bool = True, log: Log = lambda line: None
    ) -> None:
        """Prepare for frames of `info.input_size` on `device`.

        Args:
            info: what the engine is.
            device: where its program runs.
            record: record CUDA graphs, on a GPU and where the program allows it.
            log: told when recording fails and the graphs run unrecorded.
        """
        self._info = info
        self._device = device
        self._record = record and device.type == "cuda"
        self._log = log
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: dict[int, DeviceGraphs] = {}
        self._budget = StepBudget()
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        return self._info

    def _program(self, classes: int) -> Program:
        """The program for a number of classes."""
        raise NotImplementedError

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
        if self._closed:
            raise EngineError("this engine is closed; load it again")
        check_infer_arguments(self._info, rgb, text, previous)
        try:
            with self._on_device():
                graphs = self._graphs_for(text.shape[0])
                return self._run(graphs, rgb, text, previous, max_steps, budget_ms)
        except EngineError:
            raise
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            raise self._failure(error) from error

    def close(self) -> None:
        """Free the graphs and their memory."""
        self._closed = True
        self._graphs.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(
        self,
        graphs: DeviceGraphs,
        rgb: ByteArray,
        text: FloatArray,
        previous: FloatArray | None,
        max_steps: int | None,
        budget_ms: float | None,
    ) -> EngineOutput:
        start = time.perf_counter()
        graphs.send_image(rgb)
        graphs.send_text(text)
        graphs.has_previous.fill_(previous is not None)
        if previous is not None:
            graphs.send_previous(previous)
        graphs.run_network()
        fetched_logits = graphs.fetch.begin("logits", graphs.output.logits)
        fetched_embedding = graphs.fetch.begin("embedding", graphs.output.embedding)
        if self._stream is not None:
            self._stream.synchronize()
        logits = fetched_logits()[0]
        check_logits(self._info, logits)
        network_ms = (time.perf_counter() - start) * 1e3

        limit = self._info.max_refine_steps if max_steps is None else min(max_steps, self._info.max_refine_steps)
        loop = self._budget.begin(start, budget_ms)
        steps = loop.refine(graphs.take_step, limit)
        refined = graphs.fetch.begin("refined", graphs.state)()[0]
        return EngineOutput(
            logits=logits,
            refined=refined,
            embedding=fetched_embedding()[0],
            steps=steps,
            truncated=loop.truncated,
            network_ms=network_ms,
            refine_ms=loop.elapsed_ms(),
        )

    def _graphs_for(self, classes: int) -> DeviceGraphs:
        found = self._graphs.get(classes)
        if found is not None:
            return found
        if len(self._graphs) >= CLASS_COUNTS_KEPT:
            self._graphs.pop(next(iter(self._graphs)))
        made = DeviceGraphs(self._program(classes), self._info, classes, self._device)
        if self._record and made.recordable and self._stream is not None:
            try:
                made.record(self._stream)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._record = False
                reason = one_line(error, 300)
                self._log(f"{self._info.describe()}: no CUDA graphs ({reason}); running without, slower")
                made = DeviceGraphs(self._program(classes), self._info, classes, self._device)
        self._graphs[classes] = made
        return made

    @contextlib.contextmanager
    def _on_device(self) -> Iterator[None]:
        """This engine's device, stream and arithmetic: convolutions of single precision in single precision."""
        if self._stream is None:
            yield
            return
        exact = self._info.precision == "fp32"
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(self._stream),
            torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=not exact),
        ):
            yield

    def _failure(self, error: BaseException) -> EngineError:
        if is_out_of_memory(error):
            self._graphs.clear()  # what can be freed is; the next frame begins anew
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        return library_failure(self._info, error)
