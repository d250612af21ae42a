"""The network as OpenVINO's CPU plugin runs it fastest: the same functions, laid out for it.

Pixels stay the outer and channels the inner dimension wherever the graph begins or ends, which is how its convolutions
keep maps in memory, so nothing is reordered. Notation as in `model.segmenter`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model.segmenter import ClipRlSegmenter


class PixelMajorNetwork(nn.Module):
    """As `engine.graphs.CastNetworkGraph` but for the order of dimensions and rounding."""

    def __init__(self, segmenter: ClipRlSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        mean, std = segmenter.mean.reshape(1, 1, 1, 3), segmenter.std.reshape(1, 1, 1, 3)
        embed = segmenter.decoder.embed.detach().double()
        values, vectors = torch.linalg.eigh(embed.T @ embed)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        for name, value in {
            "scale": 1 / (255.0 * std),
            "shift": -mean / std,
            "root": root.float()[:, :, None, None].contiguous(),
        }.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    scale: Tensor
    shift: Tensor
    root: Tensor

    def forward(self, images: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """Of one uint8 image (1, H, W, 3) and text embeddings (K, D).

        Returns:
            Logits (1, h, w, K); embedding (1, D); with an instance head what it says, (1, 9, H/8, W/8).
        """
        pixels = images.to(torch.float32)
        pyramid, embedding = self.segmenter.encoder((pixels * self.scale + self.shift).permute(0, 3, 1, 2))
        features = self.segmenter.decoder(pyramid)
        results = self._classify(features, text), embedding
        if self.segmenter.instance_head is None:
            return results
        return *results, self.segmenter.instance_head(pyramid, features)

    def _classify(self, features: Tensor, text: Tensor) -> Tensor:
        """`Decoder.classify` as (1, h, w, K); |E f| is |R f| with R the root of E'E, a convolution by constants."""
        height, width = features.shape[2:]
        squared = functional.conv2d(features, self.root).square().sum(dim=1).reshape(1, height, width, 1)
        inverse_length = torch.rsqrt(squared.clamp(min=1e-6)) * self.segmenter.decoder.scale()
        weights = functional.normalize(text, dim=-1) @ self.segmenter.decoder.embed
        pixels = features.permute(0, 2, 3, 1).reshape(height * width, -1)
        return (pixels @ weights.T).reshape(1, height, width, -1) * inverse_length


class PixelMajorCloseUp(nn.Module):
    """As `engine.graphs.CastCloseUpGraph` but for the order of dimensions."""

    def __init__(self, segmenter: ClipRlSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        mean, std = segmenter.mean.reshape(1, 1, 1, 3), segmenter.std.reshape(1, 1, 1, 3)
        for name, value in {"scale": 1 / (255.0 * std), "shift": -mean / std}.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    scale: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Of one uint8 close-up (1, S, S, 3) its embedding (1, D), unit length."""
        assert self.segmenter.close_up is not None
        normalised = (images.to(torch.float32) * self.scale + self.shift).permute(0, 3, 1, 2)
        embedding: Tensor = self.segmenter.close_up(self.segmenter.close_up_map(normalised)).embedding
        return embedding
