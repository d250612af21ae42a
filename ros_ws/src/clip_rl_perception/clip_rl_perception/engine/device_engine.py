"""Inference over graphs on a device: what the torch and the TensorRT engine have in common.

A frame: upload, network, download. Notation as in `protocol`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from clip_rl_perception.engine.device_graphs import DeviceCloseUp, DeviceGraphs, Log, Program
from clip_rl_perception.engine.protocol import CloseUpGraph, Engine, EngineInfo
from clip_rl_perception.errors import one_line


class DeviceEngine(Engine):
    """An engine over a `Program`, which subclasses make."""

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
        super().__init__(info)
        self._device = device
        self._record = record and device.type == "cuda"
        self._log = log
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def _program(self, classes: int) -> Program:
        """The program for a number of classes."""
        raise NotImplementedError

    def _make_graphs(self, classes: int) -> DeviceGraphs:
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
        return made

    def _close_up_network(self) -> Callable[[Tensor], Tensor]:
        """Of uint8 close-ups (1, S, S, 3) on the device their embeddings, float32 (1, D)."""
        raise NotImplementedError

    def _make_close_up(self, side: int) -> CloseUpGraph:
        return DeviceCloseUp(self._close_up_network(), side, self._device)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """This engine's device, stream and arithmetic: convolutions of single precision in single precision."""
        with torch.inference_mode():
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

    def _free(self) -> None:
        super()._free()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
