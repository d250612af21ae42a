"""What tells networks of a comparison apart, and their measurements: whether what is kept is what is asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import resolve_checkpoint
from clip_rl_perception.sources.truth_label_map import label_map_digest

from clip_rl_training.comparing.comparison_config import (
    CompareConfig,
    Job,
    network_of,
    on_scenes,
    train_config,
    training_sequences,
)
from clip_rl_training.data.data_config import OWN_CLASSES
from clip_rl_training.loop.start_from import fingerprint
from clip_rl_training.typed_config import overlaid


def training_digest(config: CompareConfig, job: Job, sequences: Sequence[str], *, before: bool = False) -> str:
    """Tells networks apart that were trained another way; where files lie does not enter.

    What those that learned from drawn scenes are tested on does not either, but did `before`; what a label map's file
    says does, but did not.

    Raises:
        TrainError, CheckpointError: weights to begin with, or a checkpoint to measure, are not there.
    """
    job = network_of(config, job)
    if job.run.checkpoint:
        return _digest({"checkpoint": fingerprint(str(resolve_checkpoint(job.run.checkpoint)))})
    scenes = on_scenes(config)
    train = overlaid(config.train, job.run.set)
    if scenes:
        left_out = ("root",) if before else ("root", "dataset")
        train["data"] = {name: value for name, value in train["data"].items() if name not in left_out}
    if train.get("start_from"):
        start = None if job.run.peer or job.run.begins else fingerprint(str(train["start_from"]))
        train = {**train, "start_from": start}
    data = {
        "train": train,
        "peer": job.run.peer,
        "fold": [
            [] if scenes and not before else sorted(job.fold.test),
            [] if scenes else sorted(training_sequences(config, job, sequences)),
        ],
        "seed": job.seed,
    }
    if job.run.begins:
        data["begins"] = job.run.begins
    label_map = str(train.get("data", {}).get("dataset", {}).get("label_map") or "")
    if not before and not scenes and Path(label_map).is_file():  # the name does not tell what it says
        data["label_map"] = label_map_digest(label_map)
    return _digest(data)


def measuring_digest(config: CompareConfig, job: Job, *, before: bool = False) -> str:
    """Tells measurements of one network apart: how it is measured, and on what.

    `before`, what it is measured on was told of networks alone that learned from drawn scenes, and label maps by name.
    """
    data = dataclasses.asdict(config.evaluation)
    data |= {"looks": dataclasses.asdict(job.run.looks)} if job.run.looks else {}
    if not before:
        data |= {"tested": _tested(config, job)}
    elif on_scenes(config):  # the same network may be tested on several data sets
        data |= {"tested": [config.train["data"].get("dataset"), sorted(job.fold.test)]}
    data |= {"passes": 1} if config.evaluation.video else {}  # there were two, the second as video
    return _digest(data)


def measured_before(config: CompareConfig, job: Job) -> str | None:
    """The digest that a measurement had `before`; None where it leaves open what was measured on.

    Of a trained network `training_digest` tells the rest, but for what files say.
    """
    train = train_config(config, job, Path(), Path(), ())
    named = [train.data.dataset.label_map, *train.data.label_spaces]
    if network_of(config, job).run.checkpoint or any(name and Path(name).is_file() for name in named):
        return None
    return measuring_digest(config, job, before=True)


def _tested(config: CompareConfig, job: Job) -> dict[str, Any]:
    """The frames of a job as its network sees them, and their truth; where files lie does not enter."""
    train = train_config(config, job, Path(), Path(), ())
    dataset = train.data.dataset
    spaces = [
        [[each.name, each.prompts, each.instrument] for each in load_label_space(name).classes]
        for name in train.data.label_spaces
        if name != OWN_CLASSES
    ]
    return {
        "dataset": dataset.name,
        "split": dataset.test.split if dataset.test else None,
        "sequences": sorted(job.fold.test),
        "crop_content": dataset.crop_content,
        "label_map": label_map_digest(dataset.label_map) if dataset.label_map else None,
        "input_size": train.model.input_size,
        "label_spaces": spaces,
    }


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
