"""TensorRT as far as a CPU goes: export, the parser and builder of TensorRT-RTX, and how plans are bound and run."""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception import options
from clip_rl_perception.commands import build_engine
from clip_rl_perception.engine import tensorrt_library
from clip_rl_perception.engine.backends import backend_named
from clip_rl_perception.engine.device_engine import DeviceEngine
from clip_rl_perception.engine.device_graphs import Program
from clip_rl_perception.engine.protocol import EngineError, EngineInfo
from clip_rl_perception.engine.tensorrt_build import PRECISIONS, Graph, export, graph_for_export
from clip_rl_perception.engine.tensorrt_check import check
from clip_rl_perception.engine.tensorrt_engine import INPUTS, OUTPUTS, PlanRun, plan_network, torch_dtype
from clip_rl_perception.engine.tensorrt_library import compiler_versions, import_compiler, import_flavour
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.model.checkpoint import Calibration, Checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import PRESETS, InstanceHeadConfig
from torch import nn

SIZE = (64, 96)
CPU = torch.device("cpu")
ENCODERS = ["tiny", "rn50", "mobileclip2_s0", "vit_b16"]


@pytest.fixture(scope="module", params=ENCODERS)
def any_checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return make_checkpoint(request.param)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make_checkpoint("tiny")


def make_checkpoint(preset: str) -> Checkpoint:
    torch.manual_seed(0)
    config = PRESETS[preset]()
    if preset == "tiny":  # the others have none: both are tried
        config = dataclasses.replace(config, instance_head=InstanceHeadConfig(16, (1, 1)))
    segmenter = ClipRlSegmenter(config).eval()
    labels = label_space_from_names(["background", "shaft", "wrist", "clasper"], [], [])
    text = torch.nn.functional.normalize(torch.randn(4, segmenter.embedding_dim), dim=1)
    uncalibrated = Calibration.uncalibrated(segmenter.embedding_dim)
    weights = Path("none.safetensors")
    return Checkpoint(lambda: segmenter, labels, text.numpy(), uncalibrated, {}, "0" * 12, weights, segmenter.config)


