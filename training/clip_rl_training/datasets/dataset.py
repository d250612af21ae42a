"""What every dataset is: labelled images in sequences, splits by sequence, labels as ids of a label space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.pictures.picture_files import PictureError, decode_rgb, read_picture
from clip_rl_perception.sources import mask_files
from clip_rl_perception.sources.mask_coding import MaskCoding, StoredMask
from clip_rl_perception.sources.truth_classes import TruthClasses
from natsort import natsorted

ALL = "all"
"""The split that every dataset has: everything."""


class DatasetError(ClipRlError, ValueError):
    """A dataset is not as published; the message names the file, what was found and what was expected."""


class UnreadableError(DatasetError):
    """A picture or mask is missing, damaged or no picture; the message begins with its file."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One labelled frame."""

    image: Path
    """Image file."""
    masks: tuple[Path, ...]
    """Files that the labels are made of."""
    sequence: str
    """Video or scene that the frame belongs to: the unit of splits."""
    frame: str
    """Name within the sequence."""


Crop = tuple[int, int, int, int]
"""(row, column, height, width), px."""

ReadLabels = Callable[[Item], ByteArray]


@dataclasses.dataclass(frozen=True)
class CodedMask:
    """Reads labels that are one file in one coding. A class, not a closure, so that loader processes can get it."""

    coding: MaskCoding
    note: str = ""
    """Added to the file's name in messages."""

    def __call__(self, item: Item) -> ByteArray:
        """Labels of the item, uint8 (H, W)."""
        return self.coding.decode(read_mask(item.masks[0]), f"{item.masks[0]}{self.note}")


def uncropped(size: tuple[int, int]) -> Crop | None:
    """The picture fills the file, whatever its size."""
    return None


