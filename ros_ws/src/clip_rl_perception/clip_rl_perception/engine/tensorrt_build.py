"""From a checkpoint to a serialized TensorRT engine, by way of torch.export and torch-tensorrt (dynamo).

What is written is TensorRT's own plan, no torch-tensorrt module: those are pickles, and loading one runs code. The
number of classes stays open between `FEWEST_CLASSES` and `MOST_CLASSES`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.graphs import DTYPES, CastCloseUpGraph, CastNetworkGraph
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.engine.tensorrt_library import import_compiler
from clip_rl_perception.errors import one_line
from clip_rl_perception.model.checkpoint import Checkpoint

PRECISIONS = tuple(DTYPES)

FEWEST_CLASSES, MOST_CLASSES = 2, 254
"""Range of the open dimension: exporting takes a dimension of 1 for a constant; the engine serves one class too."""


class Graph(NamedTuple):
    """A module ready for export."""

    name: str
    """As messages call it."""
    module: nn.Module
    inputs: dict[str, Tensor]
    """Sample inputs in the order of the module's arguments."""
    class_dims: dict[str, int]
    """Which dimension of which input is the number of classes."""


class _Results(nn.Module):
    """A network's results as a plain tuple, without those that it has not: a plan has no place for None."""

    def __init__(self, network: CastNetworkGraph) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        return tuple(values for values in self.network(images, text) if values is not None)


def graph_for_export(
    checkpoint: Checkpoint, input_size: tuple[int, int], precision: str, device: torch.device
) -> Graph:
    """The network of a checkpoint, copied to `device`, with sample inputs of its own classes."""
    network = _Results(CastNetworkGraph(checkpoint.segmenter, precision, input_size, own=True)).eval().to(device)
    image = torch.zeros((1, *input_size, 3), dtype=torch.uint8, device=device)
    text = checkpoint.text.float().to(device)
    if text.shape[0] < FEWEST_CLASSES:
        text = text.expand(FEWEST_CLASSES, -1).contiguous()
    return Graph("network", network, {"images": image, "text": text}, {"text": 0})


def close_up_for_export(checkpoint: Checkpoint, precision: str, device: torch.device) -> Graph:
    """The branch for close-ups of a checkpoint that has one, copied to `device`, with a sample input."""
    side = checkpoint.segmenter.config.close_up.side
    branch = CastCloseUpGraph(checkpoint.segmenter, precision, own=True).eval().to(device)
    return Graph("close_up", branch, {"images": torch.zeros((1, side, side, 3), dtype=torch.uint8, device=device)}, {})


def export(graph: Graph) -> torch.export.ExportedProgram:
    """The graph of aten operators, its number of classes open."""
    classes = torch.export.Dim("classes", min=FEWEST_CLASSES, max=MOST_CLASSES)
    dynamic = {name: {graph.class_dims[name]: classes} if name in graph.class_dims else None for name in graph.inputs}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(graph.module, tuple(graph.inputs.values()), dynamic_shapes=dynamic, strict=False)


def write_graphs(
    checkpoint: Checkpoint,
    input_size: tuple[int, int],
    precision: str,
    directory: Path,
    calibration: Sequence[ByteArray] = (),
) -> None:
    """Write ``network.engine`` for the current GPU into `directory`; ``close_up.engine`` where there is that branch.

    Args:
        checkpoint: the network.
        input_size: (H, W).
        precision: ``fp32``, ``bf16`` or ``fp16``.
        directory: where to.
        calibration: not used.

    Raises:
        EngineError: a missing library, an operator that TensorRT has not, or a build that fails.
    """
    compiler, _ = import_compiler()
    device = torch.device("cuda", torch.cuda.current_device())
    graphs = [graph_for_export(checkpoint, input_size, precision, device)]
    if checkpoint.segmenter.close_up is not None:
        graphs.append(close_up_for_export(checkpoint, precision, device))
    for graph in graphs:
        try:
            plan = _compile(compiler, graph, device)
        except Exception as error:  # torch-tensorrt raises many kinds, some of them bare
            reason = one_line(error, 400)
            raise EngineError(f"TensorRT cannot compile the {graph.name} graph: {reason}") from error
        (directory / f"{graph.name}.engine").write_bytes(plan)


def _compile(compiler: Any, graph: Graph, device: torch.device) -> bytes:
    inputs = []
    for name, sample in graph.inputs.items():
        shapes = {"shape": tuple(sample.shape)}
        if name in graph.class_dims:
            usual = sample.shape[graph.class_dims[name]]
            shapes = {
                key: tuple(count if at == graph.class_dims[name] else size for at, size in enumerate(sample.shape))
                for key, count in (("min_shape", FEWEST_CLASSES), ("opt_shape", usual), ("max_shape", MOST_CLASSES))
            }
        inputs.append(compiler.Input(**shapes, dtype=sample.dtype))
    with tempfile.TemporaryDirectory() as folder:
        # Strong typing is the only mode: types are those of the cast model. The timing cache lies at a fixed place in
        # the temporary folder by default, where any user could have put one.
        plan = compiler.dynamo.convert_exported_program_to_serialized_trt_engine(
            export(graph),
            inputs=inputs,
            device=compiler.Device(gpu_id=device.index),
            require_full_compilation=True,
            attn_bias_is_causal=False,
            disable_tf32=True,
            truncate_double=False,
            cache_built_engines=False,
            reuse_cached_engines=False,
            timing_cache_path=str(Path(folder) / "timing.cache"),
        )
    return bytes(plan)
