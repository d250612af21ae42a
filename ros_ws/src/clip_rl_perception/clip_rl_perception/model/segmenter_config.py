"""What a network is made of: typed, frozen, stored in every checkpoint, checked when read back."""

from __future__ import annotations

import dataclasses
from typing import Any

from clip_rl_perception.typed_data import ConfigError as ConfigError
from clip_rl_perception.typed_data import from_data, to_data

DEFAULT_TEMPLATES = ("{prompt}",)
"""Prompt templates: ``{prompt}`` stands for each prompt of a class. The prompts of a label space are whole already."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The CLIP towers."""

    name: str = "clip-rl-tiny"
    """open_clip model name: ``clip-rl-tiny`` (ours), ``RN50``, ``ViT-B-16``, ``MobileCLIP2-S0`` or one of their kin."""
    pretrained: str | None = None
    """open_clip tag (downloads) or local file of weights; None starts from random weights and needs no network."""
    quick_gelu: bool | None = None
    """Use QuickGELU as the OpenAI, DFN and MetaCLIP weights do; None takes what the pretrained tag says, of a file what
    it or its place tells, else the model config. A file that does not tell is refused where it may be either."""
    mean: tuple[float, float, float] | None = None
    """Normalisation mean of RGB in [0, 1]; None takes that of the pretrained tag, for a file what it or its place tells
    or all published weights of the architecture have, else CLIP's."""
    std: tuple[float, float, float] | None = None
    """Normalisation standard deviation of RGB in [0, 1]; None as for `mean`."""


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """The feature pyramid network and the cosine classifier."""

    channels: int = 96
    """Width of the pyramid and of the stride-4 features."""
    scale_init: float = 14.0
    """Initial inverse temperature: logits are this times the cosine. CLIP starts at 1/0.07."""
    scale_max: float = 100.0
    """Largest inverse temperature, as in CLIP."""


@dataclasses.dataclass(frozen=True)
class CloseUpConfig:
    """The branch that names the instrument on a close-up."""

    widths: tuple[int, ...] = ()
    """Channels of its residual blocks, the first of which reads the encoder's map at stride 8; none: no branch,
    close-ups are named by the encoder's global embedding."""
    strides: tuple[int, ...] = ()
    """Strides of these blocks."""
    own_layers: bool = False
    """Read close-ups by a copy of the encoder's layers up to stride 8 that learns with the branch; else by the
    encoder's, which stay as scenes made them. For convolutional timm trunks. They learn at the branch's rate, whatever
    `optimizer.encoder_factor` says of the encoder's."""
    scale_init: float = 30.0
    """Initial inverse temperature between close-ups and names."""
    side: int = 160
    """Height and width in which close-ups are shown, px."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides) or any(value < 1 for value in (*self.widths, *self.strides)):
            raise ConfigError(
                f"close_up: widths {self.widths} and strides {self.strides}; expected as many of one as of the other, "
                "all at least 1"
            )
        if self.side < SIZE_MULTIPLE or self.side % SIZE_MULTIPLE:
            raise ConfigError(f"close_up: side {self.side}; expected a multiple of {SIZE_MULTIPLE}, the stride")
        if self.own_layers and not self.widths:
            raise ConfigError("close_up: own_layers without widths and strides; the layers belong to a branch")


@dataclasses.dataclass(frozen=True)
class InstanceHeadConfig:
    """The head that keeps instruments apart and finds their keypoints."""

    width: int = 0
    """Its channels; 0: no head, instruments are told apart by where they enter the picture."""
    depths: tuple[int, int] = (4, 3)
    """Convolutions of 3x3 at strides 32 and 16."""

    def __post_init__(self) -> None:
        if self.width < 0 or min(self.depths) < 0:
            raise ConfigError(
                f"instance_head: width {self.width}, depths {self.depths}; expected 0 or more channels and convolutions"
            )


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """A whole network with the input size that it was made for."""

    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    close_up: CloseUpConfig = dataclasses.field(default_factory=CloseUpConfig)
    instance_head: InstanceHeadConfig = dataclasses.field(default_factory=InstanceHeadConfig)
    input_size: tuple[int, int] = (288, 352)
    """(H, W) in pixels, multiples of 32. The network itself takes any such size.

    288x352 fits the 5:4 frames of da Vinci endoscopes (1280x1024, 720x576) with 2 % of padding and 4:3 frames with 8 %,
    at the cost of 0.1 Mpx; 16:9 frames use 69 % of it after scaling to the width.
    """

    def __post_init__(self) -> None:
        check_input_size(self.input_size)

    @classmethod
    def tiny(cls) -> SegmenterConfig:
        """Our own small network: real time on two CPU cores, trained from scratch."""
        return cls()

    @classmethod
    def rn50(cls, pretrained: str | None = None) -> SegmenterConfig:
        """CLIP RN50, the paper's likely encoder."""
        return cls(EncoderConfig("RN50", pretrained), DecoderConfig(channels=128), input_size=(352, 448))

    @classmethod
    def vit_b16(cls, pretrained: str | None = None) -> SegmenterConfig:
        """CLIP ViT-B/16 with a simple feature pyramid."""
        return cls(EncoderConfig("ViT-B-16", pretrained), DecoderConfig(channels=128), input_size=(352, 448))

    @classmethod
    def mobileclip2_s0(cls, pretrained: str | None = None) -> SegmenterConfig:
        """MobileCLIP2-S0: the fastest pretrained CLIP tower of usable quality on CPUs."""
        return cls(EncoderConfig("MobileCLIP2-S0", pretrained), DecoderConfig(channels=128), input_size=(352, 448))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and YAML."""
        return to_data(self)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: Any, source: str = "architecture") -> SegmenterConfig:
        """Inverse of `to_dict`, missing keys at their defaults; raises `ConfigError` naming unknown or wrong ones.

        The section `refiner` of earlier versions is left out.
        """
        if isinstance(data, dict):
            data = {key: value for key, value in data.items() if key != "refiner"}
        return from_data(cls, data, source)


PRESETS = {
    "tiny": SegmenterConfig.tiny,
    "rn50": SegmenterConfig.rn50,
    "vit_b16": SegmenterConfig.vit_b16,
    "mobileclip2_s0": SegmenterConfig.mobileclip2_s0,
}
"""Presets by name, for configuration files."""

SIZE_MULTIPLE = 32
"""Input heights and widths are multiples of the deepest stride."""


def check_input_size(size: tuple[int, int]) -> None:
    """Raise `ConfigError` naming size, stride and nearest allowed sizes unless both are multiples of 32."""
    if len(size) != 2 or any(value < SIZE_MULTIPLE or value % SIZE_MULTIPLE for value in size):
        nearest = [
            sorted(
                {max(SIZE_MULTIPLE, value // SIZE_MULTIPLE * SIZE_MULTIPLE), -(-value // SIZE_MULTIPLE) * SIZE_MULTIPLE}
            )
            for value in size
        ]
        options = " or ".join(str(pair) for pair in zip(*([v[0], v[-1]] for v in nearest), strict=True))
        raise ConfigError(
            f"input size {tuple(size)}: height and width must be multiples of {SIZE_MULTIPLE}, the stride; "
            f"nearest are {options}"
        )
