"""What is compared, as one typed dataclass read from YAML; presets lie in ``configs/compare``.

    name: davinci-scenes
    title: Leave one scene out
    train: {...}                      # a training configuration (docs/training.md) without name, out and data.root
    folds: [{name: scene_c, test: [scene_c]}]             # sequences; all others of the dataset are trained on
    seeds: [0, 1, 2]
    runs:
      - {name: clip-rl}
      - {name: unet-resnet18, peer: unet-resnet18, set: {optimizer: {learning_rate: 0.001}}}
      - {name: rl, refines: clip-rl, set: {steps: 200}}        # trains a refiner alone, on that run's segmenter

``base: NAME`` in a file takes another preset and lays the file's own keys over it, mappings key by key; null takes a
key of the base away.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.model.peer_networks import peer_names
from clip_rl_perception.typed_data import ConfigError, from_data

from clip_rl_training.corruptions import CORRUPTIONS
from clip_rl_training.loop.start_from import fingerprint
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
class RunConfig:
    """One contender: CLIP-RL, a control of it, or a peer."""

    name: str
    """What it is called in tables and folders."""
    peer: str | None = None
    """Name of a peer network; None: CLIP-RL."""
    refines: str | None = None
    """Name of an earlier run of CLIP-RL whose encoder and decoder are taken as they are: only the refiner is trained.
    They get no gradient from it in any case, so nothing is lost and controls of the refiner cost little."""
    refiner_of: str | None = None
    """Name of an earlier run that refines the same network: this one's refiner starts as that one, which with
    `reinforce.kl_weight` is also the policy to stay close to."""
    same_as: str | None = None
    """Name of an earlier run whose trained network is measured again, with other `refine_steps` or `keep_margin`."""
    set: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Laid over the common training configuration."""
    only: tuple[str, ...] = ()
    """Sequences of the fold's training sequences to train on; empty: all of them."""
    without: tuple[str, ...] = ()
    """Sequences of the fold's training sequences to leave out, for example for a refiner that is to learn from errors
    made on scenes that its network has not seen."""
    refine_steps: int | None = None
    """Refinement steps at evaluation; None: as many as the network was made for; 0: the decoder alone."""
    keep_margin: float = 0.0
    """Added to the logit of the keep action at evaluation: the policy edits only where it is clearly for it."""
    note: str = ""
    """What the table says of it."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How every contender is measured."""

    tau: float = 3.0
    """Tolerance of the NSD, px of the network's view."""
    video: bool = False
    """Also measure with frames following each other: the refiner may recall the previous one; temporal consistency."""
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
        earlier: dict[str, RunConfig] = {}
        for run in self.runs:
            if run.peer is not None and run.peer not in peer_names():
                raise ValueError(f"run '{run.name}': no peer '{run.peer}'; there are {', '.join(peer_names())}")
            below = earlier.get(run.refines or "")
            if run.refines is not None and (run.peer or below is None or below.peer or below.refines or below.same_as):
                raise ValueError(
                    f"run '{run.name}': refines is '{run.refines}'; expected an earlier run of a whole CLIP-RL network"
                )
            start = earlier.get(run.refiner_of or "")
            if run.refiner_of is not None and (run.refines is None or start is None or start.refines != run.refines):
                raise ValueError(
                    f"run '{run.name}': refiner_of is '{run.refiner_of}'; expected an earlier run, and both refine the "
                    "same network"
                )
            twin = earlier.get(run.same_as or "")
            if run.same_as is not None and (
                run.peer or run.refines or run.set or run.only or run.without or twin is None or twin.same_as
            ):
                raise ValueError(
                    f"run '{run.name}': same_as is '{run.same_as}'; expected an earlier run that trains, and no peer, "
                    "refines, set, only or without beside it"
                )
            earlier[run.name] = run
        wanted = [*(name for pair in self.tests for name in pair), *([self.reference] if self.reference else [])]
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise ValueError(f"tests and reference name runs {', '.join(unknown)}; there are {', '.join(names)}")
        strange = sorted(set(self.evaluation.corruptions) - set(CORRUPTIONS))
        if strange:
            raise ValueError(f"no corruptions {', '.join(strange)}; there are {', '.join(CORRUPTIONS)}")


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
    train = training_sequences(config, job, sequences)
    data = overlaid(config.train, job.run.set)
    fixed: dict[str, Any] = {
        "name": job.key,
        "out": str(out),
        "seed": job.seed,
        "data": {
            "source": "dataset",
            "root": str(root),
            "dataset": {"train": {"sequences": list(train)}, "test": {"sequences": list(job.fold.test)}},
        },
        "validation": {"every": 0},
    }
    if _ignores_start(job.run):
        fixed["start_from"] = None
    return config_from_data(overlaid(data, fixed), f"{config.name}: run '{job.run.name}'")


def _ignores_start(run: RunConfig) -> bool:
    """The network that is refined is the earlier run's, and a peer's is another one."""
    return bool(run.refines or run.peer)


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


def trained_by(config: CompareConfig, job: Job) -> Job:
    """The job that trains the network of `job`: itself unless its run says `same_as`."""
    return dataclasses.replace(job, run=run_named(config, job.run.same_as)) if job.run.same_as else job


def run_named(config: CompareConfig, name: str) -> RunConfig:
    """The run called `name`."""
    return next(run for run in config.runs if run.name == name)


def training_digest(config: CompareConfig, job: Job, sequences: Sequence[str]) -> str:
    """Tells networks apart that were trained another way; where files lie does not enter.

    Raises:
        TrainError: weights to begin with are not there.
    """
    job = trained_by(config, job)
    train = overlaid(config.train, job.run.set)
    if train.get("start_from"):
        start = None if _ignores_start(job.run) else fingerprint(str(train["start_from"]))
        train = {**train, "start_from": start}
    data: dict[str, Any] = {
        "train": train,
        "peer": job.run.peer,
        "fold": [sorted(job.fold.test), sorted(training_sequences(config, job, sequences))],
        "seed": job.seed,
    }
    for key, name in (("refines", job.run.refines), ("refiner_of", job.run.refiner_of)):
        if name:
            data[key] = training_digest(config, dataclasses.replace(job, run=run_named(config, name)), sequences)
    return _digest(data)


def measuring_digest(config: CompareConfig, job: Job) -> str:
    """Tells measurements of one network apart."""
    own = {"steps": job.run.refine_steps, "margin": job.run.keep_margin}
    return _digest({"evaluation": dataclasses.asdict(config.evaluation), **own})


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def load_compare_config(name_or_path: str, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a preset by name or a YAML file by path, with ``key=value`` overrides.

    Raises:
        ConfigError: no such preset or file, unknown keys, wrong types; the message says which.
    """
    find = functools.partial(find_config, folder=FOLDER, what="comparison")
    path = find(name_or_path)
    return from_data(CompareConfig, apply_overrides(load_layers(path, find), overrides), path.name)
