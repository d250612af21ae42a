"""The network as one graph, written plainly: the oracle of the cast and laid-out graphs that engines run."""

from __future__ import annotations

from clip_rl_perception.engine.graphs import NetworkOutput
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor, nn
from torch.nn import functional


class NetworkGraph(nn.Module):
    """Encoder and decoder as one graph of tensors: bytes in, log-probabilities out."""

    def __init__(self, segmenter: ClipRlSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor, text: Tensor) -> NetworkOutput:
        """Of uint8 images (B, H, W, 3) and text embeddings (K, D)."""
        decoded = self.segmenter.decode(self.segmenter.prepare(images), text)
        return NetworkOutput(functional.log_softmax(decoded.logits, dim=1), decoded.embedding, decoded.instances)