@dataclasses.dataclass(frozen=True)
class SegmentationDataset:
    """Items of one dataset, or of one split of it, and the way to read them."""

    name: str
    """Name as in `open_dataset`."""
    root: Path
    """Folder that was opened."""
    label_space: LabelSpace
    """Classes; labels hold its ids or 255."""
    items: tuple[Item, ...]
    """In order of sequence and frame."""
    splits: Mapping[str, tuple[str, ...]]
    """Sequences of each named split that exist here. `ALL` is always possible and not listed."""
    read_labels: ReadLabels
    """Item -> uint8 (H, W) ids, 255 ignored; raises `DatasetError` or `CodingError`."""
    crop_of: Callable[[tuple[int, int]], Crop | None] = uncropped
    """Image size (H, W) -> part of image and masks that holds the picture, or None; raises `DatasetError`."""
    problems: tuple[str, ...] = ()
    """What was found wrong while listing files, one line each; `open_dataset` refuses such a dataset unless told."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[ByteArray, ByteArray]:
        """Image and labels of item `index`: uint8 (H, W, 3) RGB and uint8 (H, W). Errors as in `load`."""
        return self.load(self.items[index])

    def load(self, item: Item) -> tuple[ByteArray, ByteArray]:
        """Read one item.

        Returns:
            RGB uint8 (H, W, 3) and ids uint8 (H, W), 255 ignored.

        Raises:
            UnreadableError: a file that does not decode.
            DatasetError: sizes that differ.
            CodingError: a mask value outside the coding.
        """
        rgb = read_image(item.image)
        labels = self.read_labels(item)
        if rgb.shape[:2] != labels.shape:
            raise DatasetError(
                f"{item.masks[0]}: mask is {labels.shape[1]}x{labels.shape[0]} but image {item.image} is "
                f"{rgb.shape[1]}x{rgb.shape[0]}; both must have the same size"
            )
        try:
            crop = self.crop_of((rgb.shape[0], rgb.shape[1]))
        except DatasetError as error:
            raise DatasetError(f"{item.image}: {error}") from error
        if crop is not None:
            row, column, height, width = crop
            rgb = np.ascontiguousarray(rgb[row : row + height, column : column + width])
            labels = np.ascontiguousarray(labels[row : row + height, column : column + width])
        return rgb, labels

    def truth_classes(self, *, every: bool | None = None) -> TruthClasses:
        """Watches whether ignoring leaves nothing of a class: by default of `every` one that a folder's map names."""
        coding = self.read_labels.coding.describe() if isinstance(self.read_labels, CodedMask) else self.name
        return TruthClasses(self.label_space.names, coding, every=self.name == "folder" if every is None else every)

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of the sequences, in order."""
        return tuple(dict.fromkeys(item.sequence for item in self.items))

    def split(self, name: str) -> SegmentationDataset:
        """The part of the dataset whose sequences are in split `name`.

        Raises:
            DatasetError: no such split, or none of its sequences exists here; lists what does.
        """
        if name == ALL:
            return self
        if name not in self.splits:
            known = ", ".join((ALL, *self.splits))
            raise DatasetError(f"dataset '{self.name}' has no split '{name}'; it has: {known}")
        return self.only(self.splits[name], f"split '{name}' of dataset '{self.name}'")

    def only(self, sequences: Sequence[str], described: str = "") -> SegmentationDataset:
        """The part of the dataset with the named sequences. Raises `DatasetError` when it is empty."""
        wanted = set(sequences)
        items = tuple(item for item in self.items if item.sequence in wanted)
        if not items:
            raise DatasetError(
                f"{described or self.name}: no frames of {', '.join(sequences) or 'any sequence'} under {self.root}; "
                f"sequences there: {', '.join(self.sequences) or 'none'}"
            )
        return dataclasses.replace(self, items=items)

    def spread(self, frames: int) -> SegmentationDataset:
        """At most `frames` items, evenly over the dataset; 0 means all."""
        if not 0 < frames < len(self):
            return self
        places = np.linspace(0, len(self) - 1, frames).round().astype(int)
        return dataclasses.replace(self, items=tuple(self.items[place] for place in places))

    def stretches(self, frames: int) -> SegmentationDataset:
        """At most `frames` items, consecutive in each sequence and as many of each, from its beginning; 0 means all.

        Of more sequences than `frames` some, evenly over the dataset, are taken.
        """
        if not 0 < frames < len(self):
            return self
        places = np.linspace(0, len(self.sequences) - 1, min(frames, len(self.sequences))).round().astype(int)
        most = max(1, frames // len(self.sequences))
        of_each = (tuple(item for item in self.items if item.sequence == self.sequences[place]) for place in places)
        return dataclasses.replace(self, items=tuple(item for items in of_each for item in items[:most]))


def check_disjoint(parts: Mapping[str, SegmentationDataset]) -> None:
    """Refuse splits that share a sequence or a file: neighbouring frames leak (`paper-and-peers`, section 2.1).

    Args:
        parts: dataset by role, for example {"train": ..., "val": ...}.

    Raises:
        DatasetError: names the roles and the sequence or file that both hold.
    """
    roles = list(parts)
    for index, first in enumerate(roles):
        for second in roles[index + 1 :]:
            one, other = parts[first], parts[second]
            if one.root.resolve() == other.root.resolve():
                shared = natsorted(set(one.sequences) & set(other.sequences))
                if shared:
                    raise DatasetError(
                        f"{first} and {second} share sequence {', '.join(shared)} of {one.root}: frames of one video "
                        "leak between them; split by whole sequences"
                    )
            files = {item.image.resolve() for item in one.items} & {item.image.resolve() for item in other.items}
            if files:
                raise DatasetError(f"{first} and {second} share {len(files)} images, among them {min(files)}")


def read_image(path: Path) -> ByteArray:
    """Decode an image to uint8 (H, W, 3) RGB as stored, without turning it. Raises `UnreadableError`."""
    try:
        return decode_rgb(read_picture(path))
    except PictureError as error:
        raise UnreadableError(f"{path} {error}") from error


def read_mask(path: Path) -> StoredMask:
    """Decode a mask as stored. Raises `UnreadableError`."""
    try:
        return mask_files.read_mask(path)
    except PictureError as error:
        raise UnreadableError(f"{path} {error}") from error
