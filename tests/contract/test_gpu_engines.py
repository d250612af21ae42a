"""What only a GPU shows: recording, its fallback, memory. The contract itself: test_engine_contract.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.device_graphs import DeviceGraphs
from clip_rl_perception.engine.load import load_engine, open_engine
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.engine.tensorrt_library import FLAVOURS
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.model.checkpoint import Checkpoint
from engine_cases import ANYTHING, CASES, SIZE, image, text_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture(params=["fp32", "bf16", "fp16"])
def engine(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Iterator[TorchEngine]:
    told: list[str] = []
    made = TorchEngine(checkpoint, SIZE, request.param, device="cuda", log=told.append)
    yield made
    made.close()
    assert not told, "recording failed"


def recorded(engine: TorchEngine, classes: int) -> bool:
    return engine._graphs[classes]._recorded is not None


def test_recorded_graphs_give_what_plain_ones_give(engine: TorchEngine, checkpoint: Checkpoint) -> None:
    plain = TorchEngine(checkpoint, SIZE, engine.info.precision, device="cuda", record=False)
    for seed in range(6):
        text = text_rows(5 if seed % 2 else 12)
        found, expected = (one.infer(image(seed), text) for one in (engine, plain))
        scale = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.3}[engine.info.precision]
        np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=scale)
    assert recorded(engine, 5) and recorded(engine, 12)
    assert not recorded(plain, 5)


def test_without_recording_frames_are_served_and_it_is_told(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: DeviceGraphs, stream: torch.cuda.Stream) -> None:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(DeviceGraphs, "record", refuse)
    told: list[str] = []
    engine = TorchEngine(checkpoint, SIZE, "bf16", device="cuda", log=told.append)
    assert engine.infer(image(), text_rows()).log_probs.shape == (5, 16, 24)
    assert engine.infer(image(), text_rows(7)).log_probs.shape == (7, 16, 24)
    assert len(told) == 1
    assert "no CUDA graphs (operation not permitted when stream is capturing); running without" in told[0]


def test_changing_classes_for_ever_takes_no_more_memory(engine: TorchEngine) -> None:
    def round_trip() -> int:
        for classes in (2, 3, 4, 5, 6, 7):
            engine.infer(image(), text_rows(classes))
        torch.cuda.synchronize()
        return torch.cuda.memory_reserved()

    round_trip()
    settled = round_trip()
    for _ in range(5):
        last = round_trip()
    assert last <= settled * 1.05 + (8 << 20)


def test_a_gpu_out_of_memory_is_one_line_and_the_next_frame_is_served(checkpoint: Checkpoint) -> None:
    engine = TorchEngine(checkpoint, (2048, 2560), "fp32", device="cuda")
    frame = np.zeros((2048, 2560, 3), np.uint8)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (300 << 20)) / total)
    try:
        with pytest.raises(EngineError, match=r"^out of memory at torch fp32 2048x2560: .*smaller network size$"):
            engine.infer(frame, text_rows(50))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert engine.infer(frame, text_rows(2)).log_probs.shape == (2, 512, 640)
    engine.close()


def test_single_precision_is_single_precision(checkpoint: Checkpoint) -> None:
    """No TF32: the golden gate of FP32 engines is a thousandth of a logit."""
    rgb, text = image(1), text_rows()
    cuda, cpu = load_engine("cuda", checkpoint, input_size=SIZE, precision="fp32"), TorchEngine(checkpoint, SIZE)
    np.testing.assert_allclose(cuda.infer(rgb, text).log_probs, cpu.infer(rgb, text).log_probs, atol=1e-3)


def test_the_checkpoint_stays_where_it_was(engine: TorchEngine, checkpoint: Checkpoint) -> None:
    engine.infer(image(), text_rows())
    assert {parameter.device.type for parameter in checkpoint.segmenter.parameters()} == {"cpu"}


def test_auto_takes_the_gpu(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_RL_ENGINES", str(tmp_path))
    told: list[str] = []
    assert load_engine("auto", checkpoint, input_size=SIZE, log=told.append).info.precision == "bf16"
    assert "running cuda" in told[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_plan_is_built_verified_and_bound_to_this_gpu(checkpoint: Checkpoint, tmp_path: Path, precision: str) -> None:
    case = CASES[f"tensorrt-{precision}"]
    if reason := case.missing():
        pytest.skip(reason)
    manifest = build_engine(
        checkpoint,
        "tensorrt",
        tmp_path / "engine",
        images=[image(9)],
        input_size=SIZE,
        precision=precision,
        bounds=ANYTHING,
        progress=lambda line: None,
    )
    assert manifest.device["gpu"] == torch.cuda.get_device_name()
    assert set(manifest.versions) <= set(FLAVOURS)
    assert sorted(path.name for path in (tmp_path / "engine").iterdir()) == [
        "golden.safetensors",
        "manifest.json",
        "network.engine",
    ]
    open_engine(tmp_path / "engine", checkpoint).close()
    (tmp_path / "engine" / "network.engine").write_bytes(b"")
    with pytest.raises(EngineError, match=r"file network\.engine is damaged"):
        open_engine(tmp_path / "engine", checkpoint)
