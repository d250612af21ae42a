"""Where a training run's images come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.typed_config import check_number

OWN_CLASSES = "dataset"
"""In `DataConfig.label_spaces`: the classes of the data set itself."""


@dataclasses.dataclass(frozen=True)
class PartConfig:
    """Part of a dataset, whole sequences."""

    split: str = "all"
    """Split of the dataset; see docs/evaluation.md."""
    sequences: tuple[str, ...] = ()
    """Of that split only these sequences; empty: all."""


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which real dataset, and which of its sequences for what."""

    name: str = "folder"
    """As in ``clip-rl eval --dataset``."""
    label_map: str | None = None
    """Label map or label space by name or file; for ``folder``, whose masks need none where they hold 0 and 1 or 0 and
    255."""
    train: PartConfig = dataclasses.field(default_factory=PartConfig)
    """Sequences to train on."""
    validation: PartConfig | None = None
    """Sequences to validate and calibrate on; None: training frames stand for them."""
    hold_out: float = 0.0
    """Share of the frames of `train` to validate on instead, where no `validation` is named: whole sequences, or frames
    of the only one."""
    test: PartConfig | None = None
    """Sequences for the scores in the model card; None: those of `validation`."""
    crop_content: bool = True
    """Find the content area in every frame and crop to it, as the pipeline does; else whole frames are shown."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.hold_out < 1.0:
            raise ValueError(f"hold_out is {self.hold_out}; expected a share from 0 to below 1, for example 0.2")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from."""

    source: Literal["synthetic", "rendered", "dataset"] = "synthetic"
    """``synthetic``: scenes drawn while training, every one unseen; ``rendered``: scenes drawn ahead to `root`;
    ``dataset``: frames of the `dataset` under `root`."""
    root: Path = Path("out/synth")
    """Folder of rendered scenes, filled up to `stills` before training begins; or the folder that holds the dataset."""
    dataset: DatasetConfig = dataclasses.field(default_factory=DatasetConfig)
    """Of source ``dataset``."""
    cache_mb: int = 0
    """Decoded frames of a dataset that each loading process keeps in memory, MiB."""
    stills: int = 4000
    """Scenes to render ahead."""
    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    """Ranges of the synthetic scenes."""
    label_spaces: dict[str, float] = dataclasses.field(default_factory=lambda: {"endovis2018-type": 1.0})
    """Relative frequency of the label spaces, by name or file; ``dataset`` means the data set's own classes. Each batch
    is labelled in one. The first is validated and shipped; those of frequency 0 are left out."""
    workers: int = 1
    """Processes that load and augment images."""
    close_ups: float = 0.0
    """Share of the synthetic training scenes replaced by a close-up of one instrument, captioned by its type."""
    close_up_batch: int = 0
    """Close-ups per process in a batch of their own; the curriculum's `close_up_steps` says how often there is one."""
    close_up_stills: int = 4000
    """Close-ups for such batches to draw ahead, of source ``rendered``."""
    close_up_size: tuple[int, int] = (128, 128)
    """(H, W) of close-ups in such a batch, px, multiples of 32; naming is measured at this size."""
    synonyms: str | None = None
    """File of other names for classes, shipped (``train``) or a path: every step draws one prompt per class from the
    class's own and these, so that the text tower learns names and not labels."""
    seed_offset: int = 0
    """First index of the training scenes; validation and test scenes have their own ranges of indices."""

    def __post_init__(self) -> None:
        for name in ("cache_mb", "stills", "workers", "close_up_stills", "seed_offset"):
            check_number(f"data.{name}", getattr(self, name), least=0)
        check_number("data.close_ups", self.close_ups, least=0.0, most=1.0)
        if any(weight < 0 for weight in self.label_spaces.values()) or not any(self.label_spaces.values()):
            raise ValueError("label_spaces must name at least one label space with a frequency above 0, none below 0")
        if OWN_CLASSES in self.label_spaces and self.source != "dataset":
            raise ValueError(f"label_spaces names '{OWN_CLASSES}', which only source: dataset has")
        used = {name: weight for name, weight in self.label_spaces.items() if weight > 0}
        object.__setattr__(self, "label_spaces", used)
