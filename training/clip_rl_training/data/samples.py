"""The stream of training images: sample i is a function of (seed, i) alone, so a resumed run sees what it would have.

Step s of process r of n uses samples ``(s n + r) B .. (s n + r + 1) B - 1``. What depends on the curriculum (severity
of the augmentation, resolution) follows from the step, hence from the index too. Some steps show close-ups in place of
scenes; they are numbered alike, with a batch size of their own. Loading and augmenting run in worker processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clip_rl_training.curriculum import CurriculumPoint
from clip_rl_training.data.augment import augment, plain_view
from clip_rl_training.data.difficulty import candidates, difficulty
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.synthetic.drawing.rendered_frame import PART_SHAFT, SUCTION, SyntheticFrame

TRAINING, VALIDATION, TEST, CLOSE_UP = range(4)
"""Scenes never cross these: they enter the seed of every scene. The last are scenes for training on close-ups."""

_SCENE, _VIEW, _SPACE, _KIND, _CLOSE_VIEW = range(5)

_CLOSE_UP_SPACE = "endovis2018-type"
_CLOSE_UP_VIEW: dict[str, Any] = {"scale": (0.85, 1.25), "whole_frame": 0.0, "rotation": 180.0, "upside_down": 0.5}
"""How close-ups are augmented otherwise than scenes: they are cut closely already, and have no above and below."""

_FAR = 1_000_003
"""Distance of candidates for one sample: prime, and longer than any training, so that none is shown by another."""


class DataError(ClipRlError, ValueError):
    """Training data is not usable; the message names what and what was expected."""


class DatasetFrame(NamedTuple):
    """A labelled frame of a dataset."""

    rgb: ByteArray
    """uint8 (H, W, 3)."""
    ids: ByteArray
    """The dataset's own ids, uint8 (H, W), 255 = ignored."""
    tables: Mapping[str, ByteArray]
    """By label space: its ids by the dataset's, uint8 (256,)."""
    content: npt.NDArray[np.bool_]
    """Where the camera shows the patient, (H, W)."""
    caption: str
    """What the frame shows, in words."""


class Stills(Protocol):
    """A source of labelled scenes."""

    def frame(self, split: int, index: int) -> SyntheticFrame | DatasetFrame:
        """Scene number `index`, any int >= 0, of `TRAINING`, `VALIDATION` or `TEST`."""
        ...

    def available(self, split: int) -> int | None:
        """How many different scenes the split has; None: as many as are asked for."""
        ...


@runtime_checkable
class CloseUpStills(Protocol):
    """Stills of which close-ups can be had."""

    def close_up(self, index: int) -> SyntheticFrame:
        """Close-up number `index` for training, any int >= 0; its caption names the type alone."""
        ...


class Batch(NamedTuple):
    """What one training step sees."""

    images: Tensor
    """uint8 RGB, (B, 3, H, W)."""
    labels: Tensor
    """int64, (B, H, W), ids of `space`, 255 = ignored."""
    captions: tuple[str, ...]
    """One per image."""
    space: str
    """Name of the label space."""
    close_ups: bool = False
    """Whether these are close-ups of single instruments, not scenes."""


class _Sample(NamedTuple):
    image: Tensor
    labels: Tensor
    caption: str
    space: str
    close_up: bool = False


class _Key(NamedTuple):
    number: int
    close_up: bool


def labels_in(frame: SyntheticFrame | DatasetFrame, space: str) -> ByteArray:
    """A scene's labels in the named label space, uint8 (H, W).

    Raises:
        DataError: a label space in which the scene is not labelled; lists those that exist.
    """
    if isinstance(frame, DatasetFrame):
        if space not in frame.tables:
            raise DataError(f"frames have no labels in '{space}'; they have: {', '.join(frame.tables)}")
        return np.asarray(frame.tables[space][frame.ids], np.uint8)
    if space == "endovis2018-type":
        return frame.type_map
    if space == "endovis2018":
        return frame.scene_map
    if space == "endovis2017-parts":
        return frame.part_map
    if space in ("binary", "endovis2017-binary"):
        return (frame.type_map > 0).astype(np.uint8)
    known = "endovis2018-type, endovis2018, endovis2017-parts, endovis2017-binary, binary"
    raise DataError(f"synthetic scenes have no labels in '{space}'; they have: {known}")


def tip_labels(frame: SyntheticFrame) -> ByteArray:
    """Types where a look tells them, uint8 (H, W): shafts look alike and are left out, 255, but for suction tubes."""
    shafts = (frame.part_map == PART_SHAFT) & (frame.type_map != SUCTION)
    return np.where(shafts, np.uint8(255), frame.type_map)


def scene_generator(seed: int, split: int, index: int) -> np.random.Generator:
    """The random numbers of one scene."""
    return np.random.default_rng([seed, split, _SCENE, index])


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
