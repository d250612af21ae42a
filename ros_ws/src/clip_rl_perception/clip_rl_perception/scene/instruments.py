"""Instruments in a label map: which pixels are one instrument, what it is, where its shaft runs and its tip ends.

Works on the logit grid, where a frame has some thousand nodes, and speaks in pixels of the full-size frame. Touching
instrument classes are one instrument unless each holds a substantial share of it: a few nodes of another class are a
doubt of the network, a third of the nodes are another tool. Parts (shaft, wrist, clasper) always belong together.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.scene.types import ByteArray, FloatArray, Instrument, NetworkView
from clip_rl_perception.scene.view import STRIDE, box_to_frame, grid_content_mask, grid_to_frame

PointArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class InstrumentConfig:
    """What counts as an instrument."""

    min_area: float = 0.001
    """Specks below this share of the content area are dropped, [0, 1]."""
    split_share: float = 0.25
    """Classes that each hold at least this share of a connected area are instruments of their own, (0, 0.5]."""
    border_nodes: int = 2
    """An instrument reaches the border where it comes this close to it, logit nodes."""


def find_instruments(
    labels: ByteArray,
    probability: FloatArray,
    space: LabelSpace,
    view: NetworkView,
    config: InstrumentConfig | None = None,
) -> tuple[Instrument, ...]:
    """Instruments of a frame, untracked, largest first.

    Args:
        labels: class ids on the logit grid, uint8 (h, w); 255 outside the content.
        probability: calibrated probability of those classes, float32 (h, w).
        space: which classes are instruments and which are parts.
        view: where the grid lies in the frame.
        config: limits.

    Returns:
        One `Instrument` each; its area is nodes times pixels per node, its box and tip are good to half a node.
    """
    config = config or InstrumentConfig()
    groups = _groups(space)
    kinds = groups[labels]
    content = grid_content_mask(view, STRIDE)
    smallest = max(1.0, config.min_area * float(np.count_nonzero(content)))
    distance = _border_distance(content)
    found = []
    count, components, stats, _ = cv2.connectedComponentsWithStats((kinds > 0).astype(np.uint8), connectivity=8)
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] < smallest:
            continue
        left, top = int(stats[index, cv2.CC_STAT_LEFT]), int(stats[index, cv2.CC_STAT_TOP])
        right = left + int(stats[index, cv2.CC_STAT_WIDTH])
        bottom = top + int(stats[index, cv2.CC_STAT_HEIGHT])
        window = (slice(top, bottom), slice(left, right))
        member = components[window] == index
        for part in _split(member, kinds[window], smallest, config):
            footprint = np.zeros(labels.shape, np.uint8)
            footprint[window] = part
            found.append(_describe(footprint, labels, probability, distance, view, config))
    return tuple(sorted(found, key=lambda instrument: -instrument.area))


def _groups(space: LabelSpace) -> ByteArray:
    """Lookup from class id to instrument group, uint8 (256,): 0 no instrument, 1 all parts, 2 + id a whole class."""
    table = np.zeros(256, np.uint8)
    for entry in space.classes:
        if entry.instrument:
            table[entry.id] = 1 if entry.part else min(255, entry.id + 2)
    table[UNLABELLED] = 0
    return table


def _split(member: npt.NDArray[np.bool_], kinds: ByteArray, smallest: float, config: InstrumentConfig) -> list[Any]:
    """Masks of the instruments in one connected area: one per group with a substantial share, the rest nearest."""
    values, counts = np.unique(kinds[member], return_counts=True)
    large = values[(counts >= config.split_share * member.sum()) & (counts >= smallest)]
    if len(large) < 2:
        return [member]
    # Nodes of minor classes go to the nearest large one, so that nothing of the area is lost.
    distances = np.stack(
        [cv2.distanceTransform((~(member & (kinds == kind))).astype(np.uint8), cv2.DIST_L2, 3) for kind in large]
    )
    owner = distances.argmin(axis=0)
    return [member & (owner == index) for index in range(len(large))]


def _describe(
    footprint: ByteArray,
    labels: ByteArray,
    probability: FloatArray,
    distance: FloatArray,
    view: NetworkView,
    config: InstrumentConfig,
) -> Instrument:
    rows, columns = np.nonzero(footprint)
    values, counts = np.unique(labels[rows, columns], return_counts=True)
    class_id = int(values[counts.argmax()])
    near = distance[rows, columns]
    touches = bool((near <= config.border_nodes).any())
    nodes = np.stack([columns, rows], axis=1).astype(np.float64)
    tip, axis = _tip_and_axis(nodes, near, touches, config)
    edges = (
        columns.min() * STRIDE - 0.5,
        rows.min() * STRIDE - 0.5,
        (columns.max() + 1) * STRIDE - 0.5,
        (rows.max() + 1) * STRIDE - 0.5,
    )
    crop = view.crop
    tip_x, tip_y = grid_to_frame(tip, view).tolist()
    return Instrument(
        class_id=class_id,
        confidence=float(probability[rows, columns].mean()),
        box=box_to_frame(edges, view),
        tip=(
            float(np.clip(tip_x, crop.x, crop.x + crop.width - 1)),
            float(np.clip(tip_y, crop.y, crop.y + crop.height - 1)),
        ),
        axis=(float(axis[0]), float(axis[1])),
        area=len(rows) * (STRIDE / view.scale) ** 2,
        touches_border=touches,
        footprint=footprint,
    )


def _tip_and_axis(
    nodes: PointArray, near: FloatArray, touches: bool, config: InstrumentConfig
) -> tuple[PointArray, PointArray]:
    """Tip and unit axis in grid coordinates.

    The axis runs from the entry, where the instrument crosses the border, to the end away from it. The shaft is
    straight and in the half nearer to the entry, jaws may open to any side: the line is fitted, robustly, to that half.
    """
    centre = nodes.mean(axis=0)
    direction = _principal(nodes - centre)
    along = (nodes - centre) @ direction
    # The end that lies deeper inside the picture is the tip; of one that reaches the border, the end away from there.
    if touches:
        entry = nodes[near <= config.border_nodes].mean(axis=0)
        forward = float((centre - entry) @ direction) >= 0
    else:
        third = np.quantile(along, [1 / 3, 2 / 3])
        forward = float(near[along >= third[1]].mean()) >= float(near[along <= third[0]].mean())
    if not forward:
        direction, along = -direction, -along
    shaft = nodes[along <= np.median(along)]
    if len(shaft) >= 8:
        line = cv2.fitLine(shaft.astype(np.float32), cv2.DIST_HUBER, 0, 0.01, 0.01).reshape(-1).astype(np.float64)
        fitted = line[:2] / np.linalg.norm(line[:2])
        fitted = fitted if fitted @ direction >= 0 else -fitted
        # A stub at the border is wider than long; there the fit means nothing and the whole says more.
        if fitted @ direction > np.cos(np.radians(35.0)):
            direction = fitted
    along = (nodes - centre) @ direction
    end = nodes[along >= along.max() - 1.0]
    sideways = end - (end - centre) @ direction[:, None] * direction
    return sideways.mean(axis=0) + (along.max() + 0.5) * direction, direction


def _principal(centred: PointArray) -> PointArray:
    """Unit direction of the largest spread of points (n, 2) about their mean."""
    covariance = centred.T @ centred
    _, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors[:, -1], np.float64)


def _border_distance(content: npt.NDArray[np.bool_]) -> FloatArray:
    """Distance of each node to the nearest one outside content or grid, nodes, float32 (h, w); 1 at the border."""
    framed = cv2.copyMakeBorder(content.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)
