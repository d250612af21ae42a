"""What engine tests share: a small checkpoint, engines of it, frames and classes for it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.manifest import Bounds
from clip_rl_perception.engine.protocol import Engine
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration, Checkpoint
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import CloseUpConfig, InstanceHeadConfig, SegmenterConfig

SIZE = (64, 96)
GRID = (16, 24)
SIDE = 64
"""Of close-ups."""
BRANCH = CloseUpConfig((16, 24), (2, 1), own_layers=True, side=SIDE)
ANYTHING = Bounds(label_agreement=0.0, logit_error=100.0, instance_error=100.0)
"""An untrained network's labels hang on the last bit; the tests compare log-probabilities themselves."""


@dataclasses.dataclass(frozen=True)
class Case:
    """An engine that may run here."""

    name: str
    backend: str
    precision: str

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        if self.backend in ("cuda", "tensorrt") and not torch.cuda.is_available():
            return "needs an NVIDIA GPU"
        needed = {"openvino": ["openvino"], "tensorrt": ["torch_tensorrt"]}.get(self.backend, [])
        needed = [*needed, "nncf"] if self.precision == "int8" else needed
        absent = [package for package in needed if importlib.util.find_spec(package) is None]
        return f"not installed: {', '.join(absent)}" if absent else ""

    def make(self, checkpoint: Checkpoint, folder: Path) -> Engine:
        """Load it, built once per `folder`."""
        if self.backend in ("torch", "cuda"):
            return load_engine(self.backend, checkpoint, input_size=SIZE, precision=self.precision, threads=1)
        directory = folder / self.name
        if not directory.exists():
            build_engine(
                checkpoint,
                self.backend,
                directory,
                images=[image(9)],
                calibration=[image(seed) for seed in range(8)],
                input_size=SIZE,
                precision=self.precision,
                threads=1,
                bounds=ANYTHING,
                progress=lambda line: None,
            )
        return load_engine(directory, checkpoint, threads=1)


CASES = {
    f"{backend}-{precision}": Case(f"{backend}-{precision}", backend, precision)
    for backend, precisions in {
        "torch": ("fp32", "bf16", "fp16"),
        "cuda": ("fp32", "bf16", "fp16"),
        "openvino": ("fp32", "bf16", "int8"),
        "tensorrt": ("fp32", "bf16", "fp16"),
    }.items()
    for precision in precisions
}


def save_random_checkpoint(stem: Path, seed: int = 0, close_up: CloseUpConfig = BRANCH) -> Path:
    """The tiny network with an instance head and a branch for close-ups, untrained; returns the weights' path."""
    torch.manual_seed(seed)
    config = dataclasses.replace(
        SegmenterConfig.tiny(), instance_head=InstanceHeadConfig(16, (1, 1)), close_up=close_up
    )
    segmenter = ClipRlSegmenter(config).eval()
    space = load_label_space("endovis2018-type")
    text = segmenter.encode_text(space)
    save_checkpoint(stem, segmenter, space, text, Calibration.uncalibrated(segmenter.embedding_dim), {})
    return stem.with_suffix(".safetensors")


def image(seed: int = 0) -> ByteArray:
    """Smooth random colours: something that a network reacts to."""
    coarse = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
    return np.ascontiguousarray((smooth[0].permute(1, 2, 0) * 255).byte().numpy())


def close_up(seed: int = 0) -> ByteArray:
    """A square like `image`."""
    return np.ascontiguousarray(image(seed)[:SIDE, :SIDE])


def text_rows(classes: int = 5, seed: int = 0) -> FloatArray:
    rows = np.random.default_rng(seed).normal(size=(classes, 128)).astype(np.float32)
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
