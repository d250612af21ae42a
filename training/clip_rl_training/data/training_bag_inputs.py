"""What this package adds to `clip-rl bag make`: trees of datasets, and synthetic scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bags.bag_inputs import BagInput, cameras_beside
from clip_rl_perception.cli_types import WidthByHeight
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option
from clip_rl_perception.pictures.encodings import ImageError, compressed_size
from clip_rl_perception.sources.frames import DEFAULT_RATE, Frame, LeftOut, SourceError, SourceInfo, hash_files
from clip_rl_perception.sources.tag_truth import right_folder

from clip_rl_training.data.synthetic_source import RenderedEyes, SyntheticSource
from clip_rl_training.datasets import DATASETS, Item, SegmentationDataset, open_dataset
from clip_rl_training.datasets.dataset import read_image
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase
from clip_rl_training.synthetic.stereo import BASELINE_MM, camera_of


@dataclasses.dataclass(frozen=True)
class Trees:
    """Which of a dataset's sequences become bags."""

    dataset: Annotated[str | None, Option(metavar="NAME", help=f"one of {', '.join(DATASETS)}")] = None
    """Layout and classes."""
    root: Annotated[Path | None, Option(metavar="DIR")] = None
    """Folder that holds it, in place of SOURCE."""
    sequences: Annotated[tuple[str, ...], Option("--sequences", "--sequence", metavar="A,B")] = ()
    """Only these sequences; may be repeated."""


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Which scenes are rendered."""

    synthetic: bool = False
    """Render a synthetic operation with ground truth."""
    size: WidthByHeight = (1280, 1024)
    """WIDTHxHEIGHT, px (default: 1280x1024)."""
    seed: int = 0
    """Which operation."""
    seconds: float = 10.0
    """Its length."""
    label_space: Annotated[
        Literal["endovis2018-type", "endovis2018", "endovis2017-parts", "binary"], Option("--label-space", "--classes")
    ] = "endovis2018-type"
    """Of the labels."""
    workers: int = 1
    """Processes that render."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Of datasets and synthetic scenes."""

    trees: Annotated[Trees, Option(group="trees of datasets (SOURCE is the root); one bag for each sequence")]
    scenes: Annotated[Scenes, Option(group="synthetic scenes (no SOURCE)")]
    stereo: bool = False
    """Also the right eye: right_frames/ of a tree, or rendered."""


def open_inputs(
    options: Options, *, source: Path | None, rate_hz: float | None, label_map: str | None, right: Path | None
) -> list[BagInput] | None:
    """Bags of a dataset's sequences, or the synthetic one; None where neither is asked for."""
    trees = options.trees
    name, wanted = trees.dataset, [name.strip() for given in trees.sequences for name in given.split(",")]
    if options.scenes.synthetic:
        if source is not None:
            raise SourceError(f"--synthetic renders its own frames; leave out {source}")
        return [_synthetic(options.scenes, rate_hz or DEFAULT_RATE, stereo=options.stereo)]
    if name is None:
        if options.stereo and right is None:
            raise SourceError("--stereo is for --dataset and --synthetic; name the right images with --right")
        return None
    source = source or trees.root
    if source is None:
        raise SourceError(f"--dataset {name} needs SOURCE or --root, the folder that holds it")
    dataset = open_dataset(name, source, label_map=label_map_of(name, source, label_map), strict=False)
    if not dataset.items:
        reason = dataset.problems[0] if dataset.problems else f"{source}: no frames"
        raise SourceError(f"dataset '{name}': {reason}")
    unknown = [sequence for sequence in wanted if sequence not in dataset.sequences]
    if unknown:
        raise SourceError(f"no sequence {', '.join(unknown)}; there are: {', '.join(dataset.sequences)}")
    inputs = []
    for sequence in wanted or dataset.sequences:
        part = dataset.only([sequence])
        left = DatasetSource(part, rate_hz)
        other = DatasetSource(part, rate_hz, right=True) if options.stereo else None
        cameras = cameras_beside(part.items[0].image.parents[1]) if options.stereo else ()
        inputs.append(BagInput(sequence.replace("/", "_"), left, dataset.label_space, other, cameras))
    return inputs


