"""What `scene.instances`, `scene.axis` and `scene.instruments` compute, written down plainly with masks and arrays.

The yardstick of test_compiled_scene.py. Of several nearest cells, the first counts.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.letterbox import grid_to_frame
from clip_rl_perception.scene.types import Box, Letterbox
from plain_axis import fit_axis

NEARNESS = 0.015
PARTS = 255


@dataclasses.dataclass(frozen=True)
class Found:
    """An instrument, or a piece of one."""

    mask: BoolArray
    group: int
    entry: DoubleArray | None
    class_id: int = -1

    def axis(self, border: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Direction, tip and reach."""
        rows, columns = np.nonzero(self.mask)
        cells: DoubleArray = np.stack([columns, rows], axis=-1).astype(np.float64)
        found: tuple[DoubleArray, DoubleArray, DoubleArray] = fit_axis(cells, self.entry, border)
        return found


@dataclasses.dataclass(frozen=True)
class Entry:
    place: DoubleArray
    direction: DoubleArray
    length: int
    piece: int


def find_instances(labels: Any, content: BoolArray, space: LabelSpace, config: InstanceConfig) -> list[Found]:
    """As `scene.instances.find_instances`; class ids are 255 outside the content."""
    table = np.zeros(256, np.uint8)
    for known in space.classes:
        if known.instrument:
            table[known.id] = PARTS if known.part else known.id + 1
    grouped = table[labels]
    count, areas = cv2.connectedComponents((grouped > 0).astype(np.uint8), connectivity=8)
    smallest = max(1.0, config.min_area * float(content.sum()))
    padded = np.pad(content, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    found: list[Found] = []
    for index in range(1, count):
        area = np.asarray(areas == index)
        cells = int(area.sum())
        if cells < smallest:
            found.append(Found(area, int(np.bincount(grouped[area]).argmax()), None))
            continue
        least = min(float(cells), max(smallest, config.substantial * cells))
        for group, mask in by_group(grouped, area, least):
            found += [Found(piece, group, entry) for piece, entry in by_entry(mask, content & ~inner & mask, config)]
    parts = tuple(known.id for known in space.classes if known.instrument and known.part)
    kept = []
    for joined in join_fragments(found, config):
        if int(joined.mask.sum()) >= smallest:
            own = np.bincount(labels[joined.mask], minlength=256)
            ids = parts if joined.group == PARTS else (joined.group - 1,)
            kept.append(dataclasses.replace(joined, class_id=max(ids, key=lambda k: (int(own[k]), -k))))
    return sorted(kept, key=lambda instance: -int(instance.mask.sum()))


def by_group(grouped: Any, area: BoolArray, substantial: float) -> list[tuple[int, BoolArray]]:
    """Divide a connected area between the groups that cover enough of it; cells of the others go to the nearest."""
    counts = np.bincount(grouped[area], minlength=256)
    kept = [int(group) for group in np.flatnonzero(counts >= substantial)] or [int(counts.argmax())]
    if len(kept) == 1:
        return [(kept[0], area)]
    is_kept = np.isin(grouped, kept) & area
    near = np.argwhere(is_kept)
    nearest = grouped.copy()
    for cell in np.argwhere(area & ~is_kept):
        nearest[tuple(cell)] = grouped[tuple(near[((near - cell) ** 2).sum(axis=1).argmin()])]
    return [(group, (nearest == group) & area) for group in kept]


def by_entry(mask: BoolArray, contact: BoolArray, config: InstanceConfig) -> list[tuple[BoolArray, DoubleArray | None]]:
    """Divide the cells of one group between its entries at the border; each with the middle of its contact."""
    pieces = np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1], np.int32)
    entries = find_entries(mask, contact, pieces, config)
    if len(entries) <= 1:
        return [(mask, entries[0].place if entries else None)]
    owners, total = owners_of(mask, pieces, entries), int(mask.sum())
    while len(entries) > 1:
        sizes = [int((owners == i).sum()) for i in range(len(entries))]
        weakest = int(np.argmin(sizes))
        if sizes[weakest] >= config.substantial * total / len(entries):
            break
        del entries[weakest]
        owners = owners_of(mask, pieces, entries)
    return [((owners == i) & mask, entry.place) for i, entry in enumerate(entries)]