@torch.no_grad()
def test_every_encoder_exports_with_the_number_of_classes_open(any_checkpoint: Checkpoint) -> None:
    graph = graph_for_export(any_checkpoint, SIZE, "fp32", CPU)
    assert tuple(graph.inputs) == INPUTS
    program = export(graph)
    placeholders = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    assert placeholders[-len(graph.inputs) :] == list(graph.inputs), "plans name their inputs so"
    wider = [
        torch.cat([value] * 3, dim=graph.class_dims[name]) if name in graph.class_dims else value
        for name, value in graph.inputs.items()
    ]
    for result, expected in zip(program.module()(*wider), graph.module(*wider), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("onnx") is None,
    reason="tensorrt_rtx or onnx is not installed (extra tensorrt)",
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_rtx_parses_and_builds_the_graph(checkpoint: Checkpoint, precision: str) -> None:
    told: list[str] = []
    network = check(checkpoint, SIZE, precision, told.append)
    assert network.graph == "network" and "aten.conv2d.default" in network.operators
    assert network.engine_bytes > 10_000 and network.layers > 50 and network.classes == 4
    assert f"network {precision} 64x96, 4 classes: " in network.describe()
    assert told[0] == f"export the network graph, {precision}"


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("onnx") is None,
    reason="tensorrt_rtx or onnx is not installed (extra tensorrt)",
)
def test_an_operator_that_tensorrt_has_not_is_named(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    class Strange(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(values).real

    graph = Graph("network", Strange(), {"values": torch.zeros(1, 8)}, {"values": 0})
    monkeypatch.setattr("clip_rl_perception.engine.tensorrt_check.graph_for_export", lambda *_: graph)
    monkeypatch.setattr(
        "clip_rl_perception.engine.tensorrt_check.export",
        lambda _: types.SimpleNamespace(graph=types.SimpleNamespace(nodes=[])),
    )
    with pytest.raises(EngineError, match=r"network graph .*(fft|DFT)"):
        check(checkpoint, SIZE, "fp32", lambda line: None)


def test_check_is_a_command_for_tensorrt_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="--check is for --backend tensorrt"):
        build_engine.run(options.parse(build_engine, ["--check", "--backend", "openvino"]))
    with pytest.raises(EngineError, match="--size '12': expected HEIGHTxWIDTH in pixels, for example 288x352"):
        build_engine.run(options.parse(build_engine, ["--backend", "tensorrt", "--size", "12"]))
    if importlib.util.find_spec("tensorrt_rtx") is None:
        with pytest.raises(EngineError, match="tensorrt_rtx cannot be imported"):
            build_engine.run(options.parse(build_engine, ["--check", "--backend", "tensorrt", "--size", "64x96"]))
    elif importlib.util.find_spec("onnx") is not None:
        assert (
            build_engine.run(options.parse(build_engine, ["--check", "--backend", "tensorrt", "--size", "64x96"])) == 0
        )
        [network] = capsys.readouterr().out.splitlines()
        assert network.startswith("network bf16 64x96, ")


def test_missing_libraries_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name.startswith(("tensorrt", "torch_tensorrt")):
                raise Exception("libnvinfer.so.11 is\nnot here")  # what torch_tensorrt does

    for name in [name for name in sys.modules if name.startswith(("tensorrt", "torch_tensorrt"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for call in (import_compiler, tensorrt_library.versions, lambda: import_flavour("tensorrt_rtx")):
        with pytest.raises(
            EngineError,
            match=r"cannot be imported \(libnvinfer.so.11 is not here\); on a PyTorch for CUDA: pip install",
        ):
            call()


def test_building_needs_a_gpu_and_says_what_can_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for call in (compiler_versions, tensorrt_library.device):
        with pytest.raises(EngineError, match=r"needs an NVIDIA GPU, and torch .* sees none; .* --check"):
            call()
    assert backend_named("tensorrt").default_precision() == "bf16"


# ---------------------------------------------------------------- running plans: TensorRT's interface over torch


class DataType(enum.Enum):
    FLOAT, HALF, BF16, INT32, INT64, UINT8 = range(6)


STAND_IN = types.SimpleNamespace(DataType=DataType)
TYPES = {torch.float32: DataType.FLOAT, torch.uint8: DataType.UINT8}


@dataclasses.dataclass
class StandInPlan:
    """An ICudaEngine that computes with a torch module on the addresses that its context is given, on the CPU."""

    graph: Graph
    contexts: int = 0

    @property
    def num_io_tensors(self) -> int:
        blank = [torch.zeros_like(sample) for sample in self.graph.inputs.values()]
        return len(blank) + len(self.graph.module(*blank))

    def create_execution_context(self) -> StandInContext:
        self.contexts += 1
        return StandInContext(self.graph)

    def get_tensor_dtype(self, name: str) -> DataType:
        return TYPES[torch.float32]


class StandInContext:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        dim = self.graph.class_dims.get(name)
        if dim is not None and shape[dim] < 2:  # the profile's least
            return False
        self.shapes[name] = shape
        return True

    def _arguments(self) -> list[torch.Tensor]:
        found = []
        for name, sample in self.graph.inputs.items():
            array = as_array(self.addresses[name], self.shapes[name], sample.numpy().dtype)
            found.append(torch.from_numpy(array))
        return found

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        blank = [torch.zeros(self.shapes[name], dtype=sample.dtype) for name, sample in self.graph.inputs.items()]
        return tuple(self.graph.module(*blank)[int(name.removeprefix("output"))].shape)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        for index, result in enumerate(self.graph.module(*self._arguments())):
            array = as_array(self.addresses[f"output{index}"], tuple(result.shape), np.dtype(np.float32))
            array[...] = result.numpy()
        return True


def as_array(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


class StandInEngine(DeviceEngine):
    """`TensorRtEngine` but for the runtime."""

    def __init__(self, info: EngineInfo, plan: StandInPlan) -> None:
        super().__init__(info, CPU)
        self.plan = plan

    def _program(self, classes: int) -> Program:
        return Program(plan_network(STAND_IN, self.plan))  # type: ignore[arg-type]


@pytest.fixture
def plan(checkpoint: Checkpoint) -> StandInPlan:
    return StandInPlan(graph_for_export(checkpoint, SIZE, "fp32", CPU))


def test_a_plan_gives_what_torch_gives_for_any_number_of_classes(checkpoint: Checkpoint, plan: StandInPlan) -> None:
    reference = TorchEngine(checkpoint, input_size=SIZE)
    engine = StandInEngine(reference.info, plan)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    for classes in (4, 2, 1, 50, 4):
        text = rng.normal(size=(classes, 128)).astype(np.float32)
        text /= np.linalg.norm(text, axis=1, keepdims=True)
        found, expected = (one.infer(frame, text) for one in (engine, reference))
        assert found.log_probs.shape == (classes, 16, 24)
        np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
        np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5)
        assert (found.instances is None) == (expected.instances is None)
        if found.instances is not None and expected.instances is not None:
            np.testing.assert_allclose(found.instances, expected.instances, atol=1e-3)
    assert plan.contexts == 5, "a context per number of classes, three kept"


def test_a_plan_that_refuses_a_shape_or_a_launch(plan: StandInPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    run = PlanRun(STAND_IN, plan, INPUTS, OUTPUTS[: plan.num_io_tensors - 2])  # type: ignore[arg-type]
    image, text = plan.graph.inputs.values()
    with pytest.raises(EngineError, match=r"the plan does not take text of \(1, 128\)"):
        run([image, text[:1]])
    monkeypatch.setattr(StandInContext, "execute_async_v3", lambda self, stream: False)
    with pytest.raises(EngineError, match="could not launch"):
        run([image, text])
    monkeypatch.setattr(StandInPlan, "create_execution_context", lambda self: None)
    with pytest.raises(EngineError, match="cannot create an execution context"):
        PlanRun(STAND_IN, plan, [], [])  # type: ignore[arg-type]


def test_types_of_plans() -> None:
    assert torch_dtype(STAND_IN, DataType.BF16) is torch.bfloat16  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="tensor of type FP4"):
        torch_dtype(STAND_IN, "FP4")  # type: ignore[arg-type]
    assert OUTPUTS == ("output0", "output1", "output2")
