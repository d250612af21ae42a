"""ClipRlSegmenter: encoder, text tower and decoder joined.

Images enter as RGB in [0, 1] or as bytes; normalisation is inside. Notation: B images, H x W pixels, h x w = H/4 x W/4,
K classes, C decoder channels, D width of the text space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.close_up import CloseUpBranch, orientations
from clip_rl_perception.model.decoder import Decoder
from clip_rl_perception.model.instance_head import InstanceHead
from clip_rl_perception.model.prompts import encode_prompts
from clip_rl_perception.model.segmenter_config import DEFAULT_TEMPLATES, SegmenterConfig
from clip_rl_perception.model.towers import build_towers

STRIDE = 4
"""Input pixels per logit."""


class DecoderOutput(NamedTuple):
    """What the network makes of a batch."""

    logits: Tensor
    """(B, K, h, w)."""
    embedding: Tensor
    """Global image embedding in the text space, unit length, (B, D)."""
    instances: Tensor | None = None
    """What places say of their instruments, `instance_channels.CHANNELS`, (B, 9, H/8, W/8); None: no such head."""


class ClipRlSegmenter(nn.Module):
    """The whole network; `config` is fully resolved after construction."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        towers = build_towers(config.encoder)
        self.config = dataclasses.replace(config, encoder=towers.config)
        self.weights_notes = towers.notes
        """What is known of pretrained weights from a file, see `ClipTowers`."""
        self.encoder = towers.encoder
        self.text = towers.text
        self.logit_scale = nn.Parameter(towers.logit_scale)
        """Log of the contrastive inverse temperature between images and captions, ()."""
        self.decoder = Decoder(self.encoder.channels, self.encoder.embedding_dim, config.decoder)
        self.close_up = (
            CloseUpBranch(
                self.encoder.channels[1],
                self.encoder.embedding_dim,
                config.close_up,
                self.encoder.first_layers() if config.close_up.own_layers else None,
            )
            if config.close_up.widths
            else None
        )
        self.instance_head = (
            InstanceHead(self.encoder.channels, config.decoder.channels, config.instance_head)
            if config.instance_head.width
            else None
        )
        self.register_buffer("mean", torch.tensor(self.encoder.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.encoder.std).reshape(1, 3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.encoder.embedding_dim

    def prepare(self, images: Tensor) -> Tensor:
        """Bytes (B, H, W, 3) or (B, 3, H, W) to float RGB in [0, 1], (B, 3, H, W); float images pass through."""
        if images.shape[-1] == 3 and images.shape[1] != 3:
            images = images.permute(0, 3, 1, 2)
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255.0
        return images

    def encode_text(self, label_space: LabelSpace, templates: Sequence[str] = DEFAULT_TEMPLATES) -> Tensor:
        """Text embeddings of the classes, float32 (K, D), unit rows, without gradient."""
        return encode_prompts(self.text, label_space, templates)

    def decode(self, images: Tensor, text: Tensor) -> DecoderOutput:
        """Encoder and decoder.

        Args:
            images: RGB in [0, 1], float (B, 3, H, W), H and W multiples of 32; not normalised.
            text: text embeddings (K, D), unit rows.

        Raises:
            ConfigError: a size that is not a multiple of 32.
        """
        pyramid, embedding = self.encoder((images - self.mean) / self.std)
        features = self.decoder(pyramid)
        said = None if self.instance_head is None else self.instance_head(pyramid, features)
        return DecoderOutput(self.decoder.classify(features, text), embedding, said)

    def embed_close_ups(self, images: Tensor) -> Tensor:
        """What names the instrument that each close-up shows: in the text space, unit length, (B, D).

        By the branch for close-ups, as the mean of what it makes of the image's eight `orientations`: an instrument is
        the same however it is turned. Where there is no branch, by the encoder's global embedding. Arguments as
        `decode`.
        """
        normalised = (images - self.mean) / self.std
        if self.close_up is None:
            return self.encoder(normalised).embedding  # type: ignore[no-any-return]
        seen = [self.close_up(self.close_up_map(view)).embedding for view in orientations(normalised)]
        return functional.normalize(torch.stack(seen).mean(0), dim=-1)

    def close_up_map(self, normalised: Tensor) -> Tensor:
        """What the branch for close-ups reads: the map at stride 8, (B, C, H/8, W/8), of its own first layers where it
        has some, else of the encoder's. Of images (B, 3, H, W) less `mean`, over `std`.
        """
        first = self.close_up.first if self.close_up is not None else None
        level: Tensor = self.encoder.stride_8(normalised) if first is None else first(normalised)
        return level
