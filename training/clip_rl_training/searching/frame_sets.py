"""Sets of labelled frames that a search answers to, each named with its sequences; those to judge by are others.

On the command line a set is ``DIR label_map=davinci_grayscale sequences=scene_a,scene_b every=9``, ``looks=4`` for few
frames.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.sources.truth_label_map import label_map_digest

from clip_rl_training.data.augment import plain_view
from clip_rl_training.data.dataset_parts import own_classes
from clip_rl_training.data.dataset_stills import content_mask
from clip_rl_training.datasets import SegmentationDataset, check_disjoint, open_dataset
from clip_rl_training.datasets.files_digest import files_digest
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.loop.validate import label_maps

_BATCH = 8
_SHIFT = 2
"""px at network size by which a frame is moved for another look."""
MOST_LOOKS = 4


@dataclasses.dataclass(frozen=True)
class FrameSet:
    """Frames of named sequences of one data set: one kind of frames, scored as one."""

    root: Path
    """Folder that holds the data set."""
    sequences: tuple[str, ...]
    """Which of its sequences."""
    dataset: str = "folder"
    """As in ``clip-rl eval --dataset``."""
    label_map: str | None = None
    """As in ``clip-rl eval --label-map``."""
    every: int = 1
    """Of each sequence every so many frames, from its first one on."""
    looks: int = 1
    """How often each frame is looked at; see `looked_at`."""

    @property
    def words(self) -> str:
        """How it was asked for, but for where files lie."""
        label_map = f" label_map={Path(self.label_map).name}" if self.label_map else ""
        dataset = f" dataset={self.dataset}" if self.dataset != "folder" else ""
        every = f" every={self.every}" if self.every > 1 else ""
        looks = f" looks={self.looks}" if self.looks > 1 else ""
        return f"DIR/{self.root.resolve().name}{dataset}{label_map} sequences={','.join(self.sequences)}{every}{looks}"

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.root.resolve().name}: {', '.join(self.sequences)}"

    def whole(self) -> SegmentationDataset:
        """The data set with all of its sequences. Raises `ClipRlError` where there is none."""
        return open_dataset(self.dataset, self.root, label_map=label_map_of(self.dataset, self.root, self.label_map))

    def open(self) -> SegmentationDataset:
        """The frames, listed and not yet read.

        Raises:
            ClipRlError: no such data set, folder or sequence.
        """
        whole = self.whole()
        missing = [name for name in self.sequences if name not in whole.sequences]
        if missing:
            raise ClipRlError(f"{self.root}: no sequence {', '.join(missing)}; there are {', '.join(whole.sequences)}")
        items = [
            item
            for name in self.sequences
            for item in [item for item in whole.items if item.sequence == name][:: self.every]
        ]
        return dataclasses.replace(whole, items=tuple(items))


def frame_set(text: str, option: str) -> FrameSet:
    """Read ``ROOT key=value ...``, quoted as in a shell.

    Raises:
        ClipRlError: begins with `option` and says what was expected.
    """
    expected = (
        f"{option} {text!r}: expected 'DIR sequences=A,B', and maybe dataset=NAME, label_map=NAME_OR_FILE, every=N, "
        f"looks=1 to {MOST_LOOKS}"
    )
    try:
        root, *pairs = shlex.split(text)
    except ValueError:
        raise ClipRlError(expected) from None
    given = dict(pair.partition("=")[::2] for pair in pairs)
    strange = sorted(set(given) - {"sequences", "dataset", "label_map", "every", "looks"})
    every, times = given.pop("every", "1"), given.pop("looks", "1")
    sequences = tuple(name.strip() for name in given.pop("sequences", "").split(",") if name.strip())
    numbers = every.isdigit() and times.isdigit() and int(every) >= 1 and 1 <= int(times) <= MOST_LOOKS
    if strange or not numbers:
        raise ClipRlError(expected)
    plain = FrameSet(
        Path(root), sequences, given.get("dataset", "folder"), given.get("label_map"), int(every), int(times)
    )
    if not sequences:
        there = plain.whole().sequences
        raise ClipRlError(f"{option} {text!r}: name its sequences, sequences=A,B; there are {', '.join(there)}")
    if len(set(sequences)) < len(sequences):
        raise ClipRlError(f"{option} {text!r}: a sequence is named twice")
    return plain


def check_apart(development: Sequence[FrameSet], judging: Sequence[FrameSet]) -> None:
    """Refuse frames that are searched with and judged by, or that two sets have, as files or as copies of them.

    Raises:
        ClipRlError: says which sequence or file.
    """
    sets = {**_numbered("--dev", development), **_numbered("--judge", judging)}
    opened = {option: each.open() for option, each in sets.items()}
    check_disjoint(opened)
    seen: dict[str, tuple[str, Path]] = {}
    for option, dataset in opened.items():
        for item in dataset.items:
            digest = files_digest([item.image])
            if digest in seen and seen[digest][0] != option:
                other, path = seen[digest]
                raise ClipRlError(f"{option} and {other} share a frame: {item.image} is a copy of {path}")
            seen[digest] = (option, item.image)


def fingerprint_of(frames: FrameSet) -> dict[str, Any]:
    """What a set is, wherever it lies: its sequences, how many frames, what is in their files, and how it is read."""
    dataset = frames.open()
    files = [path for item in dataset.items for path in (item.image, *item.masks)]
    looks = {"looks": frames.looks} if frames.looks > 1 else {}
    return {
        "name": frames.name,
        "every": frames.every,
        "frames": len(dataset),
        "files": files_digest(files),
        "dataset": frames.dataset,
        "label_map": label_map_digest(frames.label_map) if frames.label_map else None,
        **looks,
    }


@dataclasses.dataclass(frozen=True)
class LoadedFrames:
    """Frames as a network sees them."""

    images: ByteArray
    """uint8 (N, H, W, 3)."""
    truth: ByteArray
    """uint8 (N, H, W): 1 instrument, 0 not, 255 unknown."""


@functools.lru_cache(maxsize=16)
def load_frames(frames: FrameSet, size: tuple[int, int]) -> LoadedFrames:
    """Read and scale a set's frames, cropped to their content as the pipeline does, each as often as is asked for.

    Raises:
        ClipRlError: a frame that cannot be read; no pixel of an instrument in any, which gives no score.
    """
    dataset = frames.open()
    instruments = list(own_classes(dataset.label_space).instrument_ids)
    table = np.full(256, 255, np.uint8)
    table[: len(dataset.label_space)] = 0
    table[instruments] = 1
    images, truths = [], []
    for item in dataset.items:
        rgb, labels = dataset.load(item)
        image, seen = plain_view(rgb, labels, content_mask(rgb), size=size)
        images.append(image)
        truths.append(table[seen])
    loaded = LoadedFrames(np.stack(images), np.stack(truths))
    if not (loaded.truth == 1).any():
        raise ClipRlError(f"{frames.name}: no pixel of an instrument in {len(images)} frames, which gives no score")
    return looked_at(loaded, frames.looks)


def looked_at(frames: LoadedFrames, times: int) -> LoadedFrames:
    """Each frame up to four times: as it is, mirrored left to right, moved right, moved down.

    On sixteen frames two pixels of shift are worth three points, so few frames are better looked at several times. What
    is moved out of the picture comes in at the other side, in picture and truth alike.
    """
    views: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
        lambda array: array,
        lambda array: array[:, :, ::-1],
        lambda array: np.roll(array, _SHIFT, 2),
        lambda array: np.roll(array, _SHIFT, 1),
    )
    return LoadedFrames(
        np.concatenate([view(frames.images) for view in views[:times]]),
        np.concatenate([view(frames.truth) for view in views[:times]]),
    )


@torch.no_grad()
def instrument_iou(segmenter: ClipRlSegmenter, space: LabelSpace, frames: LoadedFrames, device: torch.device) -> float:
    """Pooled IoU of instruments against all else, one plain look at each frame, at the network's size; 0 to 1."""
    text = segmenter.encode_text(space)
    table = np.zeros(256, np.uint8)
    table[list(space.instrument_ids)] = 1
    both = either = 0
    for start in range(0, len(frames.images), _BATCH):
        batch = torch.from_numpy(frames.images[start : start + _BATCH]).permute(0, 3, 1, 2).to(device)
        logits = segmenter.decode(segmenter.prepare(batch), text).logits
        truth = frames.truth[start : start + _BATCH]
        found = table[label_maps(logits.log_softmax(1), truth.shape[1:])] == 1
        known = truth != 255
        both += int(((truth == 1) & found).sum())
        either += int((((truth == 1) | found) & known).sum())
    return both / either


def _numbered(option: str, sets: Sequence[FrameSet]) -> dict[str, FrameSet]:
    return {option if len(sets) == 1 else f"{option} {place}": each for place, each in enumerate(sets, start=1)}
