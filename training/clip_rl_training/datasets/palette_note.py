"""How masks with a palette are read: by what points into it, or by what it looks like. Either is somebody's habit."""

from __future__ import annotations

import contextlib

import numpy as np
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.sources.mask_coding import CodingError
from clip_rl_perception.sources.media_source import told_of_picture

from clip_rl_training.datasets.dataset import CodedMask, SegmentationDataset, read_mask


def reading_notes(dataset: SegmentationDataset) -> list[str]:
    """What of a data set's files is read otherwise than people may expect, by the first image and mask; a line each."""
    notes = [palette_note(dataset)]
    with contextlib.suppress(ClipRlError):
        notes += [told for item in dataset.items[:1] for told in told_of_picture(item.image)]
    return [note for note in notes if note]


def palette_note(dataset: SegmentationDataset) -> str:
    """One line where the first mask has a palette; empty where it has none, or cannot be read: others tell that."""
    if not dataset.items or not isinstance(dataset.read_labels, CodedMask):
        return ""
    file, coding = dataset.items[0].masks[0], dataset.read_labels.coding
    try:
        stored = read_mask(file)
        if not stored.palette or stored.indices is None:
            return ""
        ids = coding.decode(stored, str(file))
    except ClipRlError:
        return ""
    try:
        by_index = np.array_equal(ids, coding.decode(stored.indices, str(file)))
    except CodingError:
        by_index = False
    said = "its indices" if by_index else "the colours that they point to"
    return f"masks have a palette ({file.name} is the first): {said} are taken as the stored values"
