"""Finding a dataset's files: images and masks joined by name, what does not fit noted as a problem."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from clip_rl_perception.folder_files import below, entries, image_files, told_twins
from clip_rl_perception.labels import LabelSpace
from natsort import natsorted

from clip_rl_training.datasets.dataset import Crop, Item, ReadLabels, SegmentationDataset, uncropped


class Pair(NamedTuple):
    """An image and the mask of the same name."""

    stem: str
    image: Path
    mask: Path


@dataclasses.dataclass
class Listing:
    """What a loader has found so far."""

    root: Path
    items: list[Item] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    """One line each, see `SegmentationDataset.problems`."""

    def note(self, problem: str) -> None:
        """Add a problem."""
        self.problems.append(problem)

    def images_in(self, folder: Path) -> dict[str, Path]:
        """As the function; images that are called alike, of which only the last counts, go to `problems`."""
        if twins := told_twins(image_files(folder)):
            self.note(f"{folder}: {twins}; of each name the last is taken")
        return images_in(folder)

    def pairs(
        self, images: Path | Mapping[str, Path], masks: Path | Mapping[str, Path], *, unlabelled: bool = False
    ) -> Iterator[Pair]:
        """Images and masks, of folders or by stem, that have the same stem; the others go to `problems`.

        `unlabelled`: images without mask are normal in this dataset and left out without a word.
        """
        images = self.images_in(images) if isinstance(images, Path) else images
        masks = self.images_in(masks) if isinstance(masks, Path) else masks
        if not unlabelled:
            missing = [path for stem, path in images.items() if stem not in masks]
            self.problems += [
                f"{path}: has no mask; expected one of the same name beside its folder" for path in missing
            ]
        self.problems += lone_masks(images, masks)
        return (Pair(stem, path, masks[stem]) for stem, path in images.items() if stem in masks)

    def add(self, pairs: Iterable[Pair], sequence: str, prefix: str = "") -> None:
        """Add pairs as items of a sequence; a frame's name is its stem after `prefix`."""
        self.items += [Item(pair.image, (pair.mask,), sequence, prefix + pair.stem) for pair in pairs]

    def sort(self) -> None:
        """Bring the items into natural order of sequence and frame."""
        self.items = natsorted(self.items, key=lambda item: (item.sequence, item.frame))

    def dataset(
        self,
        name: str,
        space: LabelSpace,
        read_labels: ReadLabels,
        splits: Mapping[str, Iterable[str]],
        *,
        sequences: Iterable[str] | None = None,
        crop_of: Callable[[tuple[int, int]], Crop | None] = uncropped,
    ) -> SegmentationDataset:
        """What was found as a dataset; of `splits` those remain that hold any of `sequences`, by default the items'.

        Of frames that are there more than once, as with a second copy below the root, the first is kept.
        """
        self._drop_copies()
        known = {item.sequence for item in self.items} if sequences is None else set(sequences)
        kept = {split: tuple(each for each in wanted if each in known) for split, wanted in splits.items()}
        return SegmentationDataset(
            name,
            self.root,
            space,
            tuple(self.items),
            {split: wanted for split, wanted in kept.items() if wanted},
            read_labels,
            crop_of,
            tuple(self.problems),
        )

    def _drop_copies(self) -> None:
        kept: dict[tuple[str, str], Item] = {}
        copies: dict[tuple[Path, Path], int] = {}
        for item in self.items:
            first = kept.setdefault((item.sequence, item.frame), item)
            if first is not item:
                folders = item.image.parent, first.image.parent
                copies[folders] = copies.get(folders, 0) + 1
        for (folder, first_folder), count in copies.items():
            self.note(f"{folder}: {count} frame{'s are' if count > 1 else ' is'} also in {first_folder}; keep one")
        self.items = list(kept.values())


def lone_masks(images: Mapping[str, Path], masks: Mapping[str, Path]) -> list[str]:
    """Lines about masks without an image."""
    return [f"{path}: mask without an image of the same name" for stem, path in masks.items() if stem not in images]


def images_in(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem, in natural order; empty when it does not exist. Hidden files are left out."""
    return {path.stem: path for path in image_files(folder)}


def files_near(root: Path, name: str) -> list[Path]:
    """Files of a name in `root`, its folders, and theirs; hidden ones left out."""
    return [path for pattern in (name, f"*/{name}", f"*/*/{name}") for path in below(root, pattern)]


def folders_below(root: Path, pattern: str) -> list[Path]:
    """Folders below `root` whose whole name matches the regular expression, natural order; none inside another.

    Links to folders are followed, but not to one that they lie in.
    """
    found: list[Path] = []

    def visit(folder: Path, above: tuple[Path, ...]) -> None:
        for child in filter(Path.is_dir, entries(folder)):
            if re.fullmatch(pattern, child.name):
                found.append(child)
            elif not child.is_symlink() or child.resolve() not in above:
                visit(child, (*above, child.resolve()))

    if root.is_dir():
        visit(root, (root.resolve(),))
    return found
