"""Where the named points of drawn instruments lie in a frame, and which of them are seen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray

from clip_rl_training.synthetic.drawing.rendered_frame import InstrumentTruth, KeypointTruth
from clip_rl_training.synthetic.drawing.shapes import Points, transform
from clip_rl_training.synthetic.instruments.kinematics import Placement

_NEAR = 0.5
"""Distance within which a pixel of the instrument shows a point, in shaft radii; tips lie on the very outline."""


def instrument_truths(
    placements: Sequence[Placement], homographies: Sequence[list[Points]], instance_map: ByteArray, content: BoolArray
) -> tuple[InstrumentTruth, ...]:
    """Keypoints of the instruments of which at least a pixel is seen.

    Args:
        placements: instrument i + 1 is the i-th.
        homographies: of their parts, from `part_homographies`.
        instance_map: uint8 (H, W).
        content: bool (H, W).
    """
    seen = set(np.unique(instance_map).tolist())
    found = []
    for instance, (placement, frames) in enumerate(zip(placements, homographies, strict=True), start=1):
        if instance not in seen:
            continue
        radius = max(2.0, _NEAR * placement.radius)
        points = [
            KeypointTruth(name, float(x), float(y), _is_seen((x, y), radius, instance, instance_map, content))
            for name, (x, y) in _places(placement, frames, content)
        ]
        end, beyond, beside = transform(np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 1.0]]), frames[0])
        axis = (beyond - end) / np.linalg.norm(beyond - end)
        found.append(
            InstrumentTruth(
                instance, placement.design.type_id, tuple(points), (float(axis[0]), float(axis[1])),
                (float(end[0]), float(end[1])), float(np.linalg.norm(beside - end)),
            )
        )  # fmt: skip
    return tuple(found)


def _places(placement: Placement, frames: list[Points], content: BoolArray) -> list[tuple[str, Points]]:
    """(name, (x, y)), in the order of `KEYPOINTS`."""
    parts = placement.design.parts
    origin = np.zeros((1, 2))
    end = transform(origin, frames[0])[0]  # part 0 is the shaft: its local origin is where it ends
    jaws = [index for index, part in enumerate(parts) if part.joint in ("upper", "lower")]
    last = jaws or [max(range(len(parts)), key=lambda index: (parts[index].part_id > 0, index))]
    tips = []
    for index in last:
        outline = parts[index].outline
        far = outline[outline[:, 0] > outline[:, 0].max() - 0.05].mean(axis=0)
        tips.append(transform(far[None], frames[index])[0])
    path = [np.array(placement.pivot), end, *([np.mean(tips, axis=0)] if len(parts) > 1 else [])]
    entry = _entry(path, content)
    places = [] if entry is None else [("entry", entry)]
    if len(parts) > 1:  # a plain tube ends in its tip
        places.append(("wrist", end))
    return places + [(f"tip_{number}", tip) for number, tip in enumerate(tips, start=1)]


def _entry(path: list[Points], content: BoolArray) -> Points | None:
    """Where a path from outside first comes into the content; None where it stays outside."""
    height, width = content.shape
    for start, stop in itertools.pairwise(path):
        steps = max(2, int(2 * np.linalg.norm(stop - start)))
        points = start + np.linspace(0, 1, steps)[:, None] * (stop - start)
        pixels = np.rint(points).astype(int)
        inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
        inside[inside] = content[pixels[inside, 1], pixels[inside, 0]]
        if inside.any():
            return np.asarray(points[inside.argmax()], np.float64)
    return None


def _is_seen(
    point: tuple[float, float], radius: float, instance: int, instances: ByteArray, content: BoolArray
) -> bool:
    height, width = content.shape
    x, y = round(point[0]), round(point[1])
    if not (0 <= x < width and 0 <= y < height and content[y, x]):
        return False
    reach = round(radius)
    near = instances[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return bool((near == instance).any())
