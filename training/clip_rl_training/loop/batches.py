"""The stream of training images: sample i is a function of (seed, i) alone, so a resumed run sees what it would have.

Step s of process r of n uses samples ``(s n + r) B .. (s n + r + 1) B - 1``. What depends on the curriculum (severity
of the augmentation, resolution) follows from the step, hence from the index too. Some steps show close-ups in place of
scenes; they are numbered alike, with a batch size of their own. Loading and augmenting run in worker processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clip_rl_training.curriculum import CurriculumPoint
from clip_rl_training.data.augment import augment, plain_view
from clip_rl_training.data.dataset_parts import label_spaces, open_parts, told
from clip_rl_training.data.dataset_stills import DatasetStills
from clip_rl_training.data.difficulty import candidates, difficulty
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.data.samples import (
    CLOSE_UP,
    TEST,
    TRAINING,
    VALIDATION,
    CloseUpStills,
    DataError,
    DatasetFrame,
    Stills,
    labels_in,
    tip_labels,
)
from clip_rl_training.data.scene_sources import CloseUps, DrawnStills, RenderedStills, render_ahead
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame

_VIEW, _SPACE, _KIND, _CLOSE_VIEW = range(1, 5)
"""What is drawn: part of the seeds, beside what `scene_generator` draws."""

_CLOSE_UP_SPACE = "endovis2018-type"
_CLOSE_UP_VIEW: dict[str, Any] = {"scale": (0.85, 1.25), "whole_frame": 0.0, "rotation": 180.0, "upside_down": 0.5}
"""How close-ups are augmented otherwise than scenes: they are cut closely already, and have no above and below."""

_FAR = 1_000_003
"""Distance of candidates for one sample: prime, and longer than any training, so that none is shown by another."""


class _Sample(NamedTuple):
    image: Tensor
    labels: Tensor
    caption: str
    space: str
    close_up: bool = False


class _Key(NamedTuple):
    number: int
    close_up: bool


def open_stills(config: TrainConfig, rank: int, say: Callable[[str], None]) -> Stills:
    """The source that `config.data` names; rank 0 draws what is missing."""
    data, held_out = config.data, config.validation.frames
    if data.source == "dataset":
        parts = open_parts(data.dataset, data.root)
        for line in told(parts):
            say(line)
        return DatasetStills(
            parts,
            label_spaces(data),
            seed=config.seed,
            crop_content=data.dataset.crop_content,
            cache_bytes=data.cache_mb << 20,
        )
    if data.source == "synthetic":
        return _with_close_ups(DrawnStills(config.seed, data.scene), config)
    if rank == 0:
        counts = {VALIDATION: held_out, TEST: held_out, TRAINING: data.stills}
        counts |= {CLOSE_UP: data.close_up_stills} if data.close_up_batch > 0 else {}
        render_ahead(data.root, counts, seed=config.seed, scene=data.scene, workers=max(1, data.workers), say=say)
    rendered = RenderedStills(
        data.root, seed=config.seed, training=data.stills, close_ups=data.close_up_stills * (data.close_up_batch > 0)
    )
    return _with_close_ups(rendered, config)


def _with_close_ups(scenes: DrawnStills | RenderedStills, config: TrainConfig) -> Stills:
    return CloseUps(scenes, config.data.close_ups, seed=config.seed) if config.data.close_ups > 0 else scenes


class TrainingStream(Dataset[_Sample]):
    """Map from sample index to an augmented sample."""

    def __init__(self, config: TrainConfig, stills: Stills, *, processes: int = 1) -> None:
        self._config = config
        self._stills = stills
        self._per_step = config.batch * processes
        names = list(config.data.label_spaces)
        weights = np.array([config.data.label_spaces[name] for name in names])
        self._spaces = names
        self._shares = weights / weights.sum()

    def at(self, index: int) -> CurriculumPoint:
        """The curriculum at the step to which sample `index` belongs."""
        return self._config.curriculum.at(index // self._per_step, self._config.steps)

    def __getitem__(self, index: int) -> _Sample:
        config, step = self._config, index // self._per_step
        point = self.at(index)
        choice = np.random.default_rng([config.seed, _SPACE, step])
        space = str(choice.choice(self._spaces, p=self._shares))
        frame = self._scene(index, space, point.difficulty)
        image, labels = augment(
            frame.rgb,
            labels_in(frame, space),
            frame.content,
            size=scaled_size(config.model.input_size, point.resolution),
            rng=np.random.default_rng([config.seed, TRAINING, _VIEW, index]),
            config=config.augment,
            severity=point.augmentation,
        )
        return _Sample(_planes(image), torch.from_numpy(labels), frame.caption, space)

    def _scene(self, index: int, space: str, level: float) -> SyntheticFrame | DatasetFrame:
        """Scene of a sample: number `index`, or the easiest of it and others far away in the stream."""
        first = index + self._config.data.seed_offset
        scenes = [self._stills.frame(TRAINING, first + place * _FAR) for place in range(candidates(level))]
        if len(scenes) == 1:
            return scenes[0]
        return min(scenes, key=lambda scene: difficulty(labels_in(scene, space)))


class CloseUpStream(Dataset[_Sample]):
    """Map from the index of a close-up to an augmented sample, its tip labelled by type."""

    def __init__(self, config: TrainConfig, stills: Stills, *, processes: int = 1) -> None:
        if not isinstance(stills, CloseUpStills):
            raise DataError(f"data.close_up_batch is {config.data.close_up_batch}, but these scenes have no close-ups")
        self._config = config
        self._stills: CloseUpStills = stills
        self._per_step = config.data.close_up_batch * processes
        self._augment = dataclasses.replace(config.augment, **_CLOSE_UP_VIEW)

    def __getitem__(self, index: int) -> _Sample:
        config = self._config
        frame = self._stills.close_up(index + config.data.seed_offset)
        image, labels = augment(
            frame.rgb,
            tip_labels(frame),
            frame.content,
            size=config.data.close_up_size,
            rng=np.random.default_rng([config.seed, TRAINING, _CLOSE_VIEW, index]),
            config=self._augment,
            severity=config.curriculum.at(index // self._per_step, config.steps).augmentation,
        )
        return _Sample(_planes(image), torch.from_numpy(labels), frame.caption, _CLOSE_UP_SPACE, True)


def shows_close_ups(config: TrainConfig, step: int) -> bool:
    """Whether the batch of `step` is close-ups alone."""
    share = config.curriculum.at(step, config.steps).close_up_steps
    if config.data.close_up_batch == 0 or share <= 0:
        return False
    return bool(np.random.default_rng([config.seed, _KIND, step]).random() < share)


class _Streams(Dataset[_Sample]):
    """Scenes and close-ups behind one map."""

    def __init__(self, config: TrainConfig, stills: Stills, *, processes: int) -> None:
        self._scenes = TrainingStream(config, stills, processes=processes)
        wanted = config.data.close_up_batch > 0
        self._close_ups = CloseUpStream(config, stills, processes=processes) if wanted else None

    def __getitem__(self, key: _Key) -> _Sample:
        if key.close_up and self._close_ups is not None:
            return self._close_ups[key.number]
        return self._scenes[key.number]


class ValidationStills(Dataset[_Sample]):
    """Scenes seen as the pipeline shows them, without augmentation."""

    def __init__(self, config: TrainConfig, stills: Stills, *, split: int = VALIDATION) -> None:
        self._config = config
        self._stills = stills
        self._split = split
        self._space = next(iter(config.data.label_spaces))

    def __len__(self) -> int:
        available = self._stills.available(self._split)
        wanted = self._config.validation.frames
        return wanted if available is None else min(wanted, available)

    def __getitem__(self, index: int) -> _Sample:
        # Spread over the split: neighbouring frames of a video are nearly equal.
        step = (self._stills.available(self._split) or len(self)) / len(self)
        frame = self._stills.frame(self._split, int(index * step))
        image, labels = plain_view(
            frame.rgb, labels_in(frame, self._space), frame.content, size=self._config.model.input_size
        )
        return _Sample(_planes(image), torch.from_numpy(labels), frame.caption, self._space)


class _Steps(Sampler[list[_Key]]):
    """The samples of one process, step by step, from a step on."""

    def __init__(self, config: TrainConfig, *, first_step: int, last_step: int, rank: int, processes: int) -> None:
        self._config = config
        self._steps = range(first_step, last_step)
        self._rank = rank
        self._processes = processes

    def __iter__(self) -> Iterator[list[_Key]]:
        for step in self._steps:
            close_ups = shows_close_ups(self._config, step)
            count = self._config.data.close_up_batch if close_ups else self._config.batch
            first = (step * self._processes + self._rank) * count
            yield [_Key(index, close_ups) for index in range(first, first + count)]

    def __len__(self) -> int:
        return len(self._steps)


def training_batches(
    config: TrainConfig, stills: Stills, *, first_step: int, last_step: int, rank: int = 0, processes: int = 1
) -> DataLoader[_Sample]:
    """Batches of steps `first_step` to `last_step` - 1 of one process; iterating yields `Batch`."""
    sampler = _Steps(config, first_step=first_step, last_step=last_step, rank=rank, processes=processes)
    return DataLoader(
        _Streams(config, stills, processes=processes),
        batch_sampler=sampler,
        num_workers=config.data.workers,
        collate_fn=_collate,
        worker_init_fn=_quiet_worker,
        prefetch_factor=4 if config.data.workers else None,
    )


def validation_batches(config: TrainConfig, stills: Stills, *, split: int = VALIDATION) -> DataLoader[_Sample]:
    """All scenes of a split in order; iterating yields `Batch`."""
    return DataLoader(ValidationStills(config, stills, split=split), batch_size=config.batch, collate_fn=_collate)


def scaled_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """`size` times `factor`, rounded to multiples of 32, at least 64."""
    height, width = (max(64, round(value * factor / 32) * 32) for value in size)
    return height, width


def _collate(samples: list[_Sample]) -> Batch:
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.labels for sample in samples]).long(),
        tuple(sample.caption for sample in samples),
        samples[0].space,
        samples[0].close_up,
    )


def _planes(image: ByteArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _quiet_worker(_: int) -> None:
    """One thread per worker: loading must not fight with training for cores. Ctrl-C is the trainer's business."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
