"""What the tags of one frame add to every measure of tags: small tables that frames of any set can be summed from.

A truth of tags is a picture of instrument numbers; boxes are those of visible pixels. An instrument of which less than
`SMALLEST` of the content is seen is not asked for: tags that match it, or most of whose pixels lie on it or on pixels
that truth ignores, are neither right nor wrong, unless they match another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from clip_rl_perception.arrays import BoolArray, ByteArray, CountArray, DoubleArray, Vector
from clip_rl_perception.metrics.confusion import MetricError

SMALLEST = 0.002
"""Visible area from which an instrument is asked for, as a share of the content's."""
MATCH = 0.5
"""IoU from which a tag and a true instrument are the same."""

Point = tuple[float, float]
"""(x, y), px."""
Numbers = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""A picture of instrument numbers; 0 is none."""


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTags:
    """The n tags of one frame."""

    boxes: DoubleArray
    """(x, y, width, height) of each, px, float64 (n, 4)."""
    confidences: DoubleArray
    """Float64 (n,)."""
    tracks: CountArray
    """Identities, int64 (n,)."""
    types: tuple[str, ...]
    """What each is told to be; empty: nothing is told."""
    points: tuple[Mapping[str, Point], ...]
    """Keypoints of each by name."""
    owners: ByteArray | None = None
    """i + 1 where a pixel belongs to tag i, else 0, uint8 (H, W); None: nothing is known but boxes."""


@dataclasses.dataclass(frozen=True)
class TruePoint:
    """A keypoint in space."""

    position: Vector
    """In the left eye's optical frame: x to the right, y down, z forward, m."""
    visible_left: bool
    """Whether the left picture shows it."""
    visible_right: bool


@dataclasses.dataclass(frozen=True)
class TrueSpace:
    """Where an instrument is."""

    points: Mapping[str, TruePoint]
    """Keypoints by name, those of the left picture; `entry` and `wrist` on the shaft's axis."""
    axis: Vector
    """Unit vector along the shaft towards its end, of the same frame."""


@dataclasses.dataclass(frozen=True)
class TrueInstrument:
    """What is known of an instrument beside its pixels."""

    type_name: str = ""
    """Empty: not known."""
    points: Mapping[str, Point] = dataclasses.field(default_factory=dict)
    """Keypoints that are seen, by name."""
    space: TrueSpace | None = None
    """Where it is; None: not known."""


@dataclasses.dataclass(frozen=True, eq=False)
class TagTruth:
    """The instruments that a frame shows."""

    instances: Numbers
    """Instrument numbers, the same for the same one throughout a video, uint8 or uint16 (H, W); 0 is none."""
    instruments: Mapping[int, TrueInstrument]
    """By number, those of which more than pixels is known."""
    ignored: BoolArray | None = None
    """Pixels that do not count, bool (H, W)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Overlap:
    """How far t true instruments and p tags of a frame are the same."""

    iou: DoubleArray
    """Float64 (t, p)."""
    excused: BoolArray
    """Tags that are not wrong where they match nothing, bool (p,)."""


@dataclasses.dataclass(frozen=True, eq=False)
class KeypointOffset:
    """One visible keypoint of a true instrument."""

    name: str
    """As of `KEYPOINTS`; both tips are "tip"."""
    px: float
    """Distance of what the matched tag says, px; NaN: there is no such tag, or it does not say."""


@dataclasses.dataclass(frozen=True, eq=False)
class TagMeasures:
    """One frame's t true instruments that are asked for, and its p tags."""

    truths: CountArray
    """Numbers of the instruments, int64 (t,)."""
    tracks: CountArray
    """Identities of the tags, int64 (p,)."""
    confidences: DoubleArray
    """Of the tags, float64 (p,)."""
    boxes: Overlap
    """By their boxes."""
    masks: Overlap | None
    """By their pixels; None where those of the tags are not known."""
    true_types: tuple[str, ...]
    """Of the instruments; empty where not known."""
    types: tuple[str, ...]
    """Of the tags; empty where none is told."""
    keypoints: tuple[KeypointOffset, ...]
    """Of the instruments, with the tags that match by box."""
    diagonal: float
    """Of the picture, px."""
    stamp_s: float = 0.0
    """Time of the frame, s."""


