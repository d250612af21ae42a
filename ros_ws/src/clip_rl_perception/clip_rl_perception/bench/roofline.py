"""How near the network comes to what this machine can do: measured ceilings, counted work.

Roofline model: Williams, Waterman, Patterson 2009. A network of F operations that moves B bytes cannot take less than
max(F / peak, B / bandwidth).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clip_rl_perception.bench.bare_graphs import request_of, run_request
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.bench.interleaved import synchronise
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.runs.host import host

ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
"""Bytes of a weight or an activation."""
CPU_MATRIX = 1024
"""Edge of the matrices whose product is a processor's ceiling."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a network has to do for one frame."""

    flops: int
    """Multiplications and additions of convolutions and matrix products, two for each pair."""
    elements: int
    """Weights, inputs and outputs of each of those layers: what must pass through memory if nothing is fused."""
    parameters: int
    """Weights."""


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What was measured of the machine."""

    gflops: dict[str, float]
    """Best rate of a large matrix product by precision, 1e9 operations/s."""
    bandwidth_gb_s: float
    """STREAM triad on arrays far larger than the caches, 1e9 bytes/s."""


def bound_ms(work: Work, ceilings: Ceilings, precision: str) -> dict[str, float]:
    """Least time for `work`: by arithmetic, by memory, and the larger of the two, ms."""
    arithmetic = work.flops / (ceilings.gflops[precision] * 1e9) * 1e3
    memory = work.elements * ELEMENT_BYTES[precision] / (ceilings.bandwidth_gb_s * 1e9) * 1e3
    return {"arithmetic": arithmetic, "memory": memory, "bound": max(arithmetic, memory)}


@torch.inference_mode()
def network_work(checkpoint: Checkpoint, size: tuple[int, int]) -> Work:
    """Work of encoder and decoder at an input size (H, W), batch 1."""
    segmenter, text = checkpoint.segmenter.eval(), checkpoint.text.float()
    images = torch.zeros(1, 3, *size)
    return count_work(segmenter, lambda: segmenter.decode(images, text))


def count_work(module: nn.Module, call: Callable[[], object]) -> Work:
    """Work of one `call` that runs parts of `module`."""
    elements = parameters = 0

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal elements, parameters
        # Attention uses its output layer's weights without calling that layer.
        whole = isinstance(layer, nn.MultiheadAttention)
        weights = sum(value.numel() for value in layer.parameters(recurse=whole))
        parameters += weights
        tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        elements += weights + sum(value.numel() for value in tensors)

    kinds = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, kinds)]
    counter, fused = FlopCounterMode(display=False), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # what is fused into one operation counts as none
    try:
        with counter, sdpa_kernel(SDPBackend.MATH):
            call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for hook in hooks:
            hook.remove()
    return Work(int(counter.get_total_flops()), elements, parameters)


def measure_ceilings(device: str = "cpu", *, size: int = CPU_MATRIX, seconds: float = 1.0) -> Ceilings:
    """Measure this machine with torch, and on a CPU with OpenVINO as well: the better rate counts.

    Args:
        device: ``cpu`` or ``cuda``.
        size: edge of the square matrices.
        seconds: time for each measurement.
    """
    gflops = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = [_torch_matmul(device, dtype, size, seconds)]
        if device == "cpu":
            rates.append(_openvino_matmul(precision, size, seconds))
        gflops[precision] = round(max(rates), 1)
    gflops["fp16"] = gflops["bf16"]
    return Ceilings(gflops, round(_triad(device, seconds), 2))


def ceilings_of(run: BenchRun, size: int = CPU_MATRIX) -> Ceilings:
    """Of the device that a run measures, with matrices of an edge; carelessly in a quick run.

    Raises:
        EngineError: no such device.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("torch sees no NVIDIA GPU")
    if run.options.quick:
        return measure_ceilings(run.device, size=256, seconds=0.05)
    return measure_ceilings(run.device, size=size)


def measure_roofline(run: BenchRun) -> dict[str, Any]:
    """`roofline`: ceilings of the machine, work of the network and the time that it needs at the least."""
    ceilings, work = ceilings_of(run), network_work(run.checkpoint, run.size)
    bounds = {name: bound_ms(work, ceilings, name) for name in ("fp32", "bf16")}
    return {
        "roofline": {
            "gflops": ceilings.gflops,
            "bandwidth_gb_s": ceilings.bandwidth_gb_s,
            "network_gflop": round(work.flops / 1e9, 4),
            "network_mb": {name: round(work.elements * ELEMENT_BYTES[name] / 1e6, 2) for name in bounds},
            "parameters": work.parameters,
            "bound_ms": {
                name: {key: round(value, 3) for key, value in bound.items()} for name, bound in bounds.items()
            },
            "host": host(),
        }
    }


def best_seconds(call: Callable[[], object], seconds: float) -> float:
    """Shortest of the calls made within `seconds`, at least five, after one that does not count."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _torch_matmul(device: str, dtype: torch.dtype, size: int, seconds: float) -> float:
    left, right, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    return 2 * size**3 / _torch_seconds(device, lambda: torch.mm(left, right, out=out), seconds) / 1e9


def _openvino_matmul(precision: str, size: int, seconds: float) -> float:
    """The same through OpenVINO's runtime; 0 where it is not installed."""
    try:
        import openvino
        from openvino import opset13 as ops
    except ImportError:
        return 0.0
    left = ops.parameter([size, size], np.float32)
    weights = ops.constant(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    request = request_of(openvino.Model([ops.matmul(left, weights, False, False)], [left]), precision)
    return float(2 * size**3 / best_seconds(lambda: run_request(request), seconds) / 1e9)


def _triad(device: str, seconds: float) -> float:
    """Rate of a = b + s c on 3 x 256 MB; bytes as STREAM counts them: two reads, one write."""
    count = 1 << 26
    a, b, c = (torch.ones(count, device=device) for _ in range(3))
    return 3 * 4 * count / _torch_seconds(device, lambda: torch.add(b, c, alpha=3.0, out=a), seconds) / 1e9


@torch.inference_mode()
def _torch_seconds(device: str, call: Callable[[], object], seconds: float) -> float:
    def whole() -> None:
        call()
        synchronise(device)

    return best_seconds(whole, seconds)
