"""From the grid label map to instruments as a robot needs them: class, confidence, box, area, shaft axis, tip.

The work is done on the logit grid, a node of which covers ``(stride / view.scale)**2`` px^2 of the frame: areas are
numbers of nodes times that. Box sides and the tip are then read off the full-size label map, to the pixel, in the cells
where the grid says that they are.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from clip_rl_perception.instance_channels import CHANNELS, INSTANCE_STRIDE
from clip_rl_perception.kernels import instrument_kernels as kernels
from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.scene.areas import find_areas
from clip_rl_perception.scene.axis import fit_axis
from clip_rl_perception.scene.instances import InstanceConfig, Instances, instances_of
from clip_rl_perception.scene.label_map import pixel_major
from clip_rl_perception.scene.letterbox import (
    frame_to_grid,
    grid_content_mask,
    grid_to_frame,
    make_letterbox,
)
from clip_rl_perception.scene.types import Box, Instrument, Keypoint, Letterbox
from clip_rl_perception.scene.voted_instances import FARTHEST, PLACE, vote


def find_instruments(
    winners: ByteArray,
    log_probs: FloatArray,
    label_map: ByteArray,
    view: Letterbox,
    space: LabelSpace,
    *,
    temperature: float = 1.0,
    config: InstanceConfig | None = None,
    said: FloatArray | None = None,
) -> tuple[Instrument, ...]:
    """Find the instruments of a frame, not yet tracked, largest first.

    Confidence is the mean, over an instrument's nodes, of the calibrated probability of its class; for an instrument
    made of parts, of being any part, since `class_id` is then only the part that shows most.

    Args:
        winners: class with the largest value at each node, uint8 (h, w).
        log_probs: log-probabilities, float32 (K, h, w).
        label_map: label map of the frame, uint8 (height, width).
        view: where the grid lies in the frame.
        space: the K classes.
        temperature: of the calibration.
        config: limits of what is an instrument.
        said: what the instance head says, float32 (9, h/2, w/2); None: there is none, instruments are told apart by
            where they enter and have no keypoints.
    """
    stride = view.network_size[0] // winners.shape[0]
    content = grid_content_mask(view, stride)
    if said is None:
        instances, axes = _by_areas(winners, content, view, space, config)
        points: tuple[tuple[Keypoint, ...], ...] = ((),) * len(instances)
    else:
        instances, axes, points = _by_votes(winners, content, said, view, space, config or InstanceConfig())
    if not len(instances):
        return ()
    cells, starts, own, crop = instances.cells, instances.starts, instances.own, view.crop
    footprints = np.zeros((len(instances), *winners.shape), np.uint8)
    boxes, tips = np.empty((len(instances), 4), np.int64), np.empty((len(instances), 2))
    place = np.array([stride, view.scale, view.pad_x, view.pad_y], np.float64)
    kernels.locate(
        cells, starts, own, axes, label_map, place, np.array([crop.x, crop.y, crop.width, crop.height], np.int64),
        footprints, boxes, tips,
    )  # fmt: skip
    weights = kernels.relative_log_probs(pixel_major(log_probs), cells, np.float32(1 / temperature))
    np.exp(weights, out=weights)
    confidences = kernels.mean_probabilities(weights, starts, _counted(instances, space))
    node = (stride / view.scale) ** 2
    measured = zip(
        instances.class_ids.tolist(), confidences.tolist(), boxes.tolist(), tips.tolist(), axes.tolist(),
        np.diff(starts).tolist(), instances.touches.tolist(), footprints, points, strict=True,
    )  # fmt: skip
    return tuple(
        Instrument(
            class_id=class_id,
            confidence=confidence,
            box=Box(*box),
            tip=(tip[0], tip[1]),
            axis=(axis[0], axis[1]),
            area=nodes * node,
            touches_border=touches,
            footprint=footprint,
            keypoints=keypoints,
        )
        for class_id, confidence, box, tip, axis, nodes, touches, footprint, keypoints in measured
    )


def _by_areas(
    winners: ByteArray, content: BoolArray, view: Letterbox, space: LabelSpace, config: InstanceConfig | None
) -> tuple[Instances, DoubleArray]:
    """Instances, and the axes of each as of `fit_axis`, (m, 6)."""
    areas = find_areas(winners, content, space, config)
    instances = instances_of(areas.owners, len(areas.entries), winners, content, space)
    instances = dataclasses.replace(instances, own=_counted(instances, space))  # what is of another class is another
    axes, border = np.zeros((len(instances), 6)), _border(view, view.network_size[0] // winners.shape[0])
    for index, entry in enumerate(areas.entries):
        rows, columns = np.nonzero(areas.owners == index + 1)
        axes[index] = fit_axis(np.stack([columns, rows], axis=1).astype(np.float64), entry, border)
    return instances, axes


def _by_votes(
    winners: ByteArray, content: BoolArray, said: FloatArray, view: Letterbox, space: LabelSpace, config: InstanceConfig
) -> tuple[Instances, DoubleArray, tuple[tuple[Keypoint, ...], ...]]:
    """Instances, axes as of `fit_axis`, and keypoints."""
    found = vote(instrument_table(space)[winners], content, said, max(1.0, config.min_area * content.sum()))
    instances = instances_of(found.owners, len(found.lines), winners, content, space)
    axes, points = np.zeros((len(instances), 6)), []
    placed = [point.place for each in found.points for point in each]
    places = iter(grid_to_frame(placed, view, INSTANCE_STRIDE).tolist() if placed else ())
    for index, each in enumerate(found.points):
        axis = found.lines.axis[index]
        tips = np.array([point.place for point in each if point.name.startswith("tip")])
        axes[index, :2] = axis
        axes[index, 2:4] = tips.mean(axis=0) * PLACE + (PLACE - 1) / 2
        # Between open jaws there is nothing to see: a tip that was found is taken as it is.
        axes[index, 4:] = axis * (1.0 if each[-1].confidence <= FARTHEST else 1e-3)
        frame_places = (next(places) for _ in each)
        points.append(
            tuple(
                Keypoint(point.name, x, y, point.confidence, point.visible)
                for point, (x, y) in zip(each, frame_places, strict=True)
            )
        )
    return instances, axes, tuple(points)


def instrument_table(space: LabelSpace) -> BoolArray:
    """Which class ids are instruments, bool (256,)."""
    table = np.zeros(256, np.bool_)
    table[list(space.instrument_ids)] = True
    return table


def _counted(instances: Instances, space: LabelSpace) -> BoolArray:
    """An instrument's own class, whose probability is its confidence; of an instrument of parts, all of them."""
    counted = instances.own.copy()
    for index, class_id in enumerate(instances.class_ids.tolist()):
        if not space.classes[class_id].part:
            counted[index] = False
            counted[index, class_id] = True
    return counted


@functools.lru_cache(maxsize=8)
def _border(view: Letterbox, stride: int) -> tuple[float, float, float, float]:
    """The content's (left, top, right, bottom) in grid coordinates."""
    crop = view.crop
    far = [crop.x + crop.width - 1, crop.y + crop.height - 1]
    (left, top), (right, bottom) = frame_to_grid([[crop.x, crop.y], far], view, stride).tolist()
    return left, top, right, bottom


def warm_up() -> None:
    """Compile what `find_instruments` needs, once per process, so that the first frame does not wait for it."""
    space = label_space_from_names(["background", "instrument"])
    log_probs = np.zeros((2, 4, 4), np.float32)
    log_probs[1, 1:] = 1
    view = make_letterbox((16, 16), (16, 16))
    winners, label_map = log_probs.argmax(0).astype(np.uint8), np.ones((16, 16), np.uint8)
    for said in (None, np.zeros((len(CHANNELS), 2, 2), np.float32)):
        find_instruments(winners, log_probs, label_map, view, space, said=said)
