"""What can be said about TensorRT without a GPU: export, and TensorRT-RTX's own parser and builder on the ONNX form.

The backend itself goes through torch-tensorrt, which cannot be imported without a GPU; the operators that TensorRT has
are the same either way. Building fixes the number of classes: the builder's parser route trips over an open one.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import tempfile
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from clip_rl_perception.engine.build_progress import Progress, stage
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.engine.tensorrt_build import Graph, export, graph_for_export
from clip_rl_perception.engine.tensorrt_library import import_flavour
from clip_rl_perception.errors import one_line
from clip_rl_perception.model.checkpoint import Checkpoint

OPSET = 18
"""The newest that torch's tracing exporter writes."""


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """The graph through export, parser and builder."""

    graph: str
    """Its name."""
    precision: str
    input_size: tuple[int, int]
    classes: int
    """The number that the engine was built for."""
    operators: dict[str, int]
    """aten operators of the exported graph and how often each is there."""
    layers: int
    """Layers that the parser made."""
    engine_bytes: int
    """Size of the built plan."""
    build_s: float
    """Time of the builder, s."""
    library: str
    """Flavour and version."""

    def describe(self) -> str:
        """One line."""
        height, width = self.input_size
        return (
            f"{self.graph} {self.precision} {height}x{width}, {self.classes} classes: {len(self.operators)} operators "
            f"({sum(self.operators.values())} calls) exported, {self.layers} layers parsed, "
            f"built in {self.build_s:.1f} s to {self.engine_bytes / 1e6:.1f} MB by {self.library}; "
            "not run: that takes a GPU"
        )


def check(checkpoint: Checkpoint, input_size: tuple[int, int], precision: str, progress: Progress) -> CheckResult:
    """Export, parse and build the graph of a checkpoint with TensorRT-RTX on the CPU, throwing the plan away.

    Args:
        checkpoint: the network.
        input_size: (H, W).
        precision: ``fp32``, ``bf16`` or ``fp16``.
        progress: told of every stage.

    Raises:
        EngineError: TensorRT-RTX or onnx are missing, or an operator is not covered; the message names it.
    """
    library = import_flavour("tensorrt_rtx")
    graph = graph_for_export(checkpoint, input_size, precision, torch.device("cpu"))
    with stage(f"export the {graph.name} graph, {precision}", progress):
        nodes = [node for node in export(graph).graph.nodes if node.op == "call_function"]
        operators = collections.Counter(str(node.target) for node in nodes)
    with stage(f"parse and build the {graph.name} graph with TensorRT-RTX", progress):
        layers, size, seconds = _build(library, graph)
    return CheckResult(
        graph=graph.name,
        precision=precision,
        input_size=input_size,
        classes=next(graph.inputs[name].shape[dim] for name, dim in graph.class_dims.items()),
        operators=dict(operators),
        layers=layers,
        engine_bytes=size,
        build_s=seconds,
        library=f"tensorrt_rtx {library.__version__}",
    )


def _build(library: ModuleType, graph: Graph) -> tuple[int, int, float]:
    """Number of layers, bytes of the plan, seconds of the builder."""
    logger = _Logger(library)
    builder = library.Builder(logger.sink)
    network = builder.create_network(0)
    parser = library.OnnxParser(network, logger.sink)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        _write_onnx(graph, path)
        if not parser.parse_from_file(str(path)):
            problems = [parser.get_error(index) for index in range(parser.num_errors)]
            told = "; ".join(f"{problem.node_operator()}: {problem.desc()}" for problem in problems)
            raise EngineError(f"TensorRT-RTX does not take the {graph.name} graph: {' '.join(told.split())}")
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise EngineError(f"TensorRT-RTX cannot build the {graph.name} graph: {logger.last()}")
    return int(network.num_layers), int(plan.nbytes), time.perf_counter() - start


def _write_onnx(graph: Graph, path: Path) -> None:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused attention that ONNX has no operator for
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.module,
                tuple(graph.inputs.values()),
                str(path),
                dynamo=False,  # by tracing: the newer exporter needs one package more and is no help here
                input_names=list(graph.inputs),
                opset_version=OPSET,
            )
    except Exception as error:
        reason = one_line(error, 300)
        raise EngineError(
            f"the {graph.name} graph cannot be written as ONNX: {reason} (the onnx package is needed)"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Logger:
    """Keeps what TensorRT complains about."""

    def __init__(self, library: ModuleType) -> None:
        complaints: list[str] = []

        class Sink(library.ILogger):  # type: ignore[misc, name-defined]
            def log(self, severity: Any, message: str) -> None:
                if severity <= library.ILogger.Severity.ERROR:
                    complaints.append(message)

        self._complaints = complaints
        self.sink = Sink()

    def last(self) -> str:
        """The last complaint."""
        return " ".join(self._complaints[-1].split())[:400] if self._complaints else "its log says nothing"
