"""Which cells of the logit grid belong to which instrument: connected areas, split where instruments touch or cross.

Whole-type classes (forceps, scissors): an instrument is what one class covers of a connected area of instrument
classes; classes that cover little of such an area are taken for errors and join the rest. Part classes (shaft, wrist,
clasper) form one instrument together. An instrument enters the picture once, so an area with several entries at the
border of the content is divided between them, and pieces that something in front cut off go to the entry that they lie
in line with.

The loops are compiled: `instance_kernels`, then `piece_kernels`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray
from clip_rl_perception.kernels import instance_kernels, piece_kernels
from clip_rl_perception.labels import LabelSpace

_PARTS = 255
"""Group of all part classes; a whole class k is group k + 1; 0 is no instrument."""


@dataclasses.dataclass(frozen=True)
class InstanceConfig:
    """How the grid is divided into instruments."""

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

    shape: tuple[int, int]
    """(h, w) of the grid."""
    cells: npt.NDArray[np.int32]
    """Cell numbers, row * w + column, (n,); those of an instrument follow each other, in raster order."""
    starts: npt.NDArray[np.int64]
    """Where each instrument's cells begin, (m + 1,); the last is n."""
    class_ids: npt.NDArray[np.int64]
    """The class that covers most of each, (m,)."""
    own: BoolArray
    """Classes that each is made of: its own, or all part classes of the label space, (m, 256)."""
    entries: DoubleArray
    """Middle of each one's contact with the border of the content, (column, row), (m, 2); NaN: it touches nowhere."""

    def __len__(self) -> int:
        return len(self.class_ids)

    def mask(self, index: int) -> BoolArray:
        """Cells of one instrument, (h, w)."""
        mask = np.zeros(self.shape, np.bool_)
        mask.reshape(-1)[self.cells[self.starts[index] : self.starts[index + 1]]] = True
        return mask


def find_instances(
    labels: ByteArray, content: BoolArray, space: LabelSpace, config: InstanceConfig | None = None
) -> Instances:
    """Divide a grid label map into instruments.

    Args:
        labels: class ids, uint8 (h, w); what they are outside the content does not matter.
        content: nodes that show the patient, bool (h, w).
        space: tells instruments and parts from tissue.
        config: limits.

    Returns:
        Instruments with at least `config.min_area` of the content.
    """
    config = config or InstanceConfig()
    group_of = _group_table(space)
    labels = np.ascontiguousarray(labels)
    pieces = instance_kernels.divide(
        labels, content, group_of, float(config.min_area), float(config.substantial), config.entry_gap,
        float(config.straight),
    )  # fmt: skip
    cells, starts, groups, class_ids, entries = piece_kernels.join(
        *pieces, labels, group_of, _PARTS, config.fragment_gap
    )
    return Instances(labels.shape, cells, starts, class_ids, group_of == groups[:, None], entries)


def voted(owners: npt.NDArray[np.intp], count: int, labels: ByteArray, space: LabelSpace) -> Instances:
    """Instruments that votes told apart (`scene.voted_instances`), in the form of `find_instances`.

    The class of each is that of most of its cells; all classes of the same kind, parts or whole types, are its own.

    Args:
        owners: instrument of each node, from 1, 0 none, (h, w).
        count: m.
        labels: class ids, uint8 (h, w).
        space: tells parts from whole types.
    """
    flat = owners.ravel()
    cells = np.flatnonzero(flat)
    owner = flat[cells]
    order = np.argsort(owner, kind="stable")
    votes = np.bincount((owner - 1) * 256 + labels.ravel()[cells], minlength=count * 256).reshape(count, 256)
    starts = np.concatenate([[0], np.cumsum(votes.sum(axis=1))])
    cells = cells[order]
    is_part = np.zeros(256, np.bool_)
    is_instrument = np.zeros(256, np.bool_)
    for entry in space.classes:
        is_part[entry.id], is_instrument[entry.id] = entry.part, entry.instrument
    class_ids = np.where(is_instrument, votes, -1).argmax(axis=1)
    own = is_instrument & (is_part == is_part[class_ids][:, None])
    entries = np.full((count, 2), np.nan)
    return Instances(labels.shape, cells.astype(np.int32), starts.astype(np.int64), class_ids, own, entries)


def _group_table(space: LabelSpace) -> ByteArray:
    table = np.zeros(256, np.uint8)
    for entry in space.classes:
        if entry.instrument:
            table[entry.id] = _PARTS if entry.part else entry.id + 1
    return table