def find_entries(mask: BoolArray, contact: BoolArray, pieces: Any, config: InstanceConfig) -> list[Entry]:
    """Contacts with the border, longest first; opposite ones in line with each other count once."""
    size = 2 * ((config.entry_gap + 1) // 2) + 1
    joined = cv2.dilate(contact.astype(np.uint8), np.ones((size, size), np.uint8))
    count, runs = cv2.connectedComponents(joined, connectivity=8)
    touches = [np.argwhere(contact & (runs == run)) for run in range(1, count)]
    touches = sorted((cells for cells in touches if len(cells)), key=lambda cells: (cells[0][0], cells[0][1]))
    if len(touches) == 1:
        return [Entry(touches[0][:, ::-1].mean(axis=0), np.zeros(2), len(touches[0]), 1)]
    cells, piece_of = np.argwhere(mask)[:, ::-1].astype(np.float64), pieces[mask]
    entries = []
    for touching in touches:
        place = touching[:, ::-1].mean(axis=0)
        piece = int(np.bincount(pieces[touching[:, 0], touching[:, 1]]).argmax())
        near = cells[piece_of == piece]
        near = near[np.hypot(*(near - place).T) <= max(4.0, 2.0 * len(touching))]
        entries.append(Entry(place, direction(near, place), len(touching), piece))
    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: -entry.length):
        if not any(
            other.piece == entry.piece
            and float(other.direction @ entry.direction) < -config.straight
            and off_line(entry.place[None], other)[0] < 0.7 * max(other.length, entry.length)
            for other in kept
        ):
            kept.append(entry)
    return kept


def direction(cells: DoubleArray, place: DoubleArray) -> DoubleArray:
    """Unit vector from a contact into the instrument: the long axis of the cells near it, or their mean direction."""
    inward = cells.mean(axis=0) - place
    if len(cells) >= 6:
        values, vectors = np.linalg.eigh(np.cov(cells.T))
        if values[1] > 2.0 * max(values[0], 1e-9):
            axis: DoubleArray = vectors[:, 1]
            return axis if axis @ inward >= 0 else -axis
    length = float(np.hypot(*inward))
    return inward / length if length > 1e-9 else np.array([1.0, 0.0])


def off_line(cells: DoubleArray, entry: Entry) -> DoubleArray:
    """Distance of cells from the ray of an entry; behind its start, distance from the start."""
    offset = cells - entry.place
    across = np.abs(offset[:, 0] * entry.direction[1] - offset[:, 1] * entry.direction[0])
    return np.where(offset @ entry.direction >= 0, across, np.hypot(offset[:, 0], offset[:, 1]))


def owners_of(mask: BoolArray, pieces: Any, entries: list[Entry]) -> npt.NDArray[np.int64]:
    """Which entry each cell of the mask belongs to, int64 (h, w); -1 outside the mask."""
    rows, columns = np.nonzero(mask)
    cells = np.stack([columns, rows], axis=-1).astype(np.float64)
    off = np.stack([off_line(cells, entry) / max(entry.length, 2) for entry in entries])
    off += NEARNESS * np.stack([np.hypot(*(cells - entry.place).T) for entry in entries])
    piece_of = pieces[rows, columns]
    for piece in np.unique(piece_of):
        inside = [i for i, entry in enumerate(entries) if entry.piece == piece]
        cut = piece_of == piece
        if inside:
            for i in set(range(len(entries))) - set(inside):
                off[i, cut] = np.inf
        else:
            off[:, cut] = off[:, cut].mean(axis=1, keepdims=True)
    owners = np.full(mask.shape, -1, np.int64)
    owners[rows, columns] = off.argmin(axis=0)
    return owners


