"""Frames a second of the network on a GPU: torch with recorded graphs, torch without, TensorRT; one frame at a time.

    python benchmarks/gpu_frames.py [--preset vit_b16] [--size 512x640] [--precision bf16] [--frames 500] [--json FILE]

Random weights, the classes of EndoVis 2018, one synthetic frame. A frame is upload, network, four refinement steps at
most, and download, as `Engine.infer` does it; engines take turns. The share of the measured ceiling is that of encoder
and decoder alone. `--device cpu` tries the script where no GPU is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clip_rl_perception.bench.encoder_timing import random_checkpoint
from clip_rl_perception.bench.roofline import measure_ceilings, network_work
from clip_rl_perception.commands.build_engine import parse_size
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.manifest import Bounds
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.metrics.latency import percentiles
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.sources.golden_frames import golden_images

WARM_UP = 20
MATRIX = {"cuda": 8192, "cpu": 1024}
"""Edge of the matrices whose product is the ceiling."""


def main() -> int:
    """Print a line per engine; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_b16")
    parser.add_argument("--size", default="512x640")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_frames: torch sees no NVIDIA GPU; --device cpu tries the script without one")
    size = parse_size(arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = random_checkpoint(arguments.preset, Path(folder))
        ceilings = measure_ceilings(arguments.device, size=MATRIX[arguments.device])
        work = network_work(checkpoint, size)
        engines = make_engines(checkpoint, size, arguments.precision, arguments.device, Path(folder))
        frame, text = golden_images(size)[0], np.ascontiguousarray(checkpoint.text.numpy(), np.float32)
        times = measure(engines, frame, text, arguments.frames)
    rows: list[dict[str, Any]] = []
    for name, (total, network, steps) in times.items():
        ms = float(np.median(network))
        rows.append(
            {
                "engine": name,
                "fps": 1e3 / float(np.median(total)),
                **{f"{name}_ms": value for name, value in percentiles(total).items()},
                "network_ms": ms,
                "steps": float(np.mean(steps)),
                "share_of_ceiling": work.flops / (ms * 1e-3) / (ceilings.gflops[arguments.precision] * 1e9),
            }
        )
        print(
            f"{name:22s} {rows[-1]['fps']:7.1f} fps  p50 {rows[-1]['p50_ms']:.2f}  p99 {rows[-1]['p99_ms']:.2f}  "
            f"max {rows[-1]['max_ms']:.2f} ms  network {ms:.2f} ms  {rows[-1]['steps']:.1f} steps  "
            f"{rows[-1]['share_of_ceiling']:.1%} of {ceilings.gflops[arguments.precision] / 1e3:.1f} TFLOP/s"
        )
    if arguments.json is not None:
        gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else "none"
        result = {
            "gpu": gpu, "torch": torch.__version__, "preset": arguments.preset, "size": size,
            "precision": arguments.precision, "flops": work.flops, "ceilings": ceilings.gflops, "engines": rows,
        }  # fmt: skip
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def make_engines(
    checkpoint: Checkpoint, size: tuple[int, int], precision: str, device: str, folder: Path
) -> dict[str, Engine]:
    """Those that run here; what does not is told on stderr."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    engines: dict[str, Engine] = {
        "torch, recorded graphs": TorchEngine(checkpoint, size, precision, device=device, log=say),
        "torch, eager": TorchEngine(checkpoint, size, precision, device=device, record=False),
    }
    try:
        start = time.perf_counter()
        build_engine(
            checkpoint,
            "tensorrt",
            folder / "tensorrt",
            images=golden_images(size),
            input_size=size,
            precision=precision,
            bounds=Bounds(label_agreement=0.0, logit_error=float("inf")),
            progress=say,
        )
        say(f"tensorrt: built in {time.perf_counter() - start:.1f} s")
        engines["tensorrt"] = load_engine(folder / "tensorrt", checkpoint)
    except EngineError as error:
        say(f"tensorrt: {error}")
    return engines


def measure(
    engines: dict[str, Engine], frame: np.ndarray[Any, Any], text: np.ndarray[Any, Any], frames: int
) -> dict[str, tuple[list[float], list[float], list[int]]]:
    """Whole frame and network alone, ms, and steps, of `frames` frames in turns; each frame recalls the one before."""
    times: dict[str, tuple[list[float], list[float], list[int]]] = {name: ([], [], []) for name in engines}
    previous: dict[str, Any] = dict.fromkeys(engines)
    for index in range(WARM_UP + frames):
        for name, engine in engines.items():
            start = time.perf_counter()
            output = engine.infer(frame, text, previous=previous[name])
            total = (time.perf_counter() - start) * 1e3
            previous[name] = output.refined
            if index >= WARM_UP:
                for values, value in zip(times[name], (total, output.network_ms, output.steps), strict=True):
                    values.append(value)
    return times


if __name__ == "__main__":
    sys.exit(main())
