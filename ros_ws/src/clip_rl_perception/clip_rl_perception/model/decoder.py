"""From the feature pyramid to class logits at stride 4: a light feature pyramid network and a cosine classifier.

Pyramid: Lin et al. 2017 (arXiv 1612.03144). The classifier is CLIP's, per pixel: logits are the cosine between a
pixel's embedding and the class's text embedding, times a learned inverse temperature, so classes change by text alone.
Notation: B images, C channels, h x w stride-4 pixels, K classes, D width of the text space.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model.segmenter_config import DecoderConfig


class Decoder(nn.Module):
    """Feature pyramid network to stride 4 with global context, and the cosine classifier."""

    def __init__(self, pyramid_channels: tuple[int, ...], embedding_dim: int, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        width = config.channels
        self.laterals = nn.ModuleList(_conv(channels, width, 1) for channels in pyramid_channels)
        self.context = nn.Sequential(nn.Linear(pyramid_channels[-1], width), nn.ReLU(), nn.Linear(width, width))
        # Dense where pixels are few, separable where they are many: stride 4 holds three quarters of all pixels.
        self.smooth = nn.ModuleList([_separable(width), _separable(width), _block(width, width), _block(width, width)])
        self.embed = nn.Parameter(torch.empty(embedding_dim, width))
        nn.init.orthogonal_(self.embed)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale_init)))

    def forward(self, pyramid: tuple[Tensor, ...]) -> Tensor:
        """Stride-4 features (B, C, h, w) of the maps at strides 4, 8, 16, 32."""
        laterals = [lateral(level) for lateral, level in zip(self.laterals, pyramid, strict=True)]
        top = laterals[-1] + self.context(pyramid[-1].mean(dim=(2, 3)))[:, :, None, None]
        x: Tensor = self.smooth[3](functional.relu(top))
        for index in (2, 1, 0):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.smooth[index](functional.relu(x + laterals[index]))
        return x

    def classify(self, features: Tensor, text: Tensor) -> Tensor:
        """Logits (B, K, h, w): scale times cos(E f, t), features f (B, C, h, w), text t (K, D), learned map E (D, C).

        E f is never formed: <E f, t> = <f, E' t> and |E f|^2 = <f, E'E f>, so a pixel costs C*(C + K) whatever D is.
        """
        # Products of matrices, not 1x1 convolutions: OpenVINO and TensorRT want constant convolution weights.
        pixels = features.flatten(2)
        squared = (pixels * (self.embed.T @ self.embed @ pixels)).sum(dim=1, keepdim=True)
        inverse_length = torch.rsqrt(squared.clamp(min=1e-6)) * self.scale()
        logits = (functional.normalize(text, dim=-1) @ self.embed @ pixels) * inverse_length
        return logits.reshape(features.shape[0], -1, features.shape[2], features.shape[3])

    def scale(self) -> Tensor:
        """Inverse temperature, (), at least 1 and at most `scale_max`."""
        return self.log_scale.clamp(0.0, math.log(self.config.scale_max)).exp()


def _conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, 3), nn.ReLU())


def _separable(width: int) -> nn.Sequential:
    return nn.Sequential(_conv(width, width, 3, groups=width), nn.ReLU(), _conv(width, width, 1), nn.ReLU())
