"""Instruments of a model without an instance head: connected areas of one class, and where they enter.

Whole-type classes (forceps, scissors): an instrument is what one class covers of a connected area of instrument
classes; classes that cover little of such an area are taken for errors and count as the one that covers most. Part
classes (shaft, wrist, clasper) form one instrument together. An instrument enters the picture once: an area with
several entries at the border of the content is divided between them, each cell to the ray that it lies nearest to.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.instances import InstanceConfig, rim_of

_PARTS = 255
"""Group of all part classes; a whole class k is group k + 1; 0 is no instrument."""
_NEARNESS = 0.015
"""Share that the distance from an entry has in whose a cell is: of two shafts that meet head-on it is the nearer's."""


@dataclasses.dataclass(frozen=True)
class Areas:
    """The m instruments of a frame, the largest first."""

    owners: npt.NDArray[np.intp]
    """Instrument of each node, from 1, 0 none, (h, w)."""
    entries: DoubleArray
    """Middle of each one's contact with the border of the content, (column, row), (m, 2); NaN: it touches nowhere."""


def find_areas(labels: ByteArray, content: BoolArray, space: LabelSpace, config: InstanceConfig | None = None) -> Areas:
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
    smallest, rim = max(1.0, config.min_area * float(content.sum())), rim_of(content)
    groups = np.where(content, _group_table(space)[labels], np.uint8(0))
    pieces = _joined(_pieces(groups, smallest, config), groups, rim, config)
    found: list[tuple[BoolArray, DoubleArray]] = []
    size = np.bincount(pieces.ravel())
    for piece in (np.flatnonzero(size[1:] >= smallest) + 1).tolist():
        mask = np.asarray(pieces == piece, np.bool_)
        found += [part for part in _by_entry(mask, rim, config) if part[0].sum() >= smallest]
    found.sort(key=lambda part: -int(part[0].sum()))
    owners = np.zeros(labels.shape, np.intp)
    for number, (mask, _) in enumerate(found, start=1):
        owners[mask] = number
    return Areas(owners, np.array([entry for _, entry in found]).reshape(-1, 2))


def _group_table(space: LabelSpace) -> ByteArray:
    table = np.zeros(256, np.uint8)
    for entry in space.classes:
        if entry.instrument:
            table[entry.id] = _PARTS if entry.part else entry.id + 1
    return table


def _pieces(groups: ByteArray, smallest: float, config: InstanceConfig) -> npt.NDArray[np.intp]:
    """What each group covers of each connected area, numbered from 1; changes groups that cover too little."""
    count, areas = cv2.connectedComponents((groups > 0).astype(np.uint8), connectivity=8)
    covered = np.bincount(areas.ravel() * 256 + groups.ravel(), minlength=count * 256).reshape(count, 256)
    few = covered < np.maximum(smallest, config.substantial * covered.sum(axis=1))[:, None]
    few[0] = False
    groups[:] = np.where(few[areas, groups], covered.argmax(axis=1)[areas], groups)
    keys = np.where(areas > 0, areas * 256 + groups, 0)
    return np.unique(np.append(0, keys), return_inverse=True)[1][1:].reshape(groups.shape)


def _joined(
    pieces: npt.NDArray[np.intp], groups: ByteArray, rim: BoolArray, config: InstanceConfig
) -> npt.NDArray[np.intp]:
    """Give loose pieces to the largest instrument of their group that they lie beside: claspers to their wrist."""
    size = np.bincount(pieces.ravel())
    loose = np.ones(len(size), np.bool_)
    loose[pieces[rim]] = False
    home = np.arange(len(size))
    for group in np.unique(groups[groups > 0]):
        mask = np.asarray(groups == group, np.uint8)
        reach = np.ones((config.fragment_gap + 1, config.fragment_gap + 1), np.uint8)
        count, near = cv2.connectedComponents(cv2.dilate(mask, reach), connectivity=8)
        whole, parts = (mask > 0) & ~loose[pieces], (mask > 0) & loose[pieces]
        host = np.zeros(count, np.intp)  # of each neighbourhood, the largest: it is written last
        order = np.argsort(size[pieces[whole]], kind="stable")
        host[near[whole][order]] = pieces[whole][order]
        hosts = host[near[parts]]
        home[pieces[parts][hosts > 0]] = hosts[hosts > 0]
    return home[pieces]


@dataclasses.dataclass(frozen=True)
class _Entry:
    place: DoubleArray
    """Middle of the contact with the border, (column, row)."""
    inwards: DoubleArray
    """Unit vector."""
    width: int
    """Cells in contact."""

    def off(self, cells: DoubleArray) -> DoubleArray:
        """Distance of cells (n, 2) from the ray; behind its start, distance from the start."""
        offset = cells - self.place
        across = np.abs(offset[:, 0] * self.inwards[1] - offset[:, 1] * self.inwards[0])
        return np.where(offset @ self.inwards >= 0, across, np.hypot(offset[:, 0], offset[:, 1]))


def _by_entry(mask: BoolArray, rim: BoolArray, config: InstanceConfig) -> list[tuple[BoolArray, DoubleArray]]:
    """Divide one piece between its entries; those that own little are a frayed border."""
    rows, columns = np.nonzero(mask)
    cells = np.stack([columns, rows], axis=1).astype(np.float64)
    entries = _entries(cells, np.asarray(mask & rim, np.uint8), config)
    while True:
        if len(entries) <= 1:
            return [(mask, entries[0].place if entries else np.full(2, np.nan))]
        off = np.stack([entry.off(cells) / max(entry.width, 2) for entry in entries])
        off += _NEARNESS * np.stack([np.hypot(*(cells - entry.place).T) for entry in entries])
        owner = off.argmin(axis=0)
        size = np.bincount(owner, minlength=len(entries))
        weakest = int(size.argmin())
        if size[weakest] >= config.substantial * len(cells) / len(entries):
            break
        del entries[weakest]
    parts = []
    for index, entry in enumerate(entries):
        part = np.zeros(mask.shape, np.bool_)
        part[rows[owner == index], columns[owner == index]] = True
        parts.append((part, entry.place))
    return parts


def _entries(cells: DoubleArray, contact: ByteArray, config: InstanceConfig) -> list[_Entry]:
    """Stretches of contact with the border, the widest first; opposite ones in line with each other count once."""
    reach = np.ones((config.entry_gap + 1, config.entry_gap + 1), np.uint8)
    count, stretches = cv2.connectedComponents(cv2.dilate(contact, reach), connectivity=8)
    kept: list[_Entry] = []
    touching = [np.argwhere((stretches == index) & (contact > 0))[:, ::-1] for index in range(1, count)]
    for touches in sorted(touching, key=len, reverse=True):
        place = touches.mean(axis=0)
        near = cells[np.hypot(*(cells - place).T) <= max(4.0, 2.0 * len(touches))]
        inwards = near.mean(axis=0) - place
        values, vectors = np.linalg.eigh(np.cov(near.T)) if len(near) >= 6 else (np.zeros(2), np.eye(2))
        if values[1] > 2.0 * max(values[0], 1e-9):  # else it has no long axis
            inwards = vectors[:, 1] if vectors[:, 1] @ inwards >= 0 else -vectors[:, 1]
        inwards = inwards / max(float(np.hypot(*inwards)), 1e-9)
        if not any(
            float(other.inwards @ inwards) < -config.straight
            and other.off(place[None])[0] < 0.7 * max(other.width, len(touches))
            for other in kept
        ):
            kept.append(_Entry(place, inwards, len(touches)))
    return kept
