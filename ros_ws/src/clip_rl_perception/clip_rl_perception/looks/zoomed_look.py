"""A zoomed look: the network is shown the part of a frame around working ends, larger, and says where their tips lie.

The plain look is as coarse as the network's input: a place of the instance head covers 29 px of a frame that is 1280 px
wide. Masks gain nothing by parts of a frame (docs/results/looks.md); tips do, wrists do not
(docs/results/tags.md).
Notation: (h, w) nodes of the logit grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clip_rl_perception.arrays import BoolArray, DoubleArray
from clip_rl_perception.engine.protocol import EngineOutput
from clip_rl_perception.instance_channels import INSTANCE_STRIDE
from clip_rl_perception.scene.assignment import cheapest_assignment
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.label_map import grid_winners
from clip_rl_perception.scene.letterbox import (
    STRIDE,
    frame_to_grid,
    grid_content_mask,
    grid_to_frame,
    inside_content,
    make_letterbox,
)
from clip_rl_perception.scene.types import Box, ContentArea, Instrument, Keypoint, Letterbox
from clip_rl_perception.scene.voted_instances import FARTHEST, vote

_STEP = 0.125
"""Of its sides, by which a part moves: while an instrument rests, what is shown of it stays the same to the pixel."""
_TIP_POWER = 0.65
"""Of a tip's heat: as much of it means more in a zoomed look than in a plain one. Of drawn tips with 0.4 to 0.5
there 65 % lie within 1 % of the diagonal, of those with 0.5 and more in a plain look 45 %."""
_SECOND = 0.3
"""Part of what an instrument covers from which a second one on the same footprint leaves open whose points they are."""


def part_sides(view: Letterbox, scale: float) -> DoubleArray:
    """Width and height of what a zoomed look shows, px of the frame: all that the network's input holds.

    Args:
        view: of the plain look.
        scale: of the zoomed look over the plain one's.
    """
    height, width = view.network_size
    sides = np.array([width, height]) / (view.scale * scale)
    return np.clip(np.rint(sides), 1, [view.crop.width, view.crop.height])


def zoomed_view(view: Letterbox, middle: tuple[float, float], scale: float) -> Letterbox:
    """The view of the part around a point of the frame, moved to lie in the crop; arguments as of `part_sides`."""
    crop, sides = view.crop, part_sides(view, scale)
    corner = np.array([crop.x, crop.y])
    room = np.array([crop.width, crop.height]) - sides
    steps = np.rint((middle - sides / 2 - corner) / (sides * _STEP)) * sides * _STEP
    left, top = (corner + np.clip(np.rint(steps), 0, room)).astype(int).tolist()
    part = Box(left, top, *sides.astype(int).tolist())
    return make_letterbox(view.frame_size, view.network_size, ContentArea(part, view.circle, 0.0))


def zoomed_tips(
    output: EngineOutput,
    zoomed: Letterbox,
    view: Letterbox,
    instruments: Sequence[Instrument],
    is_instrument: BoolArray,
) -> list[tuple[Keypoint, ...]]:
    """Tips of instruments by a zoomed look.

    What votes find in it (`scene.voted_instances`) is the instrument over whose footprint more of it lies than over
    all others together.

    Args:
        output: of the look, with `instances`.
        zoomed: its view.
        view: of the footprints; tips outside its content are none.
        instruments: all of the frame, with footprints: each keeps its own from the others.
        is_instrument: which classes are, by id, bool (256,).

    Returns:
        Of each instrument its tips, px of the frame; empty where the look shows none.
    """
    assert output.instances is not None, "a network with an instance head"
    content = grid_content_mask(zoomed)
    mask = is_instrument[grid_winners(output.log_probs)]
    found = vote(mask, content, output.instances, max(1.0, InstanceConfig.min_area * content.sum()))
    tips: list[tuple[Keypoint, ...]] = [()] * len(instruments)
    if not len(found.lines) or not instruments:
        return tips
    columns, rows = _plain_nodes(zoomed, view, mask.shape)
    overlap = np.zeros((len(instruments), len(found.lines)))
    for place, tool in enumerate(instruments):
        assert tool.footprint is not None, "instruments of this frame"
        own = tool.footprint[rows[:, None], columns] > 0
        overlap[place] = np.bincount(found.owners[own], minlength=len(found.lines) + 1)[1:]
    mostly = 2 * overlap > overlap.sum(axis=0)
    for place, number in enumerate(cheapest_assignment(-overlap).tolist()):
        if number < 0 or not mostly[place, number]:
            continue
        others = np.delete(overlap[place] * mostly[place], number)
        if others.max(initial=0.0) > _SECOND * overlap[place, number]:
            continue
        placed = [point for point in found.points[number] if point.name.startswith("tip")]
        frame = grid_to_frame([point.place for point in placed], zoomed, INSTANCE_STRIDE).tolist()
        if placed[-1].confidence > FARTHEST and inside_content(frame, view).all():
            tips[place] = tuple(
                Keypoint(point.name, x, y, point.confidence**_TIP_POWER, point.visible)
                for point, (x, y) in zip(placed, frame, strict=True)
            )
    return tips


def _plain_nodes(zoomed: Letterbox, view: Letterbox, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the plain look's nodes under those of a zoomed look, (w,) and (h,)."""
    found = []
    for axis in (0, 1):
        nodes = np.zeros((shape[1 - axis], 2))
        nodes[:, axis] = np.arange(len(nodes))
        plain = np.rint(frame_to_grid(grid_to_frame(nodes, zoomed), view))[:, axis].astype(np.intp)
        found.append(plain.clip(0, view.network_size[1 - axis] // STRIDE - 1))
    return found[0], found[1]
