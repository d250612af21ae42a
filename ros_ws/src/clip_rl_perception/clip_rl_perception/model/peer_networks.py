"""Well-known segmentation networks behind one interface: what CLIP-RL is compared with, in accuracy and in speed.

U-Net (arXiv 1505.04597), DeepLabV3+ (1802.02611) and FPN (1612.03144) come from segmentation_models_pytorch, SegFormer
(2105.15203) from transformers; both are in the extra ``peers``. Notation: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.model.torchvision_compat import ensure_torchvision_imports

SIZE_MULTIPLE = 32
"""Heights and widths that every peer takes are multiples of this."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PeerError(ClipRlError, RuntimeError):
    """A peer is unknown or its library is missing; the message says which there are or what to install."""


class Peer(nn.Module):
    """A peer network, normalisation by ImageNet's mean and deviation inside."""

    def __init__(self, name: str, network: nn.Module, normalise: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.register_buffer("mean", normalise[0], persistent=False)
        self.register_buffer("std", normalise[1], persistent=False)

    mean: Tensor
    std: Tensor

    def native(self, images: Tensor) -> Tensor:
        """Logits (B, K, H / s, W / s) at the network's own stride s: 1, or 4 of SegFormer. Images as in `forward`."""
        output: Any = self.network((images - self.mean) / self.std)
        logits: Tensor = output if isinstance(output, Tensor) else output["logits"]
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of RGB in [0, 1], float (B, 3, H, W), not normalised; H and W multiples of 32."""
        if images.ndim != 4 or images.shape[1] != 3 or any(side % SIZE_MULTIPLE for side in images.shape[2:]):
            raise PeerError(
                f"{self.name}: images are {tuple(images.shape)}; expected (B, 3, H, W), H and W multiples of "
                f"{SIZE_MULTIPLE}"
            )
        logits = self.native(images)
        if logits.shape[2:] == images.shape[2:]:
            return logits
        return functional.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)


def peer_names() -> list[str]:
    """Names that `build_peer` takes, sorted."""
    return sorted(_BUILDERS)


def build_peer(name: str, classes: int, *, encoder_weights: str | None = None) -> Peer:
    """Build a peer network.

    Args:
        name: one of `peer_names`.
        classes: K.
        encoder_weights: of the segmentation_models_pytorch peers, for example ``imagenet`` (downloads); None starts
            from random weights and needs no network. SegFormer takes None alone.

    Raises:
        PeerError: an unknown name, no classes, weights that SegFormer has not, or a library that is not installed.
    """
    if name not in _BUILDERS:
        raise PeerError(f"no peer '{name}'; there are: {', '.join(peer_names())}")
    if classes < 1:
        raise PeerError(f"peer {name}: {classes} classes; at least 1 is needed")
    ensure_torchvision_imports()
    network = _BUILDERS[name](classes, encoder_weights)
    weight = next(network.parameters())
    mean, std = (weight.new_tensor(values).reshape(1, 3, 1, 1) for values in (_MEAN, _STD))
    return Peer(name, network, (mean.detach(), std.detach()))


def _smp(architecture: str, encoder: str) -> Callable[[int, str | None], nn.Module]:
    def build(classes: int, encoder_weights: str | None) -> nn.Module:
        library = _library("segmentation_models_pytorch")
        network: nn.Module = getattr(library, architecture)(encoder, encoder_weights=encoder_weights, classes=classes)
        return network

    return build


def _segformer_b0(classes: int, encoder_weights: str | None) -> nn.Module:
    if encoder_weights is not None:
        raise PeerError(f"peer segformer-b0 has no weights '{encoder_weights}'; it starts from random ones (None)")
    library = _library("transformers")
    # The library's defaults are the B0 of the paper.
    network: nn.Module = library.SegformerForSemanticSegmentation(library.SegformerConfig(num_labels=classes))
    return network


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = one_line(error)
        raise PeerError(f"peers need {name} ({reason}); install it with: pip install -e '.[peers]'") from error


_BUILDERS: dict[str, Callable[[int, str | None], nn.Module]] = {
    "deeplabv3plus-mobilenet": _smp("DeepLabV3Plus", "mobilenet_v2"),
    "fpn-resnet18": _smp("FPN", "resnet18"),
    "segformer-b0": _segformer_b0,
    "unet-resnet18": _smp("Unet", "resnet18"),
}
