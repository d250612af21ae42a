"""The precision that a run gets on this machine."""

from __future__ import annotations

import pytest
import torch
from clip_rl_perception.engine import manifest
from clip_rl_training.loop import fabric
from clip_rl_training.loop.training_config import TrainConfig, config_from_data

MODEL = {"encoder": {"name": "clip-rl-tiny"}}


def config(**options: str) -> TrainConfig:
    return config_from_data({"name": "run", "model": MODEL, "steps": 1, **options}, "test")


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [("avx2", "32-true"), ("avx2 avx512f", "32-true"), ("avx512_bf16", "bf16-mixed"), ("avx2 amx_bf16", "bf16-mixed")],
)
def test_auto_is_half_where_the_cpu_computes_in_it(
    instructions: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "describe_cpu", lambda: {"cpu": "x86_64", "instructions": instructions})
    assert fabric.precision_here(config(accelerator="cpu", precision="auto")) == expected
    assert fabric.precision_here(config(accelerator="cpu", precision="16-mixed")) == "16-mixed"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "16-mixed"), ((8, 6), "bf16-mixed")])
def test_auto_on_a_gpu_is_what_it_is_quick_in(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert fabric.precision_here(config(accelerator="auto", precision="auto")) == expected


def test_the_fabric_of_a_run_computes_in_it() -> None:
    half = config(accelerator="cpu", precision="bf16-mixed")
    opened = fabric.open_fabric(half)
    with opened.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == torch.bfloat16
