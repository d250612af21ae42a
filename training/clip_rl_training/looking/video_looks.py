"""Every look at every video of a dataset, into a folder; what is there already is not done again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import make_folder
from clip_rl_perception.looks.evidence import EvidenceConfig
from clip_rl_perception.progress import shown
from clip_rl_perception.stream import LoadedModel

from clip_rl_training.corruptions import CORRUPTIONS, corrupt_and_cover
from clip_rl_training.datasets import Item, SegmentationDataset
from clip_rl_training.datasets.files_digest import files_digest
from clip_rl_training.looking.cached_looks import CachedLooksError, CachedVideo, look_at_video

Damage = Callable[[ByteArray, ByteArray], tuple[ByteArray, ByteArray]]
"""(rgb, truth) -> the same, damaged."""
_GREY = 0.3
"""Share of damaged videos without colour."""


def keep_looks(
    dataset: SegmentationDataset,
    instrument: ByteArray,
    model: LoadedModel,
    out: Path,
    *,
    damaged_with: int | None = None,
    frames: int | None = None,
) -> list[Path]:
    """Take all looks at each sequence and write one file for each.

    Args:
        dataset: sequences in the order of their frames.
        instrument: 1, 0 or 255 (unknown) by dataset id, uint8 (256,).
        model: on its engine.
        out: folder of the files.
        damaged_with: seed of corruptions: each video gets none, one or two of its own, at any severity; None: none.
        frames: at most so many of each sequence; None or 0: all.

    Returns:
        The files, one for each sequence.

    Raises:
        CachedLooksError: a file is there that is damaged or was made otherwise, of other frames for example.
        ClipRlError: `out` is a file, or cannot be made.
    """
    make_folder(out)
    making = _making(dataset, instrument, model, damaged_with, frames)
    paths = []
    for sequence in dataset.sequences:
        path = out / f"{sequence}.npz"
        paths.append(path)
        items = [item for item in dataset.items if item.sequence == sequence][: frames or None]
        files = [path for item in items for path in (item.image, *item.masks)]
        made = f"{making}, files {files_digest(files)[:12]}"
        if path.is_file():
            # Kept before that was noted, they do not tell of which files they are.
            if (found := CachedVideo.load(path).made) not in (made, making):
                raise CachedLooksError(f"{path} was made otherwise ({found}; now {made}); choose another folder")
            continue
        damage = _undamaged if damaged_with is None else video_damage(damaged_with, sequence)
        read = _frames(dataset, items, instrument, damage)
        video = look_at_video(model.pipeline, sequence, shown(read, sequence, len(items)), EvidenceConfig(), made=made)
        video.save(path)
    return paths


def _making(
    dataset: SegmentationDataset,
    instrument: ByteArray,
    model: LoadedModel,
    damaged_with: int | None,
    frames: int | None,
) -> str:
    truth = [index for index in range(len(dataset.label_space)) if instrument[index] == 1]
    damage = "undamaged" if damaged_with is None else f"damaged with seed {damaged_with}"
    return (
        f"{model.model_id} on {model.engine_name}, {dataset.name} with instrument {truth}, {damage}, "
        f"{frames or 'all'} frames"
    )


def video_damage(seed: int, sequence: str) -> Damage:
    """Corruptions of one video: the same for all its frames, as a dirty lens or a dim light is."""
    random = np.random.default_rng([seed, zlib.crc32(sequence.encode())])
    count = int(random.choice(3, p=(0.25, 0.5, 0.25)))
    names = [str(name) for name in random.choice(list(CORRUPTIONS), count, replace=False)]
    severities = [float(severity) for severity in random.uniform(1, 5, count)]
    grey = bool(random.random() < _GREY)
    pattern = int(random.integers(1 << 31))

    def damage(rgb: ByteArray, truth: ByteArray) -> tuple[ByteArray, ByteArray]:
        for name, severity in zip(names, severities, strict=True):
            rgb, covered = corrupt_and_cover(name, rgb, severity, seed=pattern)
            if covered is not None:
                truth = np.where(covered & (truth != 255), 0, truth).astype(np.uint8)
        if grey:
            rgb = np.asarray(cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
        return rgb, truth

    return damage


def _undamaged(rgb: ByteArray, truth: ByteArray) -> tuple[ByteArray, ByteArray]:
    return rgb, truth


def _frames(
    dataset: SegmentationDataset, items: list[Item], instrument: ByteArray, damage: Damage
) -> Iterator[tuple[ByteArray, ByteArray]]:
    for item in items:
        rgb, labels = dataset.load(item)
        yield damage(rgb, instrument[labels])
