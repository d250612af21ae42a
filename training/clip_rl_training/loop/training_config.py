"""Everything that defines a training run, as one typed dataclass read from YAML.

``configs/*.yaml`` hold the presets; ``clip-rl train --config demo`` finds them by name, any path works too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.typed_data import ConfigError, from_data

from clip_rl_training.curriculum import Curriculum
from clip_rl_training.data.augment import AugmentConfig
from clip_rl_training.data.data_config import DataConfig
from clip_rl_training.losses.loss_config import LossConfig
from clip_rl_training.shipped_configs import find_config
from clip_rl_training.typed_config import apply_overrides, check_number, load_layers

LoggerName = Literal["tensorboard", "wandb", "mlflow"]

_RETIRED = (
    "model.refiner", "reinforce", "rewards", "corruption", "optimizer.refiner_factor", "curriculum.rl_weight",
    "curriculum.refine_steps", "curriculum.entropy", "curriculum.corruption",
)  # fmt: skip
"""Keys of earlier versions, whose configurations are told what to leave out."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) and the average of the weights."""

    learning_rate: float = 1e-3
    """Peak; the curriculum's `learning_rate` multiplies it."""
    encoder_factor: float = 1.0
    """Factor on the learning rate of the image encoder; below 1 for a pretrained one."""
    text_factor: float = 0.1
    """Factor on the learning rate of the text encoder: too large a rate makes all its embeddings alike."""
    weight_decay: float = 0.05
    """Applied to matrices and kernels, not to biases, norms and scalars."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Adam's moments."""
    clip: float = 1.0
    """Largest norm of the gradient of the network; 0 clips nothing."""
    average: float = 0.998
    """Decay of the exponential moving average of the weights that is validated and shipped; 0 keeps no average."""
    hold_norms: bool = False
    """Batch norms use and keep the statistics that the weights begin with. For weights that were added up or retuned:
    measured anew on drawn scenes, they undo what was chosen."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "encoder_factor", "text_factor", "weight_decay", "clip"):
            check_number(f"optimizer.{name}", getattr(self, name), least=0.0)
        check_number("optimizer.average", self.average, least=0.0, below=1.0)
        for beta in self.betas:
            check_number("optimizer.betas", beta, least=0.0, below=1.0)


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """Scenes that are never trained on."""

    every: int = 500
    """Steps between validations; one more comes at the end. The best one's weights are kept. 0 validates never."""
    frames: int = 64
    """Stills per validation."""
    pictures: int = 6
    """Stills drawn onto the contact sheet, spread over all."""
    close_ups: int = 100
    """Close-ups on which the model card's naming is measured, as by `clip-rl naming`, where types are trained on
    synthetic scenes; 0 measures none."""
    classifier_scenes: int = 0
    """Synthetic scenes of surgery that the classifier of frames is fitted on at the end, as by `clip-rl validity fit`,
    beside drawn pictures and those that installed packages ship; 0 fits none."""
    tag_videos: int = 0
    """Synthetic videos on which the model card's tags are measured, as by `clip-rl eval --video`; 0 measures none."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    name: str
    """Name of the run: its folder below `out`."""
    model: SegmenterConfig
    """The network."""
    steps: int
    """Optimiser steps; the curriculum stretches over them. 0, with `start_from`: its weights are calibrated, scored and
    written as they are."""
    batch: int = 8
    """Images per step and process."""
    note: str = ""
    """What the model card is to say about this run beyond its numbers, for example that it was warm-started."""
    start_from: str | None = None
    """Weights to begin with: a checkpoint by path or shipped name, or the ``state.pt`` of another run (its averaged
    weights), or the average of several, ``0.7*A + 0.3*B``, or their sum, ``A + B + -1*C``. Its network must be the
    same. Optimiser and curriculum start anew; None: random or pretrained towers."""
    close_ups_of: str | None = None
    """Checkpoint whose branch for close-ups is taken as it is, after trainings that left it behind; it must have first
    layers of its own, which what masks learned since does not touch."""
    saturation: float = 1.0
    """With `start_from`: colours look so many times as strong to the network as they are, which its first convolution
    takes in (`loop.input_filters`); 1: as they are."""
    sharpness: float = 0.0
    """With `start_from`: so much of a picture's detail is added to it, likewise; 0: none."""
    gains: dict[str, float] = dataclasses.field(default_factory=dict)
    """With `start_from`: batch norms count so many times as much, by name (`loop.norm_gains`)."""
    out: Path = Path("out/train")
    """Parent of the run's folder."""
    seed: int = 0
    """Seed of weights, scenes and augmentation."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "auto"] = "32-true"
    """Lightning Fabric's precision; auto: half where the device computes in it (`loop.fabric`)."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    devices: int = 1
    """Processes, one device each."""
    channels_last: bool = True
    """Memory layout of the convolutions."""
    threads: int = 0
    """CPU threads of torch; 0 leaves its default."""
    save_every: int = 200
    """Steps between resumable states."""
    log_every: int = 20
    """Steps between progress lines and logged values."""
    loggers: tuple[LoggerName, ...] = ("tensorboard",)
    """Where values go beside metrics.csv; what is not installed is told and left out. wandb and mlflow are reached by
    the loggers of the package lightning."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    classifier: Literal["text", "learned"] = "text"
    """``learned``: the control without text, a free vector per class in place of its text's embedding. Such a network
    knows its classes alone and is not written as a checkpoint."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    curriculum: Curriculum = dataclasses.field(default_factory=Curriculum)
    validation: ValidationConfig = dataclasses.field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        # With weights to begin with, none may be learned: what was averaged or added up is calibrated and written.
        steps = 0 if self.start_from else 1
        numbers = {"steps": steps, "batch": 1, "save_every": 1, "log_every": 1, "devices": 1, "threads": 0, "seed": 0}
        for name, least in numbers.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not self.name.strip(". ") or {*self.name} & {*"/\\"}:
            raise ValueError(f"name is '{self.name}'; expected the name of a folder below `out`, without / or \\")
        self._check_close_ups()
        if self.close_ups_of is not None and self.start_from is None:
            raise ValueError("close_ups_of goes with start_from: it gives weights the branch that they lack")
        if self.retuned and self.start_from is None:
            raise ValueError("saturation, sharpness and gains go with start_from: random weights have nothing to tune")
        distillation = self.losses.distillation
        if distillation < 0 or (distillation and (self.start_from is None or self.classifier != "text")):
            raise ValueError(
                f"losses.distillation is {distillation}; expected at least 0, and above it start_from (weights "
                "that teach) and classifier text"
            )

    @property
    def retuned(self) -> bool:
        """Whether weights are changed before anything is learned."""
        return self.saturation != 1.0 or self.sharpness != 0.0 or any(gain != 1.0 for gain in self.gains.values())

    def _check_close_ups(self) -> None:
        data = self.data
        if data.close_up_batch < 0 or any(side < 32 or side % 32 for side in data.close_up_size):
            raise ValueError(
                f"data.close_up_batch {data.close_up_batch} of size {data.close_up_size}: expected at least 0 images, "
                "with sides that are multiples of 32"
            )
        if data.close_up_batch and (data.source == "dataset" or "endovis2018-type" not in data.label_spaces):
            raise ValueError(
                "data.close_up_batch needs synthetic or rendered scenes and endovis2018-type among data.label_spaces"
            )


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a preset by name or a YAML file by path, with ``key=value`` overrides.

    ``base: NAME`` in a file takes another one and lays the file's own keys over it, mappings key by key.

    Raises:
        ConfigError: no such preset or file, unknown keys, wrong types; the message says which.
    """
    path = find_config(name_or_path)
    return config_from_data(apply_overrides(load_layers(path, find_config), overrides), path.name)


def config_from_data(data: Any, source: str) -> TrainConfig:
    """Build a `TrainConfig` from plain data; raises `ConfigError` that begins with `source`."""
    found = [key for key in _RETIRED if _has(data, key)]
    if found:
        raise ConfigError(
            f"{source}: {', '.join(found)}: of the refiner that edited log-probabilities, which is no more; leave "
            f"{'them' if len(found) > 1 else 'it'} out"
        )
    return from_data(TrainConfig, data, source)


def _has(data: Any, key: str) -> bool:
    """Whether plain data holds ``section.key``."""
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
