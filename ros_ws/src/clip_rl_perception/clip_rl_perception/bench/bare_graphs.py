"""Networks on OpenVINO without our engine: peers, and the encoder and decoder of bigger presets as graphs of their own.

They are converted and compiled as the engine converts and compiles ours, and take the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench.interleaved import Laps
from clip_rl_perception.engine.openvino_build import converted
from clip_rl_perception.engine.openvino_engine import cpu_config
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration, Checkpoint, load_checkpoint
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.peer_networks import Peer, build_peer
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import PRESETS
from clip_rl_perception.model.text_process import text_of
from clip_rl_perception.scene.label_map import full_size_maps
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.scene.types import Letterbox


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


class Graph(nn.Module):
    """A function of a module and tensors, as something that OpenVINO converts."""

    def __init__(self, module: nn.Module, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the function gives."""
        return self.function(self.module, *inputs)


def encode(segmenter: ClipRlSegmenter, images: Tensor) -> tuple[Tensor, ...]:
    """The visual tower alone: the four maps of the feature pyramid, of uint8 (1, H, W, 3)."""
    pyramid: tuple[Tensor, ...] = segmenter.encoder((segmenter.prepare(images) - segmenter.mean) / segmenter.std)[0]
    return pyramid


def decode(segmenter: ClipRlSegmenter, *inputs: Tensor) -> Tensor:
    """The decoder alone: logits (1, K, h, w) of the four maps and the text embeddings."""
    logits: Tensor = segmenter.decoder.classify(segmenter.decoder(inputs[:4]), inputs[4])
    return logits


def segment(peer: Peer, images: Tensor) -> Tensor:
    """What `full_size_maps` takes: log-probabilities (1, K, h, w) at the peer's own stride, of uint8 (1, H, W, 3)."""
    rgb = images.to(torch.float32).permute(0, 3, 1, 2) / 255.0
    return torch.log_softmax(peer.native(rgb), dim=1)


def export(module: nn.Module, examples: Sequence[Tensor], path: Path) -> None:
    """Write a module as an OpenVINO graph that takes tensors of the examples' shapes."""
    import openvino

    graph = converted(module, tuple(examples))
    graph.reshape({index: list(example.shape) for index, example in enumerate(examples)})
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(graph, path, compress_to_fp16=False)


def export_parts(checkpoint: Checkpoint, size: tuple[int, int], folder: Path) -> tuple[Path, Path]:
    """Write encoder and decoder as OpenVINO graphs of their own into `folder`, unless they are there."""
    paths = folder / "encoder.xml", folder / "decoder.xml"
    if not all(path.is_file() and path.with_suffix(".bin").is_file() for path in paths):
        segmenter = checkpoint.segmenter.cpu().float().eval()
        segmenter.encoder.fix_size(size)
        image = torch.zeros((1, *size, 3), dtype=torch.uint8)
        with torch.inference_mode():
            maps = encode(segmenter, image)
        export(Graph(segmenter, encode), [image], paths[0])
        export(Graph(segmenter, decode), [*maps, checkpoint.text.float()], paths[1])
    return paths


def request_of(graph: Any, precision: str) -> Any:
    """An OpenVINO request of a graph (a path or a model), compiled as `OpenVinoEngine` compiles ours."""
    import openvino

    return openvino.Core().compile_model(graph, "CPU", cpu_config(precision)).create_infer_request()


def run_request(request: Any) -> None:
    """Run a request on what its tensors hold."""
    request.start_async()
    request.wait()


class _Input:
    """The image that a request reads."""

    def __init__(self, request: Any, size: tuple[int, int]) -> None:
        import openvino

        self._image: ByteArray = np.zeros((1, *size, 3), np.uint8)
        self._tensor = openvino.Tensor(self._image, shared_memory=True)
        request.set_input_tensor(0, self._tensor)

    def show(self, frame: ByteArray) -> Letterbox:
        """Draw a frame, uint8 RGB (height, width, 3), as the network sees it; returns how."""
        view = make_letterbox((frame.shape[0], frame.shape[1]), self._image.shape[1:3])
        to_network(frame, view, out=self._image[0])
        return view


class BareParts:
    """Encoder and decoder one after the other, nothing else: no label map, no checks."""

    def __init__(
        self, encoder: str, paths: tuple[Path, Path], checkpoint: Checkpoint, size: tuple[int, int], precision: str
    ) -> None:
        """Compile both graphs of `export_parts`."""
        import openvino

        self.name = f"bare {encoder} {precision} {size[0]}x{size[1]}"
        self._encoder, self._decoder = (request_of(path, precision) for path in paths)
        self._input = _Input(self._encoder, size)
        for index in range(4):
            self._decoder.set_input_tensor(index, self._encoder.get_output_tensor(index))
        self._decoder.set_input_tensor(4, openvino.Tensor(text_of(checkpoint)))

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        self._input.show(frame)
        laps = Laps()
        run_request(self._encoder)
        laps.end("encoder")
        run_request(self._decoder)
        laps.end("decoder")
        return laps.ms


class PeerCandidate:
    """A peer with random weights, and the label map of what it gives."""

    def __init__(self, name: str, classes: int, size: tuple[int, int], precision: str, folder: Path) -> None:
        """Export it into `folder` and compile it; raises `PeerError` where it cannot be made."""
        torch.manual_seed(0)
        peer = build_peer(name, classes).eval()
        path = folder / f"{name}-{size[0]}x{size[1]}-{classes}.xml"
        export(Graph(peer, segment), [torch.zeros((1, *size, 3), dtype=torch.uint8)], path)
        self.name = f"peer {name} {precision} {size[0]}x{size[1]}"
        self.row: dict[str, Any] = {
            "name": name,
            "backend": "openvino",
            "precision": precision,
            "size": list(size),
            "parameters": sum(value.numel() for value in peer.parameters()),
            "weights": "random",
        }
        """What the report says of it before it runs."""
        self._request = request_of(path, precision)
        self._input = _Input(self._request, size)

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        laps = Laps()
        view = self._input.show(frame)
        laps.end("preprocess")
        run_request(self._request)
        laps.end("network")
        full_size_maps(self._request.get_output_tensor().data[0], view)
        laps.end("postprocess")
        return laps.ms
