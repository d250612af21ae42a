"""Which cells of the logit grid belong to which instrument, in the form that instruments are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import BoolArray, ByteArray
from clip_rl_perception.labels import LabelSpace


@dataclasses.dataclass(frozen=True)
class InstanceConfig:
    """How the grid is divided into instruments; all but the first is asked without an instance head alone."""

    min_area: float = 0.0005
    """Smallest instrument, as a fraction of the content area."""
    substantial: float = 0.2
    """A class, or a part behind an entry, that covers less than this of a connected area is not an instrument in it."""
    entry_gap: int = 3
    """Cells between two stretches of contact with the border that still count as one entry."""
    fragment_gap: int = 3
    """Cells between an instrument and a loose piece of the same class up to which they belong together."""
    straight: float = 0.94
    """Cosine of the angle up to which two opposite entries are the two ends of one instrument that crosses the view."""


@dataclasses.dataclass(frozen=True)
class Instances:
    """Cells of the m instruments of a frame, the largest first."""

    cells: npt.NDArray[np.int32]
    """Cell numbers, row * w + column, (n,); those of an instrument follow each other, in raster order."""
    starts: npt.NDArray[np.int64]
    """Where each instrument's cells begin, (m + 1,); the last is n."""
    class_ids: npt.NDArray[np.int64]
    """The class that covers most of each, (m,)."""
    own: BoolArray
    """Classes that each is made of, (m, 256)."""
    touches: BoolArray
    """Whether each reaches the border of the content, (m,)."""

    def __len__(self) -> int:
        return len(self.class_ids)


def instances_of(
    owners: npt.NDArray[np.integer[Any]], count: int, labels: ByteArray, content: BoolArray, space: LabelSpace
) -> Instances:
    """Instances of a grid that says whose its cells are.

    The class of each is that of most of its cells; all classes of the same kind, parts or whole types, are its own.

    Args:
        owners: instrument of each node, from 1, 0 none, (h, w).
        count: m.
        labels: class ids, uint8 (h, w).
        content: nodes that show the patient, bool (h, w).
        space: tells parts from whole types.
    """
    flat = owners.ravel()
    cells = np.flatnonzero(flat)
    owner = flat[cells].astype(np.intp)
    votes = np.bincount((owner - 1) * 256 + labels.ravel()[cells], minlength=count * 256).reshape(count, 256)
    starts = np.concatenate([[0], np.cumsum(votes.sum(axis=1))])
    is_part, is_instrument = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
    for entry in space.classes:
        is_part[entry.id], is_instrument[entry.id] = entry.part, entry.instrument
    class_ids = np.where(is_instrument, votes, -1).argmax(axis=1)
    own = is_instrument & (is_part == is_part[class_ids][:, None])
    touches = np.bincount(owners[rim_of(content)], minlength=count + 1)[1:] > 0
    cells = cells[np.argsort(owner, kind="stable")]
    return Instances(cells.astype(np.int32), starts.astype(np.int64), class_ids, own, touches)


def rim_of(content: BoolArray) -> BoolArray:
    """Nodes of the content (h, w) that have a side in common with what is not content."""
    inner = cv2.erode(content.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(content & (inner == 0), np.bool_)


_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
