"""The TensorRT engine: a serialized plan run by TensorRT's own runtime, on buffers that are torch tensors.

Loading needs the runtime alone, not torch-tensorrt, and runs no code from the engine directory. The standard flavour is
recorded as CUDA graphs like torch; the RTX flavour, which compiles kernels when shapes are known, records them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from clip_rl_perception.engine.device_engine import DeviceEngine
from clip_rl_perception.engine.device_graphs import Log, Program
from clip_rl_perception.engine.graphs import NetworkOutput
from clip_rl_perception.engine.manifest import Manifest
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.engine.tensorrt_library import FLAVOURS, import_flavour
from clip_rl_perception.errors import one_line

NETWORK_FILE, CLOSE_UP_FILE = "network.engine", "close_up.engine"
INPUTS = ("images", "text")
"""Names of the plan's inputs in the order of the graph's arguments."""
OUTPUTS = tuple(f"output{index}" for index in range(len(NetworkOutput._fields)))
"""Names of its outputs, in order; a network without an instance head lacks the last."""


class TensorRtEngine(DeviceEngine):
    """An engine directory run by TensorRT."""

    def __init__(
        self, directory: Path, manifest: Manifest, threads: int | None = None, log: Log = lambda line: None
    ) -> None:
        """Deserialize the plan of `directory`; `threads` means nothing to a GPU.

        Raises:
            EngineError: the flavour's runtime is missing, or refuses the plan.
        """
        flavour = next((name for name in FLAVOURS if name in manifest.versions), None)
        if flavour is None:
            raise EngineError(
                f"the manifest names no TensorRT flavour, only {', '.join(manifest.versions) or 'nothing'}"
            )
        self._flavour = flavour
        self._library = import_flavour(flavour)
        device = torch.device("cuda", torch.cuda.current_device())
        super().__init__(manifest, device, log=log)
        self._runtime = self._library.Runtime(self._library.Logger(self._library.Logger.WARNING))
        wanted = {*INPUTS, *OUTPUTS}
        self._plan: Any = self._read(directory / NETWORK_FILE, wanted, wanted - {OUTPUTS[-1]})
        self._branch: Any = None
        if manifest.close_up_side is not None:
            self._branch = self._read(directory / CLOSE_UP_FILE, {INPUTS[0], OUTPUTS[0]})

    def close(self) -> None:
        """Free plan and buffers."""
        super().close()
        self._plan = self._branch = None

    def _read(self, path: Path, *possible: set[str]) -> Any:
        try:
            plan = self._runtime.deserialize_cuda_engine(path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise EngineError(f"{path} cannot be read: {one_line(error)}") from error
        if plan is None:
            raise EngineError(f"{self._flavour} {self._library.__version__} refuses {path}")
        found = {plan.get_tensor_name(index) for index in range(plan.num_io_tensors)}
        if found not in possible:
            raise EngineError(f"{path} has inputs and outputs {sorted(found)}; expected {sorted(possible[0])}")
        return plan

    def _program(self, classes: int) -> Program:
        return Program(plan_network(self._library, self._plan), recordable=self._flavour == "tensorrt")

    def _close_up_network(self) -> Callable[[Tensor], Tensor]:
        run = PlanRun(self._library, self._branch, INPUTS[:1], OUTPUTS[:1])
        return lambda images: run([images])[0]


def plan_network(library: ModuleType, plan: Any) -> Callable[[Tensor, Tensor], NetworkOutput]:
    """A plan with a context of its own as `Program.network`.

    Plans take two classes or more. One class alone is run as two equal ones, and is certain.
    """
    run = PlanRun(library, plan, INPUTS, OUTPUTS[: plan.num_io_tensors - len(INPUTS)])

    def network(images: Tensor, text: Tensor) -> NetworkOutput:
        if text.shape[0] > 1:
            return NetworkOutput(*run([images, text]))
        output = NetworkOutput(*run([images, text.expand(2, -1).contiguous()]))
        # Less themselves: 0 where they are finite.
        return output._replace(log_probs=output.log_probs[:, :1] - output.log_probs[:, :1])

    return network


class PlanRun:
    """A plan's execution context and its output buffers, which every run overwrites."""

    def __init__(self, library: ModuleType, plan: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._library = library
        self._plan = plan
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._context = plan.create_execution_context(*_runtime_config(library, plan))
        if self._context is None:
            raise EngineError("TensorRT cannot create an execution context: out of GPU memory?")
        self._shapes: list[torch.Size] = []
        self._results: list[Tensor] = []

    def __call__(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """Run on the current stream; arguments are contiguous and on the device."""
        if [argument.shape for argument in arguments] != self._shapes:
            self._bind(arguments)
        for name, argument in zip(self._inputs, arguments, strict=True):
            self._context.set_tensor_address(name, argument.data_ptr())
        stream = torch.cuda.current_stream().cuda_stream if arguments[0].is_cuda else 0
        if not self._context.execute_async_v3(stream):
            raise EngineError("TensorRT could not launch the network; its log says why")
        return self._results

    def _bind(self, arguments: Sequence[Tensor]) -> None:
        """Tell the context the shapes and give it buffers for the results."""
        for name, argument in zip(self._inputs, arguments, strict=True):
            if not self._context.set_input_shape(name, tuple(argument.shape)):
                raise EngineError(f"the plan does not take {name} of {tuple(argument.shape)}")
        self._results = []
        for name in self._outputs:
            dtype = torch_dtype(self._library, self._plan.get_tensor_dtype(name))
            shape = tuple(self._context.get_tensor_shape(name))
            self._results.append(torch.empty(shape, dtype=dtype, device=arguments[0].device))
            self._context.set_tensor_address(name, self._results[-1].data_ptr())
        self._shapes = [argument.shape for argument in arguments]


def torch_dtype(library: ModuleType, dtype: Any) -> torch.dtype:
    """TensorRT's type as torch's. Raises `EngineError` for one that no graph of ours has."""
    known = {
        library.DataType.FLOAT: torch.float32,
        library.DataType.HALF: torch.float16,
        library.DataType.BF16: torch.bfloat16,
        library.DataType.INT32: torch.int32,
        library.DataType.INT64: torch.int64,
        library.DataType.UINT8: torch.uint8,
    }
    if dtype not in known:
        raise EngineError(f"the plan has a tensor of type {dtype}; expected one of {sorted(map(str, known))}")
    return known[dtype]


def _runtime_config(library: ModuleType, plan: Any) -> list[Any]:
    """For the RTX flavour: kernels for the shapes at hand at once, not later in mid-stream, and graphs of its own."""
    if not hasattr(library, "CudaGraphStrategy"):
        return []
    config = plan.create_runtime_config()
    config.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    config.dynamic_shapes_kernel_specialization_strategy = library.DynamicShapesKernelSpecializationStrategy.EAGER
    return [config]
