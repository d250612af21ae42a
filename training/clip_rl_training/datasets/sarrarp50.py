"""SAR-RARP50 (EndoVis 2022): 9 classes of instruments, parts, needle and thread in prostatectomies, 1920x1080.

Published layout, after extraction with the challenge's toolkit, anywhere below the root:

    <set>/video_NN/rgb/000000060.png              frames at 10 Hz, named by their number in the 60 Hz video
    <set>/video_NN/segmentation/000000060.png     masks at 1 Hz, stored value = class id
    <set>/video_NN/video_left.avi                 what the frames are extracted from

Frames without mask are normal. Videos 41 to 50 are the test set. Parts of one operation (video_11_1, video_11_2) form
one sequence.
"""

from __future__ import annotations

import re
from pathlib import Path

from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.mask_coding import ValueCoding

from clip_rl_training.datasets.dataset import CodedMask, SegmentationDataset
from clip_rl_training.datasets.listing import Listing, folders_below, images_in

FIRST_TEST_VIDEO = 41


def open_sarrarp50(root: Path) -> SegmentationDataset:
    """Splits: train (videos 1 to 40) and test (41 to 50)."""
    found = Listing(root)
    numbers: dict[str, int] = {}
    videos = folders_below(root, r"video_\d+(_\d+)?")
    if not videos:
        found.note(f"{root}: no folder video_NN below it; expected video_NN/rgb and video_NN/segmentation")
    for folder in videos:
        named = re.match(r"video_(\d+)", folder.name)
        sequence = named[0] if named else folder.name
        numbers[sequence] = int(named[1]) if named else 0
        if not (folder / "segmentation").is_dir():
            found.note(f"{folder}: has no folder 'segmentation'")
            continue
        images = images_in(folder / "rgb")
        if not images:
            found.note(
                f"{folder}: has no frames in rgb/; extract them from video_left.avi, named by 9-digit frame number"
            )
            continue
        found.add(found.pairs(images, folder / "segmentation", unlabelled=True), sequence, f"{folder.name}/")
    space = load_label_space("sarrarp50")
    coding = ValueCoding({index: index for index in range(len(space))}, dict(enumerate(space.names)))

    splits = {
        "train": [name for name, number in numbers.items() if number < FIRST_TEST_VIDEO],
        "test": [name for name, number in numbers.items() if number >= FIRST_TEST_VIDEO],
    }
    return found.dataset("sarrarp50", space, CodedMask(coding), splits)
