"""What every place of a picture says of the instrument that covers it: the line it lies on, its width, its points.

Instances stay apart where instruments cross because each place names the axis of its own shaft: places that agree on a
line belong together, however far apart they are and whatever lies between. The idea is Hough's vote, learned, as in
spatial embeddings (Neven et al. 2019, arXiv 1906.11109); keypoints are peaks of heat maps as in CenterNet (Zhou et al.
2019, arXiv 1904.07850). The head reads what the segmenter's layers make of a picture and changes none of them.
Notation: B images of H x W pixels, g x u = H/8 x W/8 places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.instance_channels import CHANNELS, SQUEEZE
from clip_rl_perception.model.segmenter_config import InstanceHeadConfig


def squeeze(along: Tensor) -> Tensor:
    """Signed distances, places, with far ones drawn near, as `CHANNELS` says."""
    return along.sign() * torch.log1p(along.abs() / SQUEEZE)


class InstanceHead(nn.Module):
    """A small pyramid of its own at strides 32 and 16 on frozen features, and a linear map to `CHANNELS` at stride 8.

    Deep where places are few: from which side an instrument comes is told by the whole picture. Four places at stride 8
    are one at stride 16 with four times the channels, on the way in as on the way out (Shi et al. 2016,
    arXiv 1609.05158): so nothing fine is lost, and no convolution runs at stride 8.
    """

    def __init__(self, pyramid_channels: tuple[int, ...], decoder_channels: int, config: InstanceHeadConfig) -> None:
        """Build the head.

        Args:
            pyramid_channels: of the encoder's maps at strides 4, 8, 16, 32; the first is not read.
            decoder_channels: of the decoder's features at stride 4.
            config: its width and depths.
        """
        super().__init__()
        _, eighth, sixteenth, thirtysecond = pyramid_channels
        width = config.width
        self.coarse = _conv(thirtysecond + decoder_channels, width, 1)
        self.fine = _conv(4 * eighth + sixteenth + decoder_channels, width, 1)
        self.coarse_blocks = nn.Sequential(*(_Residual(width) for _ in range(config.depths[0])))
        self.fine_blocks = nn.Sequential(*(_Residual(width) for _ in range(config.depths[1])))
        self.out = nn.Conv2d(width, 4 * len(CHANNELS), 1)
        nn.init.constant_(self.out.bias[-8:], -4.0)  # type: ignore[index]  # peaks are rare

    def forward(self, pyramid: tuple[Tensor, ...], features: Tensor) -> Tensor:
        """`CHANNELS` at every place, (B, 9, g, u), the axis of unit length.

        Args:
            pyramid: the encoder's maps at strides 4, 8, 16, 32.
            features: the decoder's, (B, C, H/4, W/4): they know where instruments are.
        """
        _, eighth, sixteenth, thirtysecond = pyramid
        seen = functional.avg_pool2d(features, 4)
        fine = self.fine(torch.cat([functional.pixel_unshuffle(eighth, 2), sixteenth, seen], dim=1))
        coarse = self.coarse(torch.cat([thirtysecond, functional.avg_pool2d(seen, 2)], dim=1))
        coarse = functional.interpolate(self.coarse_blocks(functional.relu(coarse)), scale_factor=2.0, mode="nearest")
        said = functional.pixel_shuffle(self.out(self.fine_blocks(functional.relu(fine + coarse))), 2)
        axis = said[:, :2]
        length = torch.rsqrt((axis * axis).sum(dim=1, keepdim=True).clamp(min=1e-6))
        return torch.cat([axis * length, said[:, 2:]], dim=1)


class _Residual(nn.Module):
    """A 3x3 convolution around which its input passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.conv(x))


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs))
