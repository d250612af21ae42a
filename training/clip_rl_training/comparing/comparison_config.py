"""What is compared, as one typed dataclass read from YAML; presets lie in ``configs/compare``.

    name: davinci-scenes
    title: Leave one scene out
    train: {...}                      # a training configuration (docs/training.md) without name, out and data.root
    folds: [{name: scene_c, test: [scene_c]}]             # sequences; all others of the dataset are trained on
    seeds: [0, 1, 2]
    runs:
      - {name: clip-rl}
      - {name: unet-resnet18, peer: unet-resnet18, set: {optimizer: {learning_rate: 0.001}}}

``base: NAME`` in a file takes another preset and lays the file's own keys over it, mappings key by key; null takes a
key of the base away.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from clip_rl_perception.looks.look import MIRRORS, looks_named
from clip_rl_perception.model.peer_networks import peer_names
from clip_rl_perception.typed_data import ConfigError, from_data

from clip_rl_training.corruptions import CORRUPTIONS
from clip_rl_training.loop.training_config import TrainConfig, config_from_data
from clip_rl_training.shipped_configs import find_config
from clip_rl_training.typed_config import apply_overrides, load_layers, overlaid

FOLDER = "compare"
"""Of the shipped comparisons."""


@dataclasses.dataclass(frozen=True)
class FoldConfig:
    """One division of the sequences."""

    name: str
    """What it is called in tables and folders."""
    test: tuple[str, ...]
    """Sequences to test on."""
    train: tuple[str, ...] = ()
    """Sequences to train on; empty: all others."""


@dataclasses.dataclass(frozen=True)
class LooksConfig:
    """How a contender spends looks, as the pipeline does on a stream; with `evaluation.video` earlier frames count."""

    views: Literal[1, 2, 4] = 1
    """Looks at each frame."""
    memory: bool = True
    """Let looks at earlier frames count where they still fit."""
    turn: tuple[str, ...] = tuple(look.name for look in MIRRORS)
    """Looks at the whole frame by name, taken in turn (`looks.look`)."""

    def __post_init__(self) -> None:
        if len(looks_named(self.turn)) < self.views:
            raise ValueError(f"turn is {list(self.turn)}; expected at least {self.views}, so many are views a frame")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One contender: CLIP-RL, a control of it, a checkpoint as it is, or a peer."""

    name: str
    """What it is called in tables and folders."""
    peer: str | None = None
    """Name of a peer network; None: CLIP-RL."""
    of: str | None = None
    """Run whose trained network this one takes, to look otherwise; None: its own."""
    checkpoint: str | None = None
    """Checkpoint by path or shipped name that is measured as it is; None: the run trains."""
    begins: str | None = None
    """Trained network of another comparison that it begins with, as ``FOLDER/JOB`` below ``out/compare``, for example
    ``synthetic-peers/unet-resnet18-all-0``; None: random weights, or `set.start_from`."""
    looks: LooksConfig | None = None
    """How it looks at frames; None: one plain look at each frame alone. Of peers none."""
    set: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Laid over the common training configuration."""
    only: tuple[str, ...] = ()
    """Sequences of the fold's training sequences to train on; empty: all of them."""
    without: tuple[str, ...] = ()
    """Sequences of the fold's training sequences to leave out."""
    note: str = ""
    """What the table says of it."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How every contender is measured."""

    tau: float = 3.0
    """Tolerance of the NSD, px of the network's view."""
    video: bool = False
    """Frames follow each other: earlier looks of runs with `looks` count, temporal consistency is measured, and
    `corruption_frames` are the first ones of each sequence, whose damage stays."""
    block: int = 25
    """Consecutive frames of a sequence that count as one observation in tests of significance."""
    corruption_frames: int = 0
    """Frames per fold for the corruption benchmark, spread evenly; 0: no benchmark."""
    corruptions: tuple[str, ...] = ()
    """Corruptions of it; empty: all."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities of it."""


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """One comparison."""

    name: str
    """Name of the comparison: of its report and of its folder below ``out/compare`` unless `folder` says otherwise."""
    title: str
    """Headline of the report."""
    train: dict[str, Any]
    """The common training configuration, without name, out and data.root."""
    folds: tuple[FoldConfig, ...]
    """Divisions of the sequences, in the order in which they are run."""
    runs: tuple[RunConfig, ...]
    """Contenders, in the order of the tables."""
    seeds: tuple[int, ...] = (0,)
    """Each gives every contender new weights and new batches, the same batches to all of one seed."""
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    tests: tuple[tuple[str, str], ...] = ()
    """Pairs of runs whose difference is tested, first minus second."""
    reference: str | None = None
    """Run to which mean corruption errors are relative."""
    about: str = ""
    """What the report says before its tables."""
    folder: str | None = None
    """Folder below ``out/compare``; comparisons that share one share the runs that they have in common."""

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        for what, values in (("runs", names), ("folds", [fold.name for fold in self.folds]), ("seeds", self.seeds)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{what} are {list(values)}; expected at least one, none twice")
        for run in self.runs:
            if run.peer is not None and run.peer not in peer_names():
                raise ValueError(f"run '{run.name}': no peer '{run.peer}'; there are {', '.join(peer_names())}")
            self._check_network(run)
        wanted = [*(name for pair in self.tests for name in pair), *([self.reference] if self.reference else [])]
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise ValueError(f"tests and reference name runs {', '.join(unknown)}; there are {', '.join(names)}")
        strange = sorted(set(self.evaluation.corruptions) - set(CORRUPTIONS))
        if strange:
            raise ValueError(f"no corruptions {', '.join(strange)}; there are {', '.join(CORRUPTIONS)}")

    def _check_network(self, run: RunConfig) -> None:
        """Raise `ValueError` where a run says twice, or not at all, what network it measures."""
        taken = next((other for other in self.runs if other.name == run.of), None)
        if run.of is not None and (taken is None or taken.of is not None):
            own = ", ".join(other.name for other in self.runs if other.of is None)
            raise ValueError(f"run '{run.name}': of is '{run.of}'; expected a run with a network of its own: {own}")
        trains = bool(run.set or run.only or run.without or run.begins)
        said = [name for name, value in (("peer", run.peer), ("of", run.of), ("checkpoint", run.checkpoint)) if value]
        if len(said) > 1 or (trains and (run.of or run.checkpoint)):
            raise ValueError(
                f"run '{run.name}': {' and '.join([*said, 'what it trains on'] if trains else said)} say what it is; "
                "expected one of peer, of, checkpoint, and set, only, without of networks that are trained"
            )
        begins = Path(run.begins or ".")
        if begins.is_absolute() or ".." in begins.parts or (run.begins and run.set.get("start_from")):
            raise ValueError(
                f"run '{run.name}': begins is '{begins}'; expected FOLDER/JOB of another comparison below "
                "out/compare, and no start_from beside it"
            )
        if run.looks is not None and (run.peer or (taken is not None and taken.peer)):
            raise ValueError(f"run '{run.name}': looks are CLIP-RL's; a peer has one plain look at each frame")


@dataclasses.dataclass(frozen=True)
class Job:
    """One contender on one fold with one seed."""

    run: RunConfig
    fold: FoldConfig
    seed: int

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.run.name}-{self.fold.name}-{self.seed}"


