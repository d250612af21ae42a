"""What every engine of ours does around a frame, whatever runs its graphs: checks, the budget, who gives way in memory.

Graphs belong to a number of classes; those of the last few stay ready. Notation as in `protocol`.
"""

from __future__ import annotations

import contextlib
import time
from typing import Protocol

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.budget import StepBudget
from clip_rl_perception.engine.protocol import (
    EngineError,
    EngineInfo,
    EngineOutput,
    check_infer_arguments,
    check_logits,
    is_out_of_memory,
    library_failure,
)

CLASS_COUNTS_KEPT = 3
"""Graphs of so many numbers of classes stay ready; the oldest gives way."""


class ClassGraphs(Protocol):
    """The graphs of K classes, bound to their memory; called in this order for every frame."""

    def decode(self, rgb: ByteArray, text: FloatArray, previous: FloatArray | None) -> FloatArray:
        """Decoder logits (K, h, w), the caller's to keep; arguments as of `Engine.infer`."""
        ...

    def begin_steps(self) -> None:
        """What has to be done before the first step."""
        ...

    def take_step(self) -> int:
        """One refinement step; returns how many pixels it moved."""
        ...

    def results(self) -> tuple[FloatArray, FloatArray]:
        """Refined log-probabilities (K, h, w) and embedding (D,), the caller's to keep."""
        ...


class EngineBase:
    """An engine over `ClassGraphs`, which subclasses make; see `clip_rl_perception.engine.protocol.Engine`."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._graphs: dict[int, ClassGraphs] = {}
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
        most = self._info.max_refine_steps
        try:
            with self._running():
                graphs = self._graphs_for(text.shape[0])
                start = time.perf_counter()
                logits = graphs.decode(rgb, text, previous)
                check_logits(self._info, logits)
                network_ms = (time.perf_counter() - start) * 1e3
                loop = self._budget.begin(start, budget_ms)
                graphs.begin_steps()
                steps = loop.refine(graphs.take_step, most if max_steps is None else min(max_steps, most))
                refined, embedding = graphs.results()
                return EngineOutput(
                    logits=logits,
                    refined=refined,
                    embedding=embedding,
                    steps=steps,
                    truncated=loop.truncated,
                    network_ms=network_ms,
                    refine_ms=loop.elapsed_ms(),
                )
        except EngineError:
            raise
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if is_out_of_memory(error):
                self._free()  # what can be freed is; the next frame begins anew
            raise library_failure(self._info, error) from error

    def close(self) -> None:
        """Free the graphs and their memory; the engine is unusable afterwards."""
        self._closed = True
        self._free()

    def _make_graphs(self, classes: int) -> ClassGraphs:
        raise NotImplementedError

    def _running(self) -> contextlib.AbstractContextManager[object]:
        """Around everything that runs for a frame."""
        return contextlib.nullcontext()

    def _free(self) -> None:
        self._graphs.clear()

    def _graphs_for(self, classes: int) -> ClassGraphs:
        if classes not in self._graphs:
            if len(self._graphs) >= CLASS_COUNTS_KEPT:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[classes] = self._make_graphs(classes)
        return self._graphs[classes]
