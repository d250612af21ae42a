"""Where the named points of drawn instruments lie in a frame, and which of them are seen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray

from clip_rl_training.synthetic.drawing.eyes import Nearness, nearness_at
from clip_rl_training.synthetic.drawing.rendered_frame import InstrumentTruth, KeypointTruth
from clip_rl_training.synthetic.drawing.shapes import Points, transform
from clip_rl_training.synthetic.instruments.kinematics import Placement

_NEAR = 0.5
"""Distance within which a pixel of the instrument shows a point, in shaft radii; tips lie on the very outline."""


def instrument_truths(
    placements: Sequence[Placement],
    homographies: Sequence[list[Points]],
    instance_map: ByteArray,
    content: BoolArray,
    planes: Sequence[list[Nearness]] = (),
) -> tuple[InstrumentTruth, ...]:
    """Keypoints of the instruments of which at least a pixel is seen.

    Args:
        placements: instrument i + 1 is the i-th.
        homographies: of their parts, from `part_homographies`.
        instance_map: uint8 (H, W).
        content: bool (H, W).
        planes: of their parts, from `part_nearness`, where depths are known.
    """
    seen = set(np.unique(instance_map).tolist())
    found = []
    for instance, (placement, frames) in enumerate(zip(placements, homographies, strict=True), start=1):
        if instance not in seen:
            continue
        depths = planes[instance - 1] if planes else [np.zeros(3)] * len(frames)
        points = [
            KeypointTruth(name, float(x), float(y), is_seen((x, y), placement, instance, instance_map, content), near)
            for name, (x, y), near in _places(placement, frames, content, depths)
        ]
        end, beyond, beside, back = transform(np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 1.0], [-2.0, 0.0]]), frames[0])
        axis = (beyond - end) / np.linalg.norm(beyond - end)
        found.append(
            InstrumentTruth(
                instance, placement.design.type_id, tuple(points), (float(axis[0]), float(axis[1])),
                (float(end[0]), float(end[1])), float(np.linalg.norm(beside - end)),
                _shaft(back, end, depths[0]) if planes else (),
            )
        )  # fmt: skip
    return tuple(found)


def _shaft(back: Points, end: Points, plane: Nearness) -> tuple[tuple[tuple[float, float], float], ...]:
    """Two points of the axis, see `InstrumentTruth.shaft`."""
    return tuple(((float(x), float(y)), float(nearness_at(plane, np.array([x, y])))) for x, y in (back, end))


def _places(
    placement: Placement, frames: list[Points], content: BoolArray, depths: list[Nearness]
) -> list[tuple[str, Points, float]]:
    """(name, (x, y), one over its depth), in the order of `KEYPOINTS`."""
    parts = placement.design.parts
    origin = np.zeros((1, 2))
    end = transform(origin, frames[0])[0]  # part 0 is the shaft: its local origin is where it ends
    jaws = [index for index, part in enumerate(parts) if part.joint in ("upper", "lower")]
    last = jaws or [max(range(len(parts)), key=lambda index: (parts[index].part_id > 0, index))]
    tips = []
    for index in last:
        outline = parts[index].outline
        far = outline[outline[:, 0] > outline[:, 0].max() - 0.05].mean(axis=0)
        tip = transform(far[None], frames[index])[0]
        tips.append((tip, float(nearness_at(depths[index], tip))))
    at_end = float(nearness_at(depths[0], end))
    middle, at_middle = np.mean([tip for tip, _ in tips], axis=0), float(np.mean([near for _, near in tips]))
    way_in = [(placement.pivot, float(nearness_at(depths[0], np.array(placement.pivot)))), (end, at_end)]
    entry = _entry([*way_in, *([(middle, at_middle)] if len(parts) > 1 else [])], content)
    places = [] if entry is None else [("entry", *entry)]
    if len(parts) > 1:  # a plain tube ends in its tip
        places.append(("wrist", end, at_end))
    return places + [(f"tip_{number}", *tip) for number, tip in enumerate(tips, start=1)]


def _entry(path: list[tuple[Points, float]], content: BoolArray) -> tuple[Points, float] | None:
    """Where a path from outside first comes into the content, and one over its depth; None where it stays outside.

    `path`: corners with one over their depth, which is linear along the picture of a straight line.
    """
    height, width = content.shape
    for (start, near), (stop, farther) in itertools.pairwise(path):
        steps = max(2, int(2 * np.linalg.norm(np.subtract(stop, start))))
        shares = np.linspace(0, 1, steps)
        points = start + shares[:, None] * np.subtract(stop, start)
        pixels = np.rint(points).astype(int)
        inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
        inside[inside] = content[pixels[inside, 1], pixels[inside, 0]]
        if inside.any():
            first = int(inside.argmax())
            return np.asarray(points[first], np.float64), near + float(shares[first]) * (farther - near)
    return None


def is_seen(
    point: tuple[float, float], placement: Placement, instance: int, instances: ByteArray, content: BoolArray
) -> bool:
    """Whether pixels of an instrument show a point of it, (x, y).

    Args:
        point: (x, y).
        placement: of the instrument.
        instance: its number in `instances`.
        instances: instrument numbers, uint8 (H, W).
        content: bool (H, W).
    """
    height, width = content.shape
    x, y = round(point[0]), round(point[1])
    if not (0 <= x < width and 0 <= y < height and content[y, x]):
        return False
    reach = round(max(2.0, _NEAR * placement.radius))
    near = instances[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return bool((near == instance).any())
