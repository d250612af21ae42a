"""The network as a graph of tensors in a chosen precision: what the torch and TensorRT engines run.

Strong typing by casting the model: encoder and feature pyramid compute in the low precision; normalising pixels, the
cosine classifier and log-softmax stay in single precision, where they cost little and decide labels. The graph copies
nothing from the host, so it can be recorded as a CUDA graph. Notation as in `protocol`.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model.segmenter import ClipRlSegmenter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Engine precision to the type that encoder and pyramid compute in."""


def default_gpu_precision() -> str:
    """``bf16``: the range of single precision at half its size; GPUs before Ampere are quick in ``fp16`` only."""
    return "bf16" if not torch.cuda.is_available() or torch.cuda.get_device_capability() >= (8, 0) else "fp16"


class NetworkOutput(NamedTuple):
    """What encoder and decoder leave, as one graph of tensors."""

    log_probs: Tensor
    """(B, K, h, w), normalised over K."""
    embedding: Tensor
    """Global image embedding in the text space, unit length, (B, D)."""
    instances: Tensor | None = None
    """What places say of their instruments, (B, 9, H/8, W/8); None: the network has no instance head."""


class CastNetworkGraph(nn.Module):
    """Encoder and decoder as one graph of tensors, in a precision of choice; the segmenter is left as it is."""

    def __init__(
        self, segmenter: ClipRlSegmenter, precision: str, input_size: tuple[int, int], *, own: bool = False
    ) -> None:
        """Cast `segmenter` to a precision of `DTYPES`.

        Args:
            segmenter: the network.
            precision: ``fp32`` shares the segmenter's modules; others copy encoder and pyramid.
            input_size: (H, W); what depends on it alone becomes a constant in copies.
            own: copy everything, also in single precision: the graph may then be moved to another device.
        """
        super().__init__()
        self.dtype = DTYPES[precision]
        shared = segmenter.encoder, segmenter.decoder, segmenter.instance_head
        self.encoder, self.classifier, self.instance_head = copy.deepcopy(shared) if own else shared
        self.pyramid = self.classifier
        if own or self.dtype is not torch.float32:
            self.encoder = self.encoder if own else copy.deepcopy(self.encoder)
            self.encoder.fix_size(input_size)  # in single precision, before the cast
        if self.dtype is not torch.float32:
            self.encoder.to(self.dtype)
            self.pyramid = copy.deepcopy(self.classifier).to(self.dtype)
            if self.instance_head is not None:
                self.instance_head = copy.deepcopy(self.instance_head).to(self.dtype)
        for name, value in {"mean": segmenter.mean, "std": segmenter.std}.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor, text: Tensor) -> NetworkOutput:
        """Of uint8 images (B, H, W, 3) and text embeddings (K, D); all outputs are single precision."""
        # Cast, then permute: TensorRT moves no bytes.
        pixels = images.float().permute(0, 3, 1, 2) / 255.0
        levels, embedding = self.encoder(((pixels - self.mean) / self.std).to(self.dtype))
        features = self.pyramid(levels)
        logits = self.classifier.classify(features.float(), text)
        unit = functional.normalize(embedding.float(), dim=-1)
        instances = None if self.instance_head is None else self.instance_head(levels, features).float()
        return NetworkOutput(functional.log_softmax(logits, dim=1), unit, instances)


class CastCloseUpGraph(nn.Module):
    """The branch for close-ups as one graph of tensors, in a precision of choice; the segmenter is left as it is."""

    def __init__(self, segmenter: ClipRlSegmenter, precision: str, *, own: bool = False) -> None:
        """Cast the branch to a precision of `DTYPES`; arguments as of `CastNetworkGraph`."""
        super().__init__()
        self.dtype = DTYPES[precision]
        branch = segmenter.close_up
        assert branch is not None, "this network has no branch for close-ups"
        shared = branch, segmenter.encoder if branch.first is None else None
        self.branch, self.encoder = copy.deepcopy(shared) if own or self.dtype is not torch.float32 else shared
        if self.dtype is not torch.float32:
            self.branch.to(self.dtype)
            if self.encoder is not None:
                self.encoder.to(self.dtype)
        for name, value in {"mean": segmenter.mean, "std": segmenter.std}.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Of uint8 images (B, S, S, 3) their embeddings in the text space, float32 (B, D), unit rows."""
        pixels = images.float().permute(0, 3, 1, 2) / 255.0
        normalised = ((pixels - self.mean) / self.std).to(self.dtype)
        first = self.branch.first if self.encoder is None else self.encoder.stride_8
        assert first is not None
        level = first(normalised)
        return functional.normalize(self.branch(level).embedding.float(), dim=-1)
