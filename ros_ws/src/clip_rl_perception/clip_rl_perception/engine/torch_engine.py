"""The torch engine: the reference in single precision on the CPU, and CUDA with recorded graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clip_rl_perception.engine.device_engine import DeviceEngine
from clip_rl_perception.engine.device_graphs import Log, Program
from clip_rl_perception.engine.graphs import DTYPES, CastCloseUpGraph, CastNetworkGraph
from clip_rl_perception.engine.protocol import EngineError, EngineInfo
from clip_rl_perception.errors import one_line
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.segmenter import STRIDE
from clip_rl_perception.model.segmenter_config import ConfigError, check_input_size

PRECISIONS = tuple(DTYPES)
"""What encoder and pyramid may compute in; classifier and all results are single precision."""


def engine_info(checkpoint: Checkpoint, backend: str, precision: str, input_size: tuple[int, int] | None) -> EngineInfo:
    """What an engine of a checkpoint is; `input_size` None takes the checkpoint's. Raises `EngineError` for no size."""
    segmenter = checkpoint.segmenter
    size = segmenter.config.input_size if input_size is None else input_size
    try:
        check_input_size(size)
    except ConfigError as error:
        raise EngineError(str(error)) from error
    return EngineInfo(
        backend=backend,
        precision=precision,
        input_size=(int(size[0]), int(size[1])),
        stride=STRIDE,
        embedding_dim=segmenter.embedding_dim,
        model_id=checkpoint.model_id,
        close_up_side=segmenter.config.close_up.side if segmenter.close_up is not None else None,
    )


class TorchEngine(DeviceEngine):
    """A checkpoint run by torch at one input size."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        input_size: tuple[int, int] | None = None,
        precision: str = "fp32",
        threads: int | None = None,
        device: str | torch.device = "cpu",
        record: bool = True,
        log: Log = lambda line: None,
    ) -> None:
        """Prepare a checkpoint for inference.

        Args:
            checkpoint: a loaded checkpoint; its network is used, on a GPU a copy of it.
            input_size: (H, W), multiples of 32; None takes the checkpoint's.
            precision: ``fp32``, ``bf16`` or ``fp16``.
            threads: intra-operator threads of torch, a setting of the whole process; None leaves it.
            device: a torch device.
            record: on a GPU, record CUDA graphs, and run without where that fails.
            log: told when it fails.

        Raises:
            EngineError: an input size, precision, thread count or device that cannot be.
        """
        if precision not in PRECISIONS:
            raise EngineError(f"the torch engine has no precision '{precision}'; it has {', '.join(PRECISIONS)}")
        info = engine_info(checkpoint, "torch", precision, input_size)
        checkpoint.segmenter.eval()
        if threads is not None:
            if threads < 1:
                raise EngineError(f"{threads} threads: at least 1 is needed")
            torch.set_num_threads(threads)
        try:
            place = torch.device(device)
            self._graph_modules: Program | None = _program(checkpoint, precision, info.input_size, place)
            self._branch = _branch(checkpoint, precision, place) if info.close_up_side is not None else None
            super().__init__(info, place, record=record, log=log)
        except (RuntimeError, AssertionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise EngineError(f"out of memory while loading {info.describe()} on '{device}'") from error
            raise EngineError(f"device '{device}' is not usable: {one_line(error, 300)}") from error

    def close(self) -> None:
        """Let go of the network."""
        self._graph_modules = self._branch = None
        super().close()

    def _program(self, classes: int) -> Program:
        assert self._graph_modules is not None
        return self._graph_modules

    def _close_up_network(self) -> Callable[[Tensor], Tensor]:
        assert self._branch is not None
        return self._branch


def _program(checkpoint: Checkpoint, precision: str, size: tuple[int, int], device: torch.device) -> Program:
    """The graph of a checkpoint on a device, in the memory layout that its convolutions like."""
    away = device.type != "cpu"
    network = CastNetworkGraph(checkpoint.segmenter, precision, size, own=away).eval()
    if away:
        network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Program(network)


def _branch(checkpoint: Checkpoint, precision: str, device: torch.device) -> CastCloseUpGraph:
    away = device.type != "cpu"
    branch = CastCloseUpGraph(checkpoint.segmenter, precision, own=away).eval()
    if away:
        branch.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return branch