def jobs_of(config: CompareConfig) -> list[Job]:
    """Every job, in the order in which they are run: by seed, then fold, then run."""
    return [Job(run, fold, seed) for seed in config.seeds for fold in config.folds for run in config.runs]


def network_of(config: CompareConfig, job: Job) -> Job:
    """The job whose network a job measures: itself, or that of the run which it is `of`."""
    of = job.run.of
    return job if of is None else dataclasses.replace(job, run=next(run for run in config.runs if run.name == of))


def on_scenes(config: CompareConfig) -> bool:
    """Whether networks are trained on drawn scenes, and frames of the dataset are for tests alone."""
    return str(config.train.get("data", {}).get("source", "dataset")) != "dataset"


def train_config(config: CompareConfig, job: Job, root: Path, out: Path, sequences: Sequence[str]) -> TrainConfig:
    """The training configuration of a job.

    Args:
        config: the comparison.
        job: of it.
        root: folder that holds the dataset.
        out: parent of the jobs' folders.
        sequences: all sequences of the dataset.

    Raises:
        ConfigError: names the run and what is wrong with its configuration.
    """
    job = network_of(config, job)
    test = {"sequences": list(job.fold.test)}
    data = overlaid(config.train, job.run.set)
    fixed: dict[str, Any] = {
        "name": job.key,
        "out": str(out),
        "seed": job.seed,
        "data": {"dataset": {"test": test}},
        "validation": {"every": 0},
    }
    if not on_scenes(config):
        train = {"sequences": list(training_sequences(config, job, sequences))}
        fixed["data"] = {"source": "dataset", "root": str(root), "dataset": {"train": train, "test": test}}
    if job.run.peer or job.run.checkpoint or job.run.begins:  # it is another network
        fixed |= {"start_from": None, "close_ups_of": None}
    return config_from_data(overlaid(data, fixed), f"{config.name}: run '{job.run.name}'")


def training_sequences(config: CompareConfig, job: Job, sequences: Sequence[str]) -> tuple[str, ...]:
    """What a job trains on, in the dataset's order.

    Raises:
        ConfigError: the run's `only` or `without` names what the fold does not train on, or nothing is left.
    """
    offered = job.fold.train or tuple(name for name in sequences if name not in job.fold.test)
    run = job.run
    if not sequences:  # the dataset is not known yet
        return offered
    strange = sorted({*run.only, *run.without} - set(offered))
    left = tuple(name for name in offered if name not in run.without and (not run.only or name in run.only))
    if strange or not left:
        raise ConfigError(
            f"{config.name}: run '{run.name}' takes only {list(run.only)} without {list(run.without)}; fold "
            f"'{job.fold.name}' trains on {', '.join(offered)}"
        )
    return left


def load_compare_config(name_or_path: str, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a preset by name or a YAML file by path, with ``key=value`` overrides.

    Raises:
        ConfigError: no such preset or file, unknown keys, wrong types; the message says which.
    """
    find = functools.partial(find_config, folder=FOLDER, what="comparison")
    path = find(name_or_path)
    return from_data(CompareConfig, apply_overrides(load_layers(path, find), overrides), path.name)
