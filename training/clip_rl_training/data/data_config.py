"""Where a training run's images come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from clip_rl_training.synthetic.scene_config import SceneConfig


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
    """Label map by name or file; for ``folder`` only, which needs one."""
    train: PartConfig = dataclasses.field(default_factory=PartConfig)
    """Sequences to train on."""
    validation: PartConfig | None = None
    """Sequences to validate and calibrate on; None: training frames stand for them."""
    test: PartConfig | None = None
    """Sequences for the scores in the model card; None: those of `validation`."""
    crop_content: bool = True
    """Find the content area in every frame and crop to it, as the pipeline does; else whole frames are shown."""


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
    """Relative frequency of the label spaces; each batch is labelled in one. The first is validated and shipped."""
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
