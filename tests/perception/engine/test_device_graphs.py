"""Graphs on static device tensors: casting, what may be recorded, and the plumbing, as far as a CPU goes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from clip_rl_perception.engine.device_engine import DeviceEngine
from clip_rl_perception.engine.device_graphs import DeviceGraphs, Download, Program, Upload
from clip_rl_perception.engine.graphs import CastNetworkGraph
from clip_rl_perception.engine.protocol import EngineError, EngineInfo
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import InstanceHeadConfig, SegmenterConfig
from plain_network import NetworkGraph
from torch import Tensor
from torch.nn import functional

SIZE = (64, 96)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter() -> ClipRlSegmenter:
    torch.manual_seed(0)
    config = dataclasses.replace(SegmenterConfig.tiny(), instance_head=InstanceHeadConfig(16, (1, 1)))
    return ClipRlSegmenter(config).eval()


def info() -> EngineInfo:
    return EngineInfo("torch", "fp32", SIZE, 4, 128, "0" * 12)


def inputs(classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8, generator=generator)
    return image, functional.normalize(torch.randn(classes, 128, generator=generator), dim=1)


@torch.no_grad()
def test_single_precision_is_the_segmenters_own(segmenter: ClipRlSegmenter) -> None:
    image, text = inputs()
    expected, found = NetworkGraph(segmenter)(image, text), CastNetworkGraph(segmenter, "fp32", SIZE)(image, text)
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=1e-6, msg=name)


@torch.no_grad()
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.3), ("fp16", 0.05)])
def test_casting_leaves_the_segmenter_and_the_outputs_single(
    segmenter: ClipRlSegmenter, precision: str, tolerance: float
) -> None:
    image, text = inputs()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    expected, cast = NetworkGraph(segmenter)(image, text), CastNetworkGraph(segmenter, precision, SIZE)
    found = cast(image, text)
    assert {parameter.dtype for parameter in cast.encoder.parameters()} == {cast.dtype}
    assert all(value.dtype is torch.float32 for value in found)
    assert (found.log_probs - expected.log_probs).abs().max() < tolerance
    assert not torch.equal(found.log_probs, expected.log_probs), "nothing was cast"
    assert found.embedding.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())


def test_a_graph_of_its_own_shares_no_weight(segmenter: ClipRlSegmenter) -> None:
    shared = {parameter.data_ptr() for parameter in segmenter.parameters()}
    own = CastNetworkGraph(segmenter, "fp32", SIZE, own=True)
    assert not shared & {parameter.data_ptr() for parameter in own.parameters()}
    assert shared & {parameter.data_ptr() for parameter in CastNetworkGraph(segmenter, "fp32", SIZE).parameters()}


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_no_graph_copies_from_the_host(segmenter: ClipRlSegmenter, precision: str) -> None:
    """A tensor made of Python numbers would be copied to the GPU while a CUDA graph is recorded, which fails."""
    image, text = inputs()
    network = CastNetworkGraph(segmenter, precision, SIZE, own=True).eval()
    assert not made_of_numbers(torch.export.export(network, (image, text)))
    assert made_of_numbers(torch.export.export(MadeOfNumbers(), (image,))), "the check does not see what it is for"


class MadeOfNumbers(torch.nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() * torch.tensor([0.299, 0.587, 0.114])


def made_of_numbers(program: torch.export.ExportedProgram) -> set[str]:
    """Constants that are no buffers: torch.tensor([...]) and its kin inside forward."""
    return {name for name in program.constants if "lifted" in name or "constant" in name}


@torch.inference_mode()
def test_the_graph_runs_on_static_tensors(segmenter: ClipRlSegmenter) -> None:
    image, text = inputs()
    program = Program(CastNetworkGraph(segmenter, "fp32", SIZE))
    graphs = DeviceGraphs(program, info(), classes=5, device=CPU)
    addresses = graphs.image.data_ptr(), graphs.text.data_ptr()
    for shown in (image, image.flip(1)):
        log_probs, embedding, instances = graphs.run(shown.numpy()[0], text.numpy())
        expected = program.network(shown, text)
        np.testing.assert_array_equal(log_probs, expected.log_probs[0].numpy())
        np.testing.assert_array_equal(embedding, expected.embedding[0].numpy())
        assert instances is not None and expected.instances is not None
        np.testing.assert_array_equal(instances, expected.instances[0].numpy())
    assert (graphs.image.data_ptr(), graphs.text.data_ptr()) == addresses


def test_arrays_travel_in_and_out() -> None:
    target = torch.zeros(1, 4, 6)
    send, values = Upload(target), np.arange(24, dtype=np.float32).reshape(4, 6)
    frozen = values.copy()
    frozen.setflags(write=False)
    for array in (values, frozen, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2], values[None]):
        target.zero_()
        send(array)
        np.testing.assert_array_equal(target[0].numpy(), values)
    finish = Download(CPU).begin("values", target)
    target.zero_()
    np.testing.assert_array_equal(finish()[0], values)


class FailingProgram:
    """A program that fails as a device does."""

    recordable = True

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def network(self, images: Tensor, text: Tensor) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), "out of memory at torch fp32 64x96: CUDA"),
        (MemoryError(), "out of memory at torch fp32 64x96: MemoryError. Free memory, or use a smaller"),
        (RuntimeError("CUDA error:\nan illegal"), "torch fp32 64x96 failed: CUDA error: an illegal"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "torch fp32 64x96 failed: CUDA error"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory at torch fp32 64x96"),
        (EngineError("the plan does not take it"), "the plan does not take it"),
    ],
)
def test_failures_of_a_device_are_one_line(error: BaseException, message: str) -> None:
    class Failing(DeviceEngine):
        def _program(self, classes: int) -> Program:
            return FailingProgram(error)  # type: ignore[return-value]

    engine = Failing(info(), CPU)
    with pytest.raises(EngineError) as caught:
        engine.infer(np.zeros((*SIZE, 3), np.uint8), np.eye(5, 128, dtype=np.float32))
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_only_the_latest_class_counts_stay(segmenter: ClipRlSegmenter) -> None:
    programs: list[int] = []

    class Counting(DeviceEngine):
        def _program(self, classes: int) -> Program:
            programs.append(classes)
            return Program(CastNetworkGraph(segmenter, "fp32", SIZE))

    engine = Counting(info(), CPU)
    frame = np.zeros((*SIZE, 3), np.uint8)
    for classes in (2, 3, 4, 3, 2, 5, 2):
        engine.infer(frame, np.eye(classes, 128, dtype=np.float32))
    assert programs == [2, 3, 4, 5, 2]
