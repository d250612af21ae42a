"""The trunk of the shipped network: a narrow residual network of dense 3x3 convolutions, registered with timm.

Dense convolutions with widths in multiples of 16 use the matrix units of CPUs and GPUs well, batch norms fold away, and
such a trunk learns from scratch in short schedules; depthwise designs of equal CPU time do fewer multiplications.
Residual blocks: He et al. 2016 (arXiv 1512.03385).
"""

from __future__ import annotations

from typing import Any

from clip_rl_perception.model import torchvision_compat  # noqa: F401  (before timm, which imports torchvision)

# isort: split
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

__all__ = ["clip_rl_tiny_trunk"]

_CONFIG = ByoModelCfg(
    blocks=tuple(
        ByoBlockCfg(type="basic", d=depth, c=channels, s=2, gs=0, br=1.0)
        for depth, channels in ((2, 32), (2, 64), (3, 128), (2, 256))
    ),
    stem_chs=32,
    stem_type="3x3",
    stem_pool=None,
)

default_cfgs = generate_default_cfgs(
    {
        "clip_rl_tiny_trunk.untrained": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 288, 352),
            "pool_size": (9, 11),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        }
    }
)


@register_model
def clip_rl_tiny_trunk(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Residual trunk: 32, 64, 128, 256 channels at strides 4, 8, 16, 32. It has no pretrained weights of its own."""
    return build_model_with_cfg(
        ByobNet,
        "clip_rl_tiny_trunk",
        pretrained,
        model_cfg=_CONFIG,
        feature_cfg={"flatten_sequential": True},
        **kwargs,
    )
