"""Peer networks on the same engine, precision and size, with the same conversion and the same label map."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.model.peer_networks import Peer, build_peer
from clip_rl_perception.scene.label_map import full_size_maps
from clip_rl_perception.scene.letterbox import make_letterbox, to_network

PEERS = ("unet-resnet18", "segformer-b0", "deeplabv3plus-mobilenet")
"""Measured by default."""


class PeerGraph(nn.Module):
    """A peer that takes bytes and gives what `full_size_maps` takes, as our own graph does."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities (1, K, h, w) at the peer's own stride, of uint8 (1, H, W, 3)."""
        rgb = images.to(torch.float32).permute(0, 3, 1, 2) / 255.0
        return torch.log_softmax(self.peer.native(rgb), dim=1)


def export_peer(name: str, classes: int, size: tuple[int, int], folder: Path) -> tuple[Path, Peer]:
    """Write a peer with random weights as an OpenVINO graph; returns its path and the network."""
    import openvino

    torch.manual_seed(0)
    peer = build_peer(name, classes).eval()
    image = torch.zeros((1, *size, 3), dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = openvino.convert_model(PeerGraph(peer).eval(), example_input=image)
    model.reshape([1, *size, 3])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{size[0]}x{size[1]}-{classes}.xml"
    openvino.save_model(model, path, compress_to_fp16=False)
    return path, peer


class OpenVinoPeer:
    """A peer's graph compiled as `OpenVinoEngine` compiles ours."""

    def __init__(self, name: str, path: Path, size: tuple[int, int], precision: str) -> None:
        """Compile `path`; `precision` is ``bf16`` or ``fp32``."""
        import openvino

        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        self.name = f"peer {name} {precision} {size[0]}x{size[1]}"
        self._size = size
        self._image: ByteArray = np.zeros((1, *size, 3), np.uint8)
        self._tensor = openvino.Tensor(self._image, shared_memory=True)
        self._request = openvino.Core().compile_model(path, "CPU", config).create_infer_request()
        self._request.set_input_tensor(self._tensor)

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        start = time.perf_counter()
        view = make_letterbox((frame.shape[0], frame.shape[1]), self._size)
        np.copyto(self._image[0], to_network(frame, view))
        prepared = time.perf_counter()
        self._request.start_async()
        self._request.wait()
        log_probs = self._request.get_output_tensor().data[0]
        inferred = time.perf_counter()
        full_size_maps(log_probs, view)
        done = time.perf_counter()
        times = {"preprocess": prepared - start, "network": inferred - prepared, "postprocess": done - inferred}
        return {stage: seconds * 1e3 for stage, seconds in times.items()}
