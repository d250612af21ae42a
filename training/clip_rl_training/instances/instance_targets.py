"""What the instance head shall say of a synthetic scene, by its truth. Notation: g x u places of 8 x 8 pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray
from clip_rl_perception.instance_channels import INSTANCE_STRIDE
from clip_rl_perception.scene.letterbox import (
    frame_to_grid,
    grid_to_frame,
    inside_content,
    make_letterbox,
    to_network,
)
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox

from clip_rl_training.synthetic.drawing.rendered_frame import PART_CLASPER, PART_WRIST, SyntheticFrame

_PEAK = 0.35
"""Deviation of a keypoint's peak, in radii of its shaft."""
_NARROW, _WIDE = 0.7, 2.0
"""Its limits, places."""


@dataclasses.dataclass(frozen=True)
class InstanceTargets:
    """One picture and what is to be said of it."""

    rgb: ByteArray
    """As the network sees it, uint8 (H, W, 3)."""
    instance: ByteArray
    """Number of the instrument at each place's centre, 0 none, uint8 (g, u)."""
    fields: FloatArray
    """axis x, y, foot x, y, along (not squeezed), log radius, as of `instance_channels.CHANNELS`, float32 (6, g, u)."""
    working_end: BoolArray
    """Wrist or jaws, (g, u)."""
    peaks: FloatArray
    """Heat of wrists and of tips, 1 at the point itself, float32 (2, g, u)."""

    def mirrored(self, left_right: bool, up_down: bool) -> InstanceTargets:
        """The same of a mirror image: vectors turn with it."""
        turn = (slice(None, None, -1 if up_down else 1), slice(None, None, -1 if left_right else 1))
        signs = np.ones((6, 1, 1), np.float32)
        signs[[0, 2]] = -1 if left_right else 1
        signs[[1, 3]] = -1 if up_down else 1
        return InstanceTargets(
            self.rgb[turn], self.instance[turn], (self.fields * signs)[(slice(None), *turn)],
            self.working_end[turn], self.peaks[(slice(None), *turn)],
        )  # fmt: skip


def shown(frame: SyntheticFrame, network_size: tuple[int, int], part: Box | None = None) -> Letterbox:
    """The view that the node would take of a scene: its content, scaled to fit; of `part` of it at a closer look."""
    box = part or content_box(frame)
    return make_letterbox((frame.rgb.shape[0], frame.rgb.shape[1]), network_size, ContentArea(box))


def content_box(frame: SyntheticFrame) -> Box:
    """The box of a scene's content, px."""
    rows, columns = np.flatnonzero(frame.content.any(axis=1)), np.flatnonzero(frame.content.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def instance_targets(frame: SyntheticFrame, network_size: tuple[int, int], part: Box | None = None) -> InstanceTargets:
    """What the head shall say of a scene.

    Args:
        frame: drawn, with its `instruments`.
        network_size: (H, W), multiples of 32.
        part: of the frame that is shown; None: all of its content.
    """
    view = shown(frame, network_size, part)
    places = (network_size[0] // INSTANCE_STRIDE, network_size[1] // INSTANCE_STRIDE)
    rows, columns = _sampled(view, places)
    inside = (rows >= 0)[:, None] & (columns >= 0)
    instance = np.where(inside, frame.instance_map[rows[:, None], columns], 0).astype(np.uint8)
    parts = frame.part_map[rows[:, None], columns]
    fields = np.zeros((6, *places), np.float32)
    peaks = np.zeros((2, *places), np.float32)
    y, x = np.indices(places, np.float64)
    for truth in frame.instruments:
        mine = instance == truth.instance
        radius = truth.radius * view.scale / INSTANCE_STRIDE
        end = frame_to_grid([truth.end], view, INSTANCE_STRIDE)[0]
        axis = np.array(truth.axis)
        offset = np.stack([end[0] - x[mine], end[1] - y[mine]])
        along = axis @ offset
        foot = offset - along * axis[:, None]
        fields[:, mine] = np.stack(
            [np.full(along.shape, axis[0]), np.full(along.shape, axis[1]), foot[0], foot[1], along,
             np.full(along.shape, np.log(max(radius, 1e-3)))]
        )  # fmt: skip
        width = float(np.clip(_PEAK * radius, _NARROW, _WIDE))
        for keypoint in truth.keypoints:
            in_sight = keypoint.visible and bool(inside_content([(keypoint.x, keypoint.y)], view)[0])
            if in_sight and keypoint.name != "entry":
                place = frame_to_grid([(keypoint.x, keypoint.y)], view, INSTANCE_STRIDE)[0]
                _raise_peak(peaks[0 if keypoint.name == "wrist" else 1], place, width)
    ends = (instance > 0) & ((parts == PART_WRIST) | (parts == PART_CLASPER))
    return InstanceTargets(to_network(frame.rgb, view), instance, fields, ends, peaks)


def _sampled(view: Letterbox, places: Sequence[int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row and column of the frame's pixel at the centre of each row and column of places; -1 in the padding."""
    crop, found = view.crop, []
    for axis, (first, size) in enumerate(((crop.x, crop.width), (crop.y, crop.height))):
        count = places[1 - axis]
        nodes = np.zeros((count, 2))
        nodes[:, axis] = np.arange(count)
        nearest = np.rint(grid_to_frame(nodes, view, INSTANCE_STRIDE)[:, axis]).astype(np.intp)
        found.append(np.where((nearest < first) | (nearest >= first + size), -1, nearest))
    return found[1], found[0]


def _raise_peak(heat: FloatArray, place: npt.NDArray[np.float64], width: float) -> None:
    """Draw a Gaussian peak in place, 1 at the place nearest to the point."""
    height, columns = heat.shape
    middle = np.clip(np.rint(place), 0, [columns - 1, height - 1])
    y, x = np.ogrid[:height, :columns]
    distance = (x - place[0]) ** 2 + (y - place[1]) ** 2
    np.maximum(heat, np.exp(-distance / (2 * width**2)), out=heat)
    heat[int(middle[1]), int(middle[0])] = 1.0
