"""Everything that defines an adaptation, as one typed dataclass read from YAML; presets lie in ``configs/adapt``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.typed_data import from_data

from clip_rl_training.loop.training_config import TrainConfig, config_from_data
from clip_rl_training.shipped_configs import find_config
from clip_rl_training.typed_config import apply_overrides, load_layers, overlaid

FOLDER = "adapt"
"""Of the shipped configurations."""


@dataclasses.dataclass(frozen=True)
class FramesConfig:
    """Which frames of the videos are learned from."""

    most: int = 1000
    """Frames taken of all videos together; of longer ones short clips, spread evenly."""
    clip: int = 8
    """Frames in a row of such a clip: looks at one count for the next."""
    scale: float = 1.5
    """Frames are kept at so many times the network's size, and never larger than they came."""
    hold_out: float = 0.15
    """Share of each video, its last part, that nothing is learned from: agreement is measured there."""
    fewest: int = 20
    """With fewer frames of surgery than this nothing is learned."""

    def __post_init__(self) -> None:
        if min(self.most, self.clip, self.fewest) < 1 or not self.scale >= 1.0 or not 0.0 < self.hold_out < 1.0:
            raise ValueError(
                f"frames are {self}; expected most, clip, fewest and scale of at least 1, hold_out between 0 and 1"
            )


@dataclasses.dataclass(frozen=True)
class SureConfig:
    """Which pixels the teacher is taken at its word for; all others count in no loss."""

    instrument: float = 0.8
    """Least calibrated probability of an instrument."""
    background: float = 0.9
    """Least calibrated probability of what is no instrument."""
    disagreement: float = 0.3
    """Most bits by which mirror images, and frames before and after, may disagree (`looks.evidence`)."""
    share: float = 0.002
    """Videos in which instruments are sure at less than this share of all pixels teach nothing: none may be there."""

    def __post_init__(self) -> None:
        if not (min(self.instrument, self.background) >= 0.5 and max(self.instrument, self.background) < 1.0):
            raise ValueError(f"sure is {self}; expected probabilities from 0.5 to below 1")


@dataclasses.dataclass(frozen=True)
class TrustConfig:
    """When the adapted network is written: what can be measured without labels must say that it is better."""

    mirrors: float = 0.005
    """IoU by which the plain look and its mirror images must agree better on frames held out."""
    teacher: float = 0.02
    """IoU that the plain look may lose of what the teacher is sure of, nearly all of which it knows from the start."""
    consistency: float = 0.005
    """IoU that masks may lose from frame to frame, moved along by optical flow."""
    synthetic: float = 0.04
    """IoU of instruments that synthetic validation scenes may lose."""
    area: float = 1.6
    """Factor by which instruments may cover more or less than the teacher says."""
    tags: float = 0.02
    """PQ of tags that synthetic videos may lose before the instance head is left out."""


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """One adaptation."""

    train: dict[str, Any]
    """The training configuration (docs/training.md) without name, out, start_from, model and label spaces."""
    frames: FramesConfig = dataclasses.field(default_factory=FramesConfig)
    sure: SureConfig = dataclasses.field(default_factory=SureConfig)
    trust: TrustConfig = dataclasses.field(default_factory=TrustConfig)
    share: float = 0.5
    """Share of every batch that are frames of the videos; the rest are synthetic scenes."""
    blend: float = 1.0
    """Share of what was learned in what is written; the rest are the checkpoint's own weights (`blended`): more of it
    for this camera, less for the others that it knew."""
    norms: Literal["kept", "refreshed"] = "kept"
    """Statistics of the batch norms: those of the checkpoint, or of the batches that are learned from."""
    patience: int = 6
    """Validations without a better one after which learning stops; 0: never."""
    tag_videos: int = 4
    """Synthetic videos on which tags are measured before and after, where the checkpoint has an instance head."""

    def __post_init__(self) -> None:
        for name in ("share", "blend"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected above 0, at most 1")


def load_adapt_config(name_or_path: str, overrides: Sequence[str] = ()) -> AdaptConfig:
    """Read a preset by name or a YAML file by path, with ``key=value`` overrides.

    Raises:
        ConfigError: no such preset or file, unknown keys, wrong types; the message says which.
    """
    find = functools.partial(find_config, folder=FOLDER, what="adaptation")
    path = find(name_or_path)
    return from_data(AdaptConfig, apply_overrides(load_layers(path, find), overrides), path.name)


def train_config(config: AdaptConfig, model: SegmenterConfig, space: str, start_from: Path, out: Path) -> TrainConfig:
    """The training that `config` asks for.

    Args:
        config: the adaptation.
        model: of the checkpoint that is adapted.
        space: label space of the pseudo labels, as synthetic scenes know it.
        start_from: the checkpoint's file.
        out: folder of the adaptation.

    Raises:
        ConfigError: `train` is no training configuration; says which key.
    """
    fixed = {
        "name": "training",
        "out": str(out),
        "start_from": str(start_from),
        "model": model.to_dict(),
        "data": {"label_spaces": {space: 1.0}, "root": config.train.get("data", {}).get("root", str(out / "scenes"))},
    }
    return config_from_data(overlaid(config.train, fixed), "train of the adaptation")
