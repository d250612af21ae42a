"""Which cells of the logit grid belong to which instrument: connected areas, split where instruments touch or cross.

Whole-type classes (forceps, scissors): an instrument is what one class covers of a connected area of instrument
classes; classes that cover little of such an area are taken for errors and join the rest. Part classes (shaft, wrist,
clasper) form one instrument together. An instrument enters the picture once, so an area with several entries at the
border of the content is divided between them, and pieces that something in front cut off go to the entry that they lie
in line with.

Notation: (h, w) grid; cells as (n, 2) of (column, row); n cells.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.types import ByteArray

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64]


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
class Instance:
    """Cells of one instrument."""

    mask: BoolArray
    """(h, w)."""
    class_id: int
    """The class that covers most of it."""
    class_ids: tuple[int, ...]
    """Classes that it is made of: its own, or all part classes of the label space."""
    entry: FloatArray | None
    """Middle of its contact with the border of the content, (column, row); None when it touches nowhere."""


@dataclasses.dataclass(frozen=True)
class _Piece:
    """An instrument or a fragment of one."""

    mask: BoolArray
    """(h, w)."""
    group: int
    """See `_group_table`."""
    entry: FloatArray | None
    """As in `Instance`."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    place: FloatArray
    """Middle of the contact."""
    direction: FloatArray
    """Unit vector inwards along the instrument."""
    length: int
    """Cells in contact."""
    piece: int
    """Connected piece that the contact belongs to."""


def find_instances(
    labels: ByteArray, content: BoolArray, space: LabelSpace, config: InstanceConfig | None = None
) -> list[Instance]:
    """Divide a grid label map into instruments.

    Args:
        labels: class ids, uint8 (h, w); 255 outside the content.
        content: nodes that show the patient, bool (h, w).
        space: tells instruments and parts from tissue.
        config: limits.

    Returns:
        Instruments with at least `config.min_area` of the content, largest first.
    """
    config = config or InstanceConfig()
    grouped = _group_table(space)[labels]
    count, areas, statistics, _ = cv2.connectedComponentsWithStats((grouped > 0).astype(np.uint8), connectivity=8)
    smallest = max(1.0, config.min_area * float(content.sum()))
    rim = _rim(content)
    found: list[_Piece] = []
    for index in range(1, count):
        left, top, width, height, cells = statistics[index].tolist()
        window = np.s_[top : top + height, left : left + width]
        area = areas[window] == index
        if cells < smallest:  # no instrument by itself: a fragment of one beside it, or nothing
            full = np.zeros(labels.shape, bool)
            full[window] = area
            found.append(_Piece(full, int(np.bincount(grouped[window][area]).argmax()), None))
            continue
        least = min(float(cells), max(smallest, config.substantial * cells))
        for group, mask in _by_group(grouped[window], area, least):
            for piece, entry in _by_entry(mask, rim[window] & mask, config):
                full = np.zeros(labels.shape, bool)
                full[window] = piece
                found.append(_Piece(full, group, None if entry is None else entry + np.array([left, top], np.float64)))
    part_ids = tuple(entry.id for entry in space.classes if entry.instrument and entry.part)
    instances = []
    for joined in _join_fragments(found, config):
        size = int(np.count_nonzero(joined.mask))
        if size >= smallest:
            class_ids = part_ids if joined.group == _PARTS else (joined.group - 1,)
            own = np.bincount(labels[joined.mask], minlength=256)
            class_id = max(class_ids, key=lambda k: (int(own[k]), -k))
            instances.append((size, Instance(joined.mask, class_id, class_ids, joined.entry)))
    return [instance for _, instance in sorted(instances, key=lambda pair: -pair[0])]


def _join_fragments(pieces: list[_Piece], config: InstanceConfig) -> list[_Piece]:
    """Give pieces without an entry to the instrument of their group that they lie beside: claspers to their wrist."""
    whole = [piece for piece in pieces if piece.entry is not None]
    loose = [piece for piece in pieces if piece.entry is None]
    if not whole or not loose:
        return pieces
    size = 2 * (config.fragment_gap + 1) + 1
    around = [cv2.dilate(piece.mask.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool) for piece in whole]
    kept = []
    for piece in loose:
        cells = np.flatnonzero(piece.mask)
        touching = [
            int(np.count_nonzero(near.ravel()[cells])) if other.group == piece.group else 0
            for near, other in zip(around, whole, strict=True)
        ]
        best = int(np.argmax(touching))
        if touching[best] > 0:
            whole[best] = dataclasses.replace(whole[best], mask=whole[best].mask | piece.mask)
        else:
            kept.append(piece)
    return whole + kept


_NEARNESS = 0.015
"""What a cell's distance from an entry counts, per cell, beside its distance from the shaft's line over the width."""
_PARTS = 255
"""Group of all part classes; a whole class k is group k + 1; 0 is no instrument."""


def _group_table(space: LabelSpace) -> ByteArray:
    table = np.zeros(256, np.uint8)
    for entry in space.classes:
        if entry.instrument:
            table[entry.id] = _PARTS if entry.part else entry.id + 1
    return table


