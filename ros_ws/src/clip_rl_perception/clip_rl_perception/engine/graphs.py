"""The network as graphs of tensors in a chosen precision: what the torch and TensorRT engines run.

Strong typing by casting the model: encoder and feature pyramid compute in the low precision; normalising pixels, the
cosine classifier, log-softmax and the refiner stay in single precision, where they cost little and decide labels.
No graph copies anything from the host, so all of them can be recorded as CUDA graphs. Notation as in `protocol`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.refiner import EdgeFilters, edge_filters, image_edges
from clip_rl_perception.model.segmenter import ClipRlSegmenter, NetworkOutput, StepGraph

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Engine precision to the type that encoder and pyramid compute in."""


def default_gpu_precision() -> str:
    """``bf16``: the range of single precision at half its size; GPUs before Ampere are quick in ``fp16`` only."""
    return "bf16" if not torch.cuda.is_available() or torch.cuda.get_device_capability() >= (8, 0) else "fp16"


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
        shared = segmenter.encoder, segmenter.decoder, segmenter.refiner
        self.encoder, self.classifier, self.refiner = copy.deepcopy(shared) if own else shared
        self.pyramid = self.classifier
        if own or self.dtype is not torch.float32:
            self.encoder = self.encoder if own else copy.deepcopy(self.encoder)
            self.encoder.fix_size(input_size)  # in single precision, before the cast
        if self.dtype is not torch.float32:
            self.encoder.to(self.dtype)
            self.pyramid = copy.deepcopy(self.classifier).to(self.dtype)
        filters = edge_filters(segmenter.mean)
        for name, value in {"mean": segmenter.mean, "std": segmenter.std, **filters._asdict()}.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    mean: Tensor
    std: Tensor
    luminance: Tensor
    gradients: Tensor

    def forward(self, images: Tensor, text: Tensor) -> NetworkOutput:
        """Of uint8 images (B, H, W, 3) and text embeddings (K, D); all outputs are single precision."""
        # Cast, then permute: TensorRT moves no bytes.
        pixels = images.float().permute(0, 3, 1, 2) / 255.0
        levels, embedding = self.encoder(((pixels - self.mean) / self.std).to(self.dtype))
        features = self.pyramid(levels).float()
        logits = self.classifier.classify(features, text)
        edges = image_edges(pixels, EdgeFilters(self.luminance, self.gradients))
        context = self.refiner.context(features, edges, text)
        unit = functional.normalize(embedding.float(), dim=-1)
        return NetworkOutput(logits, functional.log_softmax(logits, dim=1), unit, context.static, context.text)


class MovingStepGraph(nn.Module):
    """As `StepGraph`, telling how many pixels moved instead of what each did: one number to fetch from a device."""

    def __init__(self, segmenter: ClipRlSegmenter) -> None:
        super().__init__()
        self.step = StepGraph(segmenter)

    def forward(
        self, log_probs: Tensor, static: Tensor, text: Tensor, previous: Tensor, has_previous: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities after the step, and how many pixels did not keep, float32 (1,)."""
        after, actions = self.step(log_probs, static, text, previous, has_previous)
        return after, (actions != Action.KEEP).flatten().float().sum(dim=0, keepdim=True)