class DatasetSource:
    """Frames of one sequence of a dataset, with their labels; or the right eye's, with its own where there are some."""

    def __init__(self, dataset: SegmentationDataset, rate_hz: float | None, *, right: bool = False) -> None:
        """Read the first frame; raises `SourceError` where none can be read.

        Args:
            dataset: one sequence.
            rate_hz: frames per second; None takes `DEFAULT_RATE`.
            right: images of ``right_frames`` instead of ``left_frames``, with masks of folders called as those of the
                left eye, ``right_`` before.
        """
        if right:
            items = tuple(map(_right_item, dataset.items))
            dataset = dataclasses.replace(dataset, items=items)
        self.left_out: list[LeftOut] = []
        self.problems: list[str] = list(dataset.problems) if not right else []
        masks = [mask.is_file() for item in dataset.items for mask in item.masks] if right else [True]
        labelled = all(masks)
        if any(masks) and not labelled:
            missing = masks.count(False)
            self.problems.append(f"{dataset.root}: {missing} masks of right frames are missing; none is used")
        self._opening = tuple(self.problems)
        self._dataset, self._labelled, self._rate = dataset, labelled, rate_hz or DEFAULT_RATE
        self._tags = DatasetTagTruth(dataset)
        first = next(iter(self), None)
        if first is None:
            raise SourceError(self.problems[-1] if self.problems else f"{dataset.root}: no frames")
        space = dataset.label_space if labelled else None
        shape = (first.rgb.shape[0], first.rgb.shape[1])
        self._info = SourceInfo("folder", dataset.root, len(dataset), self._rate, shape, space)

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        self.problems, self.left_out = list(self._opening), []
        for index, item in enumerate(self._dataset.items):
            stamp = round(index * 1e9 / self._rate)
            try:
                frame = self._labelled_frame(item) if self._labelled else self._bare_frame(item)
            except ClipRlError as error:
                self.problems.append(f"{error}; left out")
                self.left_out.append(LeftOut(index, stamp, str(error)))
                continue
            yield dataclasses.replace(frame, stamp_ns=stamp, index=index)

    def sha256(self) -> str:
        """Hash over the images."""
        return hash_files([item.image for item in self._dataset.items])

    def _labelled_frame(self, item: Item) -> Frame:
        try:
            rgb, labels = self._dataset.load(item)
        except ClipRlError as error:
            self.problems.append(f"{error}; written without labels")
            return Frame(self._cropped(read_image(item.image)), 0, item.image.name)
        try:
            tags = self._tags.of(item, labels)
        except ClipRlError as error:
            self.problems.append(f"{error}; written without truth of tags")
            tags = None
        return Frame(rgb, 0, item.image.name, labels, _encoded(item.image, rgb), tags=tags)

    def _bare_frame(self, item: Item) -> Frame:
        rgb = self._cropped(read_image(item.image))
        return Frame(rgb, 0, item.image.name, None, _encoded(item.image, rgb))

    def _cropped(self, rgb: ByteArray) -> ByteArray:
        crop = self._dataset.crop_of((rgb.shape[0], rgb.shape[1]))
        if crop is None:
            return rgb
        row, column, height, width = crop
        return np.ascontiguousarray(rgb[row : row + height, column : column + width])


def _right_item(item: Item) -> Item:
    """What the right eye has for an item of the left one. Raises `SourceError`."""
    folder = item.image.parent
    if folder.name != "left_frames":
        raise SourceError(f"{item.image}: no right image: it does not lie in a folder left_frames")

    def beside(path: Path) -> Path:
        return path.parent.with_name(right_folder(path.parent.name)) / path.name

    return dataclasses.replace(item, image=beside(item.image), masks=tuple(map(beside, item.masks)))


def _synthetic(scenes: Scenes, rate: float, *, stereo: bool) -> BagInput:
    width, height = scenes.size
    frames = max(1, round(scenes.seconds * rate))
    config = showcase(height, width, rate)
    count = 2 if stereo else 1
    eyes = RenderedEyes(config, scenes.seed, frames, scenes.label_space, eyes=count, workers=scenes.workers)
    left = SyntheticSource(eyes)
    cameras = (camera_of(width, height),)
    if not stereo:
        return BagInput("synthetic", left, left.info.label_space, cameras=cameras)
    right = SyntheticSource(eyes, 1)
    other = camera_of(width, height, BASELINE_MM)
    moved = SyntheticOperation(config, scenes.seed, frames).right.moved
    other = dataclasses.replace(other, k=_moved(other.k, moved), p=_moved(other.p, moved))
    return BagInput("synthetic", left, left.info.label_space, right, (*cameras, other))


def _moved(matrix: tuple[float, ...], pixels: float) -> tuple[float, ...]:
    """A camera or projection matrix whose principal point lies `pixels` further right."""
    return (*matrix[:2], matrix[2] + pixels, *matrix[3:])


def _encoded(path: Path, rgb: ByteArray) -> bytes | None:
    """The file's bytes, where they are a JPEG or PNG of the whole of `rgb` that can be sent on as it is."""
    content = path.read_bytes()
    try:
        return content if compressed_size(content) == rgb.shape[:2] else None
    except ImageError:
        return None
