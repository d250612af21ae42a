"""Any open_clip visual tower behind one interface: image of any allowed size in, feature pyramid and embedding out.

Towers come in three families: ModifiedResNet (RN50 and kin), VisionTransformer (ViT-B-16 and kin), and timm trunks
(MobileCLIP2-S0, our clip-rl-tiny). Notation: B images, H x W pixels, D width of the text space.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model import torchvision_compat  # noqa: F401  (before open_clip, which imports torchvision)
from clip_rl_perception.model.segmenter_config import ConfigError, EncoderConfig, check_input_size

# isort: split
import open_clip
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from clip_rl_perception.model import tiny_trunk  # noqa: F401  (registers the trunk that clip-rl-tiny names)
from clip_rl_perception.model.positions import resize_positions as resize_positions

STRIDES = (4, 8, 16, 32)
"""Strides of the pyramid."""

open_clip.add_model_config(Path(__file__).parent / "open_clip_configs")


class EncoderOutput(NamedTuple):
    """What an encoder makes of a batch."""

    pyramid: tuple[Tensor, Tensor, Tensor, Tensor]
    """Maps at strides 4, 8, 16, 32, each (B, channels[i], H/stride, W/stride)."""
    embedding: Tensor
    """Global image embedding in the text space, unit length, (B, D)."""


class ClipEncoder(nn.Module):
    """Visual tower with a feature pyramid; see `build_towers`."""

    def __init__(self, tower: nn.Module, channels: tuple[int, ...], embedding_dim: int, config: EncoderConfig) -> None:
        super().__init__()
        if config.mean is None or config.std is None:
            raise ConfigError("an encoder needs its normalisation: mean and std")
        self.tower = tower
        self.channels = channels
        self.embedding_dim = embedding_dim
        self.config = config
        self.mean = config.mean
        self.std = config.std

    def forward(self, images: Tensor) -> EncoderOutput:
        """Encode normalised RGB (B, 3, H, W); raises `ConfigError` unless H and W are multiples of 32."""
        check_input_size((images.shape[-2], images.shape[-1]))
        maps, embedding = self.tower(images)
        return EncoderOutput(tuple(maps), functional.normalize(embedding, dim=-1))

    def stride_8(self, images: Tensor) -> Tensor:
        """The map at stride 8 alone, (B, channels[1], H/8, W/8); later layers do not run where they can be spared."""
        check_input_size((images.shape[-2], images.shape[-1]))
        if isinstance(self.tower, _TimmTower):
            return self.tower.stride_8(images)
        level: Tensor = self.tower(images)[0][1]
        return level

    def first_layers(self) -> nn.Module:
        """A copy of the layers that give the map at stride 8, with weights of their own; see `stride_8`.

        Raises:
            ConfigError: the encoder is no convolutional timm trunk.
        """
        if not isinstance(self.tower, _TimmTower):
            raise ConfigError(
                f"encoder '{self.config.name}' has no first layers to copy, only convolutional timm trunks have; "
                "set close_up.own_layers to false"
            )
        return _FirstLayers(self.tower)

    def fix_size(self, size: tuple[int, int]) -> None:
        """Compute now what depends on the input size (H, W) alone, so that exported graphs hold constants."""
        check_input_size(size)
        if isinstance(self.tower, (_ResNetTower, _TransformerTower)):
            self.tower.fix_size(size)


class _ResNetTower(nn.Module):
    """ModifiedResNet (CLIP, arXiv 2103.00020, section 2.4); its attention pooling works at any grid."""

    def __init__(self, visual: ModifiedResNet) -> None:
        super().__init__()
        self.visual = visual
        self.fixed: _FixedPositions | None = None

    def fix_size(self, size: tuple[int, int]) -> None:
        grid = (size[0] // 32, size[1] // 32)
        self.fixed = _FixedPositions(grid, resize_positions(self.visual.attnpool.positional_embedding, grid).detach())

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = []
        x = self.visual.stem(images)
        for layer in (self.visual.layer1, self.visual.layer2, self.visual.layer3, self.visual.layer4):
            x = layer(x)
            maps.append(x)
        return maps, self._pool(x)

    def _pool(self, x: Tensor) -> Tensor:
        """The tower's attention pooling for its mean query alone: the other queries' results are not used."""
        pool = self.visual.attnpool
        grid = (x.shape[-2], x.shape[-1])
        positions = _positions(self.fixed, pool.positional_embedding, grid)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + positions
        heads = pool.num_heads

        def split(values: Tensor) -> Tensor:
            return values.reshape(values.shape[0], values.shape[1], heads, -1).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            split(pool.q_proj(tokens[:, :1])), split(pool.k_proj(tokens)), split(pool.v_proj(tokens))
        )
        pooled: Tensor = pool.c_proj(attended.transpose(1, 2).flatten(2).squeeze(1))
        return pooled


class _TransformerTower(nn.Module):
    """VisionTransformer with a pyramid from four depths; ViTDet's simple pyramid (arXiv 2203.16527) resamples one.

    Shallow blocks keep more place and deep blocks more meaning, so finer maps come from shallower blocks. Upsampling is
    a 1x1 convolution to r*r times the channels and a pixel shuffle, equal to a transposed convolution of stride r.
    """

    CHANNELS = (64, 128, 256, 256)

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        if visual.patch_size != (16, 16):
            raise ConfigError(
                f"vision transformers need patches of 16x16 for the pyramid, this one has {visual.patch_size}"
            )
        self.visual = visual
        depth = len(visual.transformer.resblocks)
        self.taps = [depth * (i + 1) // 4 - 1 for i in range(4)]
        width = visual.conv1.out_channels
        fine, medium, coarse, coarsest = self.CHANNELS
        self.resample = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(width, fine * 16, 1), nn.PixelShuffle(4)),
                nn.Sequential(nn.Conv2d(width, medium * 4, 1), nn.PixelShuffle(2)),
                nn.Conv2d(width, coarse, 1),
                nn.Conv2d(width, coarsest, 2, stride=2),
            ]
        )
        self.fixed: _FixedPositions | None = None

    def fix_size(self, size: tuple[int, int]) -> None:
        grid = (size[0] // 16, size[1] // 16)
        self.fixed = _FixedPositions(grid, resize_positions(self.visual.positional_embedding, grid).detach())

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        visual = self.visual
        x = visual.conv1(images)
        grid = (x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([first, x], dim=1) + _positions(self.fixed, visual.positional_embedding, grid).to(x.dtype)
        x = visual.ln_pre(visual.patch_dropout(x))
        x, tapped = visual.transformer.forward_intermediates(x, indices=self.taps)
        maps = [
            resample(tokens[:, 1:].transpose(1, 2).unflatten(-1, grid))
            for tokens, resample in zip(tapped, self.resample, strict=True)
        ]
        pooled, _ = visual._pool(x)
        return maps, pooled if visual.proj is None else pooled @ visual.proj


class _TimmTower(nn.Module):
    """A convolutional timm trunk; its own stages are the pyramid."""

    def __init__(self, visual: TimmModel, name: str) -> None:
        super().__init__()
        self.visual = visual
        reductions = [info["reduction"] for info in visual.trunk.feature_info]
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            raise ConfigError(f"encoder '{name}': its trunk has no map at stride {missing}, only at {reductions}")
        last = {reduction: index for index, reduction in enumerate(reductions)}
        self.taps = [last[stride] for stride in STRIDES]
        self.tap_channels = tuple(int(visual.trunk.feature_info[index]["num_chs"]) for index in self.taps)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        output = self.visual.forward_intermediates(images, indices=self.taps)
        return output["image_intermediates"], output["image_features"]

    def stride_8(self, images: Tensor) -> Tensor:
        output = self.visual.forward_intermediates(
            images, indices=self.taps[1:2], stop_early=True, intermediates_only=True
        )
        level: Tensor = output["image_intermediates"][0]
        return level


class _FirstLayers(nn.Module):
    """A timm trunk's layers up to stride 8."""

    def __init__(self, tower: _TimmTower) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(tower.visual.trunk)
        self.trunk.prune_intermediate_layers(tower.taps[1:2], prune_norm=True, prune_head=True)
        self._tap = tower.taps[1]

    def forward(self, images: Tensor) -> Tensor:
        [level] = self.trunk.forward_intermediates(
            images, indices=[self._tap], stop_early=True, intermediates_only=True
        )
        assert isinstance(level, Tensor)
        return level


class _FixedPositions(nn.Module):
    """Position embeddings at one grid; not part of the state dict, because they follow from the tower's own."""

    positions: Tensor

    def __init__(self, grid: tuple[int, int], positions: Tensor) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("positions", positions, persistent=False)


def _positions(fixed: _FixedPositions | None, embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    if fixed is not None and fixed.grid == grid:
        return fixed.positions
    return resize_positions(embedding, grid)


def adapt(visual: nn.Module, name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Of a visual tower of open_clip, one that yields a pyramid, and its channels; `ConfigError` where it cannot."""
    if isinstance(visual, ModifiedResNet):
        tower = _ResNetTower(visual)
        return tower, tuple(int(layer[-1].conv3.out_channels) for layer in _stages(visual))
    if isinstance(visual, VisionTransformer):
        return _TransformerTower(visual), _TransformerTower.CHANNELS
    if isinstance(visual, TimmModel):
        timm_tower = _TimmTower(visual, name)
        return timm_tower, timm_tower.tap_channels
    raise ConfigError(f"encoder '{name}': a {type(visual).__name__} tower yields no pyramid")


def _stages(visual: ModifiedResNet) -> tuple[Any, ...]:
    return visual.layer1, visual.layer2, visual.layer3, visual.layer4