def measure_tags(
    tags: FrameTags, truth: TagTruth, *, content_area: float | None = None, stamp_s: float = 0.0
) -> TagMeasures:
    """Measure one frame.

    Args:
        tags: of the frame.
        truth: of the frame.
        content_area: pixels that show the patient; None: all.
        stamp_s: time of the frame, s.

    Raises:
        MetricError: owners or ignored pixels of another size than the truth.
    """
    shape = truth.instances.shape
    for name, array in (("tags' pixels are", tags.owners), ("ignored pixels are", truth.ignored)):
        if array is not None and array.shape != shape:
            raise MetricError(f"{name} {array.shape} but the truth of tags is {shape}; both must have the same size")
    numbers = np.flatnonzero(np.bincount(truth.instances.ravel(), minlength=1))
    numbers = np.concatenate([[0], numbers[numbers > 0]])
    count, owners = len(tags.boxes), tags.owners
    cells = len(numbers) * (count + 1)
    # The fewer bytes a pixel takes, the quicker all this is.
    place_of: npt.NDArray[Any] = np.zeros(int(numbers[-1]) + 1, np.uint16 if cells < 1 << 16 else np.int64)
    place_of[numbers] = np.arange(len(numbers))
    places = place_of[truth.instances]  # row of `table` below: 0 for no instrument
    pairs = places * places.dtype.type(count + 1)
    if owners is not None:
        pairs += owners
    if truth.ignored is not None:
        pairs[truth.ignored] = cells
    table = np.bincount(pairs.ravel(), minlength=cells + 1)[:cells].reshape(len(numbers), count + 1)
    areas = table.sum(axis=1)
    asked = areas >= SMALLEST * (content_area if content_area is not None else truth.instances.size)
    asked[0], small = False, areas > 0
    small[0] = False
    small &= ~asked
    boxes = np.array([_box(places == row) for row in range(1, len(numbers))], np.float64).reshape(-1, 4)
    by_box = box_iou(boxes, tags.boxes)
    nowhere = small[places] if truth.ignored is None else truth.ignored | small[places]
    excused = (by_box[small[1:]] >= MATCH).any(axis=0) | (np.array([_share(nowhere, box) for box in tags.boxes]) > 0.5)
    overlap = Overlap(by_box[asked[1:]], np.asarray(excused, np.bool_))
    rows = np.flatnonzero(asked)
    known = [truth.instruments.get(int(numbers[row]), TrueInstrument()) for row in rows]
    return TagMeasures(
        truths=numbers[rows].astype(np.int64),
        tracks=tags.tracks,
        confidences=tags.confidences,
        boxes=overlap,
        masks=None if owners is None else _by_pixels(table, asked, nowhere, owners),
        true_types=tuple(each.type_name for each in known),
        types=tags.types,
        keypoints=tuple(_offsets(known, tags.points, matched(overlap.iou))),
        diagonal=float(np.hypot(*shape)),
        stamp_s=stamp_s,
    )


def box_iou(one: DoubleArray, other: DoubleArray) -> DoubleArray:
    """IoU of boxes (x, y, width, height), float64 (n, 4) and (m, 4): float64 (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum((one[:, :2] + one[:, 2:])[:, None], (other[:, :2] + other[:, 2:])[None])
    both = np.clip(high - low, 0, None).prod(axis=2)
    either = one[:, 2:].prod(axis=1)[:, None] + other[:, 2:].prod(axis=1)[None] - both
    iou: DoubleArray = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return iou


def matched(iou: DoubleArray, threshold: float = MATCH) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the one-to-one matching of largest total IoU among pairs of at least `threshold`."""
    rows, columns = linear_sum_assignment(np.where(iou >= threshold, iou, 0), maximize=True)
    good = iou[rows, columns] >= threshold
    return rows[good], columns[good]


def kept(overlap: Overlap) -> npt.NDArray[np.intp]:
    """Tags that count: all but the excused ones that match nothing."""
    counts = ~overlap.excused
    counts[matched(overlap.iou)[1]] = True
    return np.flatnonzero(counts)


def _by_pixels(table: CountArray, asked: BoolArray, nowhere: BoolArray, owners: ByteArray) -> Overlap:
    """`table`: counted pixels by (instrument, tag), (rows, p + 1), 0 for none; others count for neither."""
    both = table[:, 1:].astype(np.float64)
    either = table.sum(axis=1)[:, None] + table[:, 1:].sum(axis=0)[None] - both
    iou = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    pixels = np.bincount(owners.ravel(), minlength=table.shape[1])[1 : table.shape[1]]
    lost = np.bincount(owners[nowhere], minlength=table.shape[1])[1 : table.shape[1]]
    return Overlap(iou[asked], np.asarray(2 * lost > pixels, np.bool_))


def _box(mask: BoolArray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def _share(mask: BoolArray, box: DoubleArray) -> float:
    x, y, width, height = (max(0, int(value)) for value in box)
    part = mask[y : y + height, x : x + width]
    return float(part.mean()) if part.size else 0.0


def kind_of(name: str) -> str:
    """What kind of keypoint it is: entry, wrist, or tip of both of them."""
    return name.partition("_")[0]


def _offsets(
    known: list[TrueInstrument],
    points: tuple[Mapping[str, Point], ...],
    pairs: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
) -> list[KeypointOffset]:
    """A tip's offset is that of the nearest tip of the tag: it does not say which jaw is which."""
    tag_of = dict(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))
    offsets = []
    for place, instrument in enumerate(known):
        told = points[tag_of[place]] if place in tag_of else {}
        for name, point in instrument.points.items():
            kind = kind_of(name)
            distances = [
                np.hypot(x - point[0], y - point[1]) for other, (x, y) in told.items() if other.startswith(kind)
            ]
            offsets.append(KeypointOffset(kind, float(min(distances, default=np.nan))))
    return offsets
