"""`clip-rl data`: look at datasets. `clip-rl data check` reads a whole tree and reports what is wrong with it;
`clip-rl data statistics` tells what its pictures look like (`image_statistics`).

Every image and mask is decoded; what is missing, doubled or miscoded is listed with file, value and expected coding.
Exit status 0: usable as it is; 1: something was found; 2: it could not be looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option

from clip_rl_training.data import image_statistics
from clip_rl_training.datasets import ALL, DATASETS, SegmentationDataset, dataset_check, open_dataset
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.loop.training_config import load_config

_NAMES = f"one of {', '.join(DATASETS)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Looked:
    label_map: Annotated[str | None, Option(metavar="NAME_OR_FILE")] = None
    """For --dataset folder: what mask values mean; None: 0 background, 1 or 255 instrument."""
    split: str = ALL
    """Look at this split only."""
    json: Annotated[Path | None, Option(metavar="FILE")] = None
    """Write the whole report there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check(_Looked):
    """Read a whole dataset and report what is wrong."""

    dataset: Annotated[str, Option(metavar="NAME", help=f"{_NAMES} (default: folder)")] = "folder"
    """Which dataset."""
    root: Path = dataclasses.field()
    """Folder that holds the dataset."""

    def run(self) -> int:
        """Returns the exit status."""
        dataset = _opened(self.dataset, self.root, self.label_map, strict=False)
        if self.split != ALL and dataset.items:
            dataset = dataset.split(self.split)
        report = dataset_check.check_dataset(dataset)
        print(dataset_check.describe(report))
        if self.json:
            write_json(self.json, report)
        return 1 if report["problems"] else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics(_Looked):
    """Tell what instruments and the rest look like in a dataset or in synthetic scenes.

    A network that knows synthetic scenes only finds what they have in common with real ones. Where these numbers
    differ, it learns what is not so: scenes whose tissue was grainier than their instruments taught it that what is
    smooth is an instrument (docs/results/demo-checkpoint.md). All are measured in views of one size, on instruments
    against the rest.
    """

    dataset: Annotated[str | None, Option(metavar="NAME", help=_NAMES)] = None
    """Which dataset."""
    root: Path | None = None
    """Folder that holds the dataset."""
    config: str = "demo"
    """Without --dataset: preset whose scenes are measured."""
    set: Annotated[tuple[str, ...], Option(metavar="KEY=VALUE")] = ()
    """Change one value of the preset."""
    frames: Annotated[int, Option(metavar="N")] = 200
    """At most so many."""

    def run(self) -> int:
        """Returns the exit status."""
        if self.frames < 1:
            raise ClipRlError(f"--frames {self.frames}: at least 1 is needed")
        report = image_statistics.summarize(self._views())
        if not report:
            raise ClipRlError(
                f"no frame shows {image_statistics.LEAST_PIXELS} px of instruments and as many of the rest"
            )
        print(image_statistics.describe(report))
        if self.json:
            write_json(self.json, report)
        return 0

    def _views(self) -> Iterator[tuple[ByteArray, ByteArray]]:
        if not self.dataset:
            config = load_config(self.config, self.set)
            return image_statistics.scene_views(config.seed, config.data.scene, self.frames)
        if not self.root:
            raise ClipRlError("--dataset needs --root, the folder that holds it")
        dataset = _opened(self.dataset, self.root, self.label_map, strict=True)
        return image_statistics.dataset_views(dataset.split(self.split), self.frames)


def run(options: Check | Statistics) -> int:
    """Run ``clip-rl data``."""
    return options.run()


def _opened(name: str, root: Path, label_map: str | None, *, strict: bool) -> SegmentationDataset:
    return open_dataset(name, root, label_map=label_map_of(name, root, label_map), strict=strict)