def join_fragments(pieces: list[Found], config: InstanceConfig) -> list[Found]:
    """Give pieces without an entry to the instrument of their group that they lie beside."""
    whole = [piece for piece in pieces if piece.entry is not None]
    kept, size = [], 2 * (config.fragment_gap + 1) + 1
    around = [cv2.dilate(piece.mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0 for piece in whole]
    for piece in pieces:
        if piece.entry is not None:
            continue
        beside = [
            int((near & piece.mask).sum()) if other.group == piece.group else 0
            for near, other in zip(around, whole, strict=True)
        ]
        if max(beside, default=0) > 0:
            best = int(np.argmax(beside))
            whole[best] = dataclasses.replace(whole[best], mask=whole[best].mask | piece.mask)
        else:
            kept.append(piece)
    return whole + kept


def visible_tip(
    tip: DoubleArray, reach: DoubleArray, own: BoolArray, label_map: ByteArray, view: Letterbox
) -> tuple[float, float]:
    """Last pixel of the instrument on the line through the tip, (x, y) px."""
    height, width = label_map.shape
    ends = [tip - 3.0 * reach, tip + 1.5 * reach]
    start, stop = grid_to_frame(ends, view)
    count = max(2, int(np.ceil(2 * np.hypot(*(stop - start)))) + 1)
    points = start + np.linspace(0, 1, count)[:, None] * (stop - start)
    x, y = np.rint(points[:, 0]).astype(int), np.rint(points[:, 1]).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    hits = np.flatnonzero(own[label_map[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]] & inside)
    place = points[hits[-1]] if hits.size else grid_to_frame(tip, view)
    return (float(np.clip(place[0], 0, width - 1)), float(np.clip(place[1], 0, height - 1)))


def tight_box(mask: BoolArray, own: BoolArray, label_map: ByteArray, view: Letterbox) -> Box:
    """Bounding box of the visible pixels.

    A side of the box lies between the outermost nodes of the mask and the next ones beyond: the label map tells where.
    """
    crop = view.crop
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))

    def beyond(across: tuple[float, float], down: tuple[float, float]) -> tuple[int, int, BoolArray]:
        """First pixel and instrument mask of the frame between grid columns and rows."""
        near, far = grid_to_frame([[across[0], down[0]], [across[1], down[1]]], view).tolist()
        x0, y0 = max(crop.x, math.floor(near[0])), max(crop.y, math.floor(near[1]))
        x1 = min(crop.x + crop.width, math.ceil(far[0]) + 1)
        y1 = min(crop.y + crop.height, math.ceil(far[1]) + 1)
        return x0, y0, own[label_map[y0:y1, x0:x1]]

    def span(line: BoolArray) -> tuple[float, float]:
        places = np.flatnonzero(line)
        return float(places[0] - 1), float(places[-1] + 1)

    left, right, top, bottom = float(columns[0]), float(columns[-1]), float(rows[0]), float(rows[-1])
    (fallback_left, fallback_top), (fallback_right, fallback_bottom) = np.rint(
        grid_to_frame([[left - 0.5, top - 0.5], [right + 0.5, bottom + 0.5]], view)
    ).astype(int)
    x0, _, seen = beyond((left - 1, left), span(mask[:, columns[0]]))
    box_left = x0 + int(seen.any(axis=0).argmax()) if seen.any() else fallback_left
    x0, _, seen = beyond((right, right + 1), span(mask[:, columns[-1]]))
    box_right = x0 + int(np.flatnonzero(seen.any(axis=0))[-1]) if seen.any() else fallback_right
    _, y0, seen = beyond(span(mask[rows[0]]), (top - 1, top))
    box_top = y0 + int(seen.any(axis=1).argmax()) if seen.any() else fallback_top
    _, y0, seen = beyond(span(mask[rows[-1]]), (bottom, bottom + 1))
    box_bottom = y0 + int(np.flatnonzero(seen.any(axis=1))[-1]) if seen.any() else fallback_bottom
    box_left = min(max(int(box_left), crop.x), crop.x + crop.width - 1)
    box_top = min(max(int(box_top), crop.y), crop.y + crop.height - 1)
    box_right = min(max(int(box_right), box_left), crop.x + crop.width - 1)
    box_bottom = min(max(int(box_bottom), box_top), crop.y + crop.height - 1)
    return Box(box_left, box_top, box_right - box_left + 1, box_bottom - box_top + 1)
