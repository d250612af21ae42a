"""CholecSeg8k: 13 classes in frames of laparoscopic cholecystectomy, 17 videos of Cholec80, 854x480.

Published layout, anywhere below the root:

    videoNN/videoNN_FFFFF/frame_N_endo.png
    videoNN/videoNN_FFFFF/frame_N_endo_watershed_mask.png     read here: three equal channels
    videoNN/videoNN_FFFFF/frame_N_endo_{mask,color_mask}.png  not read

The dataset's page gives watershed values as colours such as #505050; the files hold the two digits as a decimal number,
50 for black background and so on (several public loaders agree). Value 255 (a border one pixel wide) and 0 (pixels that
were left out) are ignored. There is no published split; clips of one video show the same operation, so the sequence is
the video. Our split: test = videos 12, 20, 48, 55 (it holds every class in tables of the literature; unverified), train
the other 13.
"""

from __future__ import annotations

import re
from pathlib import Path

from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.mask_coding import ValueCoding

from clip_rl_training.datasets.dataset import CodedMask, SegmentationDataset
from clip_rl_training.datasets.listing import Listing, folders_below, images_in

VALUES = (50, 11, 21, 13, 12, 31, 23, 24, 25, 32, 22, 33, 5)
"""Watershed value of class id 0 to 12."""

TEST = ("video12", "video20", "video48", "video55")

_MASK = "_watershed_mask"


def open_cholecseg8k(root: Path) -> SegmentationDataset:
    """Splits: train and test, by video."""
    found = Listing(root)
    clips = folders_below(root, r"video\d+_\d+")
    if not clips:
        found.note(f"{root}: no folder videoNN_FFFFF below it; expected videoNN/videoNN_FFFFF/frame_N_endo.png")
    for clip in clips:
        files = images_in(clip)
        images = {stem: path for stem, path in files.items() if stem.endswith("_endo")}
        masks = {stem.removesuffix(_MASK): path for stem, path in files.items() if stem.endswith(f"_endo{_MASK}")}
        found.add(found.pairs(images, masks), re.sub(r"_\d+$", "", clip.name), f"{clip.name}/")
    space = load_label_space("cholecseg8k")
    coding = ValueCoding(
        {value: index for index, value in enumerate(VALUES)}, dict(enumerate(space.names)), ignore=(0, 255)
    )

    sequences = dict.fromkeys(item.sequence for item in found.items)
    splits = {"train": [name for name in sequences if name not in TEST], "test": TEST}
    return found.dataset("cholecseg8k", space, CodedMask(coding), splits)
