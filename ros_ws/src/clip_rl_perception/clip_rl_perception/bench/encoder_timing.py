"""Bigger encoders with random weights: the whole network graph against its bare encoder and its decoder alone."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration, Checkpoint, load_checkpoint, save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import PRESETS
from clip_rl_perception.scene.letterbox import make_letterbox, to_network

ENCODERS = ("mobileclip2_s0", "rn50", "vit_b16")
"""Presets of `model.config` that are measured by default."""


def random_checkpoint(preset: str, folder: Path) -> Checkpoint:
    """A checkpoint of a preset with random weights and the classes of EndoVis 2018, written once into `folder`."""
    stem = folder / preset
    if not stem.with_suffix(".json").is_file():
        torch.manual_seed(0)
        segmenter = ClipRlSegmenter(PRESETS[preset]()).eval()
        space = load_label_space("endovis2018")
        text = segmenter.encode_text(space)
        calibration = Calibration.uncalibrated(segmenter.embedding_dim)
        save_checkpoint(stem, segmenter, space, text, calibration, {"weights": "random, for benchmarks"})
    return load_checkpoint(stem)


class EncoderGraph(nn.Module):
    """The visual tower alone: bytes in, feature pyramid out."""

    def __init__(self, segmenter: ClipRlSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The four maps, of uint8 (1, H, W, 3)."""
        pixels = self.segmenter.prepare(images)
        pyramid: tuple[Tensor, ...] = self.segmenter.encoder((pixels - self.segmenter.mean) / self.segmenter.std)[0]
        return pyramid


class DecoderGraph(nn.Module):
    """The decoder alone: feature pyramid and text embeddings in, logits out."""

    def __init__(self, segmenter: ClipRlSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, first: Tensor, second: Tensor, third: Tensor, fourth: Tensor, text: Tensor) -> Tensor:
        """Logits (1, K, h, w)."""
        features = self.segmenter.decoder((first, second, third, fourth))
        logits: Tensor = self.segmenter.decoder.classify(features, text)
        return logits


def export_parts(checkpoint: Checkpoint, size: tuple[int, int], folder: Path) -> tuple[Path, Path]:
    """Write encoder and decoder as OpenVINO graphs of their own into `folder`, unless they are there."""
    import openvino

    paths = folder / "encoder.xml", folder / "decoder.xml"
    if all(path.is_file() and path.with_suffix(".bin").is_file() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = checkpoint.segmenter.cpu().float().eval()
    segmenter.encoder.fix_size(size)
    encoder, decoder = EncoderGraph(segmenter).eval(), DecoderGraph(segmenter).eval()
    image, text = torch.zeros((1, *size, 3), dtype=torch.uint8), checkpoint.text.float()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = encoder(image)
        graphs = (
            openvino.convert_model(encoder, example_input=image),
            openvino.convert_model(decoder, example_input=(*maps, text)),
        )
    graphs[0].reshape([1, *size, 3])
    graphs[1].reshape({index: list(value.shape) for index, value in enumerate((*maps, text))})
    for graph, path in zip(graphs, paths, strict=True):
        openvino.save_model(graph, path, compress_to_fp16=False)
    return paths


class BareParts:
    """Encoder and decoder one after the other, nothing else: no refiner, no label map, no checks."""

    def __init__(
        self, encoder: str, paths: tuple[Path, Path], checkpoint: Checkpoint, size: tuple[int, int], precision: str
    ) -> None:
        """Compile both graphs as `OpenVinoEngine` compiles ours."""
        import openvino

        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        core = openvino.Core()
        self.name = f"bare {encoder} {precision} {size[0]}x{size[1]}"
        self._size = size
        self._encoder, self._decoder = (
            core.compile_model(path, "CPU", config).create_infer_request() for path in paths
        )
        self._image: ByteArray = np.zeros((1, *size, 3), np.uint8)
        self._text = np.ascontiguousarray(checkpoint.text.numpy(), np.float32)
        self._tensors = [openvino.Tensor(array, shared_memory=True) for array in (self._image, self._text)]
        self._encoder.set_input_tensor(self._tensors[0])
        for index in range(4):
            self._decoder.set_input_tensor(index, self._encoder.get_output_tensor(index))
        self._decoder.set_input_tensor(4, self._tensors[1])

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        view = make_letterbox((frame.shape[0], frame.shape[1]), self._size)
        np.copyto(self._image[0], to_network(frame, view))
        start = time.perf_counter()
        self._encoder.start_async()
        self._encoder.wait()
        encoded = time.perf_counter()
        self._decoder.start_async()
        self._decoder.wait()
        done = time.perf_counter()
        return {"encoder": (encoded - start) * 1e3, "decoder": (done - encoded) * 1e3}