def _rim(content: BoolArray) -> BoolArray:
    """Content cells with a neighbour outside the content or outside the grid."""
    padded = np.pad(content, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return content & ~inner


def _by_group(grouped: ByteArray, area: BoolArray, substantial: float) -> list[tuple[int, BoolArray]]:
    """Divide a connected area between the groups that cover enough of it; cells of the others go to the nearest."""
    counts = np.bincount(grouped[area], minlength=256)
    counts[0] = 0
    kept = [int(group) for group in np.flatnonzero(counts >= substantial)] or [int(counts.argmax())]
    if len(kept) == 1:
        return [(kept[0], area)]
    is_kept = np.isin(grouped, kept) & area
    if not (area & ~is_kept).any():
        return [(group, (grouped == group) & area) for group in kept]
    rows, columns = ndimage.distance_transform_edt(~is_kept, return_distances=False, return_indices=True)
    nearest = grouped[rows, columns]
    return [(group, (nearest == group) & area) for group in kept]


def _by_entry(mask: BoolArray, contact: BoolArray, config: InstanceConfig) -> list[tuple[BoolArray, FloatArray | None]]:
    """Divide the cells of one group between its entries at the border; each with the middle of its contact."""
    pieces = np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1], np.int32)
    entries = _entries(mask, contact, pieces, config)
    if len(entries) <= 1:
        return [(mask, entries[0].place if entries else None)]
    owners = _owners(mask, pieces, entries)
    total = int(mask.sum())
    # An entry that owns little is a frayed border, not an instrument: without the smallest, try again.
    while len(entries) > 1:
        sizes = [int((owners == i).sum()) for i in range(len(entries))]
        weakest = int(np.argmin(sizes))
        if sizes[weakest] >= config.substantial * total / len(entries):
            break
        del entries[weakest]
        owners = _owners(mask, pieces, entries)
    return [((owners == i) & mask, entry.place) for i, entry in enumerate(entries)]


def _entries(
    mask: BoolArray, contact: BoolArray, pieces: npt.NDArray[np.int32], config: InstanceConfig
) -> list[_Entry]:
    """Contacts with the border, longest first; opposite ones in line with each other count once."""
    size = 2 * ((config.entry_gap + 1) // 2) + 1  # dilated by half the gap from both sides, stretches meet
    joined = cv2.dilate(contact.astype(np.uint8), np.ones((size, size), np.uint8))
    count, runs = cv2.connectedComponents(joined, connectivity=8)
    touches = [np.argwhere(contact & (runs == run)) for run in range(1, count)]
    if len(touches) == 1:  # the usual case needs no direction
        return [_Entry(touches[0][:, ::-1].mean(axis=0), np.zeros(2), len(touches[0]), 1)]
    cells = np.argwhere(mask)[:, ::-1].astype(np.float64)
    piece_of = pieces[mask]
    entries: list[_Entry] = []
    for touching in touches:
        place = touching[:, ::-1].mean(axis=0)
        piece = int(np.bincount(pieces[touching[:, 0], touching[:, 1]]).argmax())
        near = cells[piece_of == piece]
        near = near[np.hypot(*(near - place).T) <= max(4.0, 2.0 * len(touching))]
        entries.append(_Entry(place, _direction(near, place), len(touching), piece))
    entries.sort(key=lambda entry: -entry.length)
    kept: list[_Entry] = []
    for entry in entries:
        across = any(
            other.piece == entry.piece
            and float(other.direction @ entry.direction) < -config.straight
            and _off_line(entry.place[None], other)[0] < 0.7 * max(other.length, entry.length)
            for other in kept
        )
        if not across:
            kept.append(entry)
    return kept


def _direction(cells: FloatArray, place: FloatArray) -> FloatArray:
    """Unit vector from a contact into the instrument: the long axis of the cells near it, or their mean direction."""
    inward = cells.mean(axis=0) - place
    if len(cells) >= 6:
        values, vectors = np.linalg.eigh(np.cov(cells.T))
        if values[1] > 2.0 * max(values[0], 1e-9):
            axis: FloatArray = vectors[:, 1]
            return axis if axis @ inward >= 0 else -axis
    length = float(np.hypot(*inward))
    return inward / length if length > 1e-9 else np.array([1.0, 0.0])


def _off_line(cells: FloatArray, entry: _Entry) -> FloatArray:
    """Distance of cells from the ray of an entry; behind its start, distance from the start."""
    offset = cells - entry.place
    along = offset @ entry.direction
    across = np.abs(offset[:, 0] * entry.direction[1] - offset[:, 1] * entry.direction[0])
    return np.where(along >= 0, across, np.hypot(offset[:, 0], offset[:, 1]))


def _owners(mask: BoolArray, pieces: IntArray, entries: list[_Entry]) -> npt.NDArray[np.int64]:
    """Which entry each cell of the mask belongs to, int64 (h, w); -1 outside the mask."""
    rows, columns = np.nonzero(mask)
    cells = np.stack([columns, rows], axis=-1).astype(np.float64)
    # Widths differ: a cell belongs to the shaft that it lies deepest in; of two that meet head-on, to the nearer.
    off = np.stack([_off_line(cells, entry) / max(entry.length, 2) for entry in entries])
    off += _NEARNESS * np.stack([np.hypot(*(cells - entry.place).T) for entry in entries])
    piece_of = pieces[rows, columns]
    for piece in np.unique(piece_of):
        inside = [i for i, entry in enumerate(entries) if entry.piece == piece]
        if inside:  # a piece with entries of its own is divided between those
            others = [i for i in range(len(entries)) if i not in inside]
            for i in others:
                off[i, piece_of == piece] = np.inf
        else:  # a piece that something in front cut off goes as a whole to the entry in line with it
            cut = piece_of == piece
            off[:, cut] = off[:, cut].mean(axis=1, keepdims=True)
    owners = np.full(mask.shape, -1, np.int64)
    owners[rows, columns] = off.argmin(axis=0)
    return owners
